"""The study of exchange with a probe: a small hospital, going on, a set that was damaged, and differential privacy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.encoders.encoder import Encoder
from medistill.errors import UsageError
from medistill.privacy.ledger import ledger_root, read_ledger
from medistill.recipe import Recipe, load_recipe, override_recipe
from medistill.report.exchange import ExchangeStudy
from medistill.studies.exchange import study as workflow
from medistill.studies.exchange.study import exchange_study
from tests.factories.drawn_corpus import CLASSES, drawn_corpus
from tests.factories.heard import Heard
from tests.factories.tiny_encoder import stored_tiny, tiny_architecture

CLASSES_TOLD = f"data.classes={json.dumps(CLASSES)}"
SMALL = ["data.image_size=16", "evaluate.bootstrap=100", "evaluate.smallest_cell=1", "evaluate.networks=2"]
FEW = ["exchange.hospital=east", "exchange.patients=[6, 12]", "exchange.draws=2", "exchange.weights=[0.3, 1.0]"]


@dataclass(frozen=True)
class Place:
    """A corpus of two sites, and a recipe with a tiny encoder."""

    corpus: Corpus
    encoder: Encoder
    folder: Path

    def recipe(self, name: str, *more: str) -> Recipe:
        return load_recipe(name, [CLASSES_TOLD, f"network.encoder={self.encoder.sha256}", *SMALL, *more])

    def study(self, recipe: Recipe, out: str = "study") -> tuple[ExchangeStudy, list[str]]:
        heard = Heard()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(workflow, "prepare", lambda *_, **__: self.corpus)
            found = exchange_study(self.folder, recipe, out=self.folder / out, device="cpu", progress=heard)
        return found, heard.said


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with tiny_architecture():
        yield Place(drawn_corpus(tmp_path / "corpus", each=40), stored_tiny(tmp_path / "encoder"), tmp_path)


def encoded(place: Place, *more: str) -> Recipe:
    tiny = ["method.ipc=2", "method.iterations=3", "method.levels=2", "method.quantise.min_cluster_size=2"]
    return place.recipe("exchange-encoded", *tiny, *FEW, *more)


def test_a_small_hospital_is_tried_and_the_study_goes_on_where_it_was(place: Place) -> None:
    study, said = place.study(encoded(place))
    assert study.hospital is not None
    for curve in study.hospital.curves:
        assert [point.patients for point in curve.points] == [6, 12]
    networks = place.folder / "study" / "networks"
    stored = [load_file(networks / "few" / f"few_000012_{draw:03d}.safetensors") for draw in range(2)]
    test = place.corpus.rows("test")
    east = place.corpus.sites[test] == 0
    labels = place.corpus.labels[test][east]
    areas = []
    for one in stored:
        for c in range(len(CLASSES)):
            scores = one["together"][east][:, c]
            pairs = scores[labels == c][:, None] - scores[labels != c]
            areas.append(np.mean((pairs > 0) + 0.5 * (pairs == 0)))
    assert study.hospital.curves[0].points[1].together.value == pytest.approx(np.mean(areas), abs=1e-6)
    beside = study.row("own_and_others", "east")
    assert beside.weight in (0.3, 1.0)
    assert beside.images == len(study.sites[0].classes) * 2 + study.sites[0].originals
    assert beside.networks == 1  # a probe has no random numbers
    for site in study.sites:
        assert site.audit is not None
        assert site.audit.verdict in ("fail", "not enough evidence")  # never a pass by the search for copies alone
        assert {"pixels", "structure", "encoder features"} <= set(site.audit.searched)
    assert any("Networks of site east are trained, 1 of 3." in line for line in said)

    before = {path: path.stat().st_mtime_ns for path in (place.folder / "study").rglob("*.safetensors")}
    lost = networks / "few" / "few_000006_001.safetensors"
    lost.unlink()
    again, _ = place.study(encoded(place))
    assert again == study
    after = {path: path.stat().st_mtime_ns for path in (place.folder / "study").rglob("*.safetensors")}
    assert {path for path in before if before[path] != after[path] and "united" not in path.parts} == {lost}

    audits = {site: place.folder / "study" / "sites" / site / "audit" for site in ("01", "02")}
    written = {site: (folder / "audit.json").stat().st_mtime_ns for site, folder in audits.items()}
    (audits["01"] / "asked.json").unlink()  # as a version before wrote it
    place.study(encoded(place))
    anew = {site for site, folder in audits.items() if (folder / "audit.json").stat().st_mtime_ns != written[site]}
    assert anew == {"01"}


def test_a_set_that_was_altered_is_named_and_the_others_go_on(place: Place) -> None:
    numbers = np.arange(len(place.corpus.labels))
    three = replace(place.corpus, sites=numbers // 6 % 3, site_names=("east", "north", "west"))
    place = replace(place, corpus=three)
    recipe = override_recipe(encoded(place, "exchange.audit=off"), ["exchange.hospital="], "test")
    whole, _ = place.study(recipe)
    out = place.folder / "study"
    for number, going_on in (("02", True), ("03", False)):
        images = out / "sites" / number / "set" / "images.safetensors"
        data = bytearray(images.read_bytes())
        data[-40] ^= 1
        images.write_bytes(data)
        if not going_on:
            with pytest.raises(UsageError, match=r"1 of 3 sites made a set; north: .*; west: "):
                place.study(recipe)
            continue
        study, said = place.study(recipe)
        assert [bool(site.reason) for site in study.sites] == [False, True, False]
        assert any(line.startswith("Site north sends nothing. ") for line in said)
        assert study.row("own_set", "north").reason == study.sites[1].reason
        assert study.row("own_and_others", "north").reason == ""
        assert study.row("all_sets", "").images == whole.row("all_sets", "").images - whole.sites[1].set_images


def test_what_cannot_be_made_small_is_refused_before_anything_is_made(place: Place) -> None:
    with pytest.raises(UsageError, match=r"exchange\.hospital = north is no site"):
        place.study(encoded(place, "exchange.hospital=north"))
    assert not (place.folder / "study" / "sites").exists()


def test_sets_under_differential_privacy_are_of_the_patients_of_their_site_alone(place: Place) -> None:
    private = ["method.iterations=3", "method.levels=2", "privacy.epsilon=4", "privacy.units=60", "privacy.delta=0.001"]
    settings = ["exchange.audit=off", "exchange.weights=[0.5]", "privacy.total_epsilon=4.5"]
    study, _ = place.study(place.recipe("covid-xray-private", *private, *settings))
    assert study.row("own_and_others", "east").weight == 0.5  # of one, that one
    assert all("epsilon = 4" in site.guarantee for site in study.sites)
    ledger = read_ledger(ledger_root())
    assert ledger is not None
    east, west = ledger.entries
    assert not east.people & west.people
    sets = [DistilledSet.load(place.folder / "study" / "sites" / name / "set") for name in ("01", "02")]
    assert [one.statistics is not None for one in sets] == [True, True]
    with pytest.raises(UsageError, match=r"experts under differential privacy"):
        place.study(load_recipe("covid-xray-dp", [CLASSES_TOLD]), out="other")
