"""A study with sets that others really sent: they teach as those of the sites did, and what is refused is named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

from medistill.artifacts.corpus import NOT_STATED, Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.errors import UsageError
from medistill.ranks.ranks import Ranks
from medistill.recipe import Recipe, load_recipe
from medistill.report.exchange import ExchangeStudy
from medistill.sharing.archive import write_archive
from medistill.sharing.bundle import pack
from medistill.sharing.keys import keys_root
from medistill.sharing.statement import Statement
from medistill.studies.exchange import received as received_sets
from medistill.studies.exchange import study as workflow
from medistill.studies.exchange.study import exchange_study
from medistill.workflow.received import ReceivedSet
from medistill_cli.main import app
from tests.factories import sent_bundle
from tests.factories.drawn_corpus import CLASSES, drawn_corpus
from tests.factories.heard import Heard
from tests.factories.several_ranks import several
from tests.factories.tiny_encoder import stored_tiny, tiny_architecture
from tests.settings_restored import settings_restored

SETTINGS = (
    f"data.classes={json.dumps(CLASSES)}", "data.image_size=16", "evaluate.bootstrap=100", "evaluate.smallest_cell=1",
    "evaluate.networks=1", "method.ipc=2", "method.iterations=3", "method.levels=2",
    "method.quantise.min_cluster_size=2", "exchange.audit=off", "exchange.weights=[0.3, 1.0]",
)  # fmt: skip
STATEMENT = Statement(licence="CC0-1.0", intended_use="Tests.", sender="Dr West", acknowledged_risk="A test.")
KEY = "st-of-west"


@pytest.fixture(autouse=True)
def own_keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDISTILL_KEYS", str(tmp_path / "keys"))


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return drawn_corpus(tmp_path / "corpus", each=40)


@pytest.fixture
def recipe(tmp_path: Path) -> Iterator[Recipe]:
    with tiny_architecture():
        encoder = stored_tiny(tmp_path / "encoder")
        yield load_recipe("exchange-encoded", [f"network.encoder={encoder.sha256}", *SETTINGS])


def study_of(
    corpus: Corpus, recipe: Recipe, out: Path, *received: Path, trust: tuple[str, ...] = ()
) -> tuple[ExchangeStudy, list[str]]:
    heard = Heard()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workflow, "prepare", lambda *_, **__: corpus)
        found = exchange_study(
            out.parent, recipe, out=out, received=received, trust=trust, device="cpu", progress=heard
        )
    return found, heard.said


def sent_by_west(study: Path, path: Path) -> Path:
    """The set of the second site as it would send it, signed by a key that is trusted here."""
    theirs = path.parent / "theirs"
    sent_bundle.make_sender(theirs, KEY)
    sent_bundle.trust_sender(theirs, keys_root(), KEY)
    files = pack(DistilledSet.load(study / "sites" / "02" / "set"), STATEMENT)
    write_archive(path, sent_bundle.signed(files, theirs, KEY))
    return path


def test_a_received_bundle_teaches_what_the_site_s_own_set_did_and_what_was_altered_is_named(
    corpus: Corpus, recipe: Recipe, tmp_path: Path
) -> None:
    """The same corpus twice: west as a site that is here, then as a hospital whose set came without its images."""
    both, _ = study_of(corpus, recipe, tmp_path / "both")
    bundle = sent_by_west(tmp_path / "both", tmp_path / "west.zip")
    data = bytearray(bundle.read_bytes())
    data[len(data) // 2] ^= 1
    altered = tmp_path / "altered.zip"
    altered.write_bytes(data)
    alone = replace(corpus, site_names=("east", NOT_STATED))
    study, said = study_of(alone, recipe, tmp_path / "alone", altered, bundle, trust=(KEY,))

    assert [site.name for site in study.sites] == ["east"]
    for source in ("own_raw_01", "own_and_others_01", "others_sets_01", "own_set_01"):
        here, there = (
            load_file(tmp_path / name / "networks" / f"{source}_000.safetensors") for name in ("alone", "both")
        )
        rows = corpus.rows("test")
        np.testing.assert_allclose(here["test"], there["test"][corpus.sites[rows] == 0], atol=1e-6)
    assert study.row("own_and_others", "east").weight == both.row("own_and_others", "east").weight
    assert study.row("all_sets", "").images == both.row("all_sets", "").images
    for source in ("random", "pooled_raw"):
        assert study.row(source, "").reason == "the originals of west.zip are not here"
    home = [one for one in study.matrix.differences if (one.plus, one.minus) == ("own_and_others", "own_raw")]
    assert [one.site for one in home] == ["east", ""]

    lost, came = study.received
    assert (lost.name, lost.images, came.name, came.reason) == ("altered.zip", 0, "west.zip", "")
    assert came.images == both.sites[1].set_images
    assert came.signer
    assert any(line.startswith("altered.zip is left out: ") for line in said)
    united = DistilledSet.load(tmp_path / "alone" / "united")
    assert [(part.sender, part.signer) for part in united.provenance.sources or ()] == [
        ("east", None),
        ("Dr West", came.signer),
    ]
    for name in ("exchange.html", "exchange.md"):
        text = (tmp_path / "alone" / name).read_text(encoding="utf-8")
        assert "altered.zip" in text
        assert "verified by the key" in text
        assert "upper bound that privacy forbids" not in text
        assert str(tmp_path) not in text
    again, _ = study_of(alone, recipe, tmp_path / "alone", altered, bundle, trust=(KEY,))
    assert again == study


def test_of_several_ranks_the_leading_one_opens_what_came_and_the_others_read_it(
    corpus: Corpus, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study_of(corpus, recipe, tmp_path / "both")
    bundle = sent_by_west(tmp_path / "both", tmp_path / "west.zip")
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"PK")
    alone = replace(corpus, site_names=("east", NOT_STATED))
    told, said = study_of(alone, recipe, tmp_path / "one", broken, bundle, trust=(KEY,))
    opened, do = list[Path](), received_sets.receive

    def counted(path: Path, **options: Any) -> ReceivedSet:
        opened.append(path)
        return do(path, **options)

    monkeypatch.setattr(received_sets, "receive", counted)
    monkeypatch.setattr(workflow, "prepare", lambda *_, **__: alone)
    out, heard = tmp_path / "two", [Heard(), Heard()]

    def work(ranks: Ranks) -> ExchangeStudy:
        came, mine = (broken, bundle), heard[ranks.rank]
        return exchange_study(
            tmp_path, recipe, out=out, received=came, trust=(KEY,), device="cpu", ranks=ranks, progress=mine
        )

    assert several(2, work, patience=600) == [told] * 2
    assert opened == [broken, bundle]
    assert (out / "exchange.json").read_bytes() == (tmp_path / "one" / "exchange.json").read_bytes()
    assert not (out / ".received").exists()
    left_out = [[line for line in one.said if "left out" in line] for one in heard]
    assert left_out == [[line for line in said if "left out" in line], []]
    assert len(left_out[0]) == 1
    bundle.write_bytes(b"PK")
    with pytest.raises(UsageError, match=r"none of 2 received sets can be taken; broken\.zip: .*; west\.zip: "):
        several(2, work, patience=600)


def test_a_hospital_that_states_no_site_and_makes_no_set_is_tested_with_what_came(
    corpus: Corpus, recipe: Recipe, tmp_path: Path
) -> None:
    study_of(corpus, recipe, tmp_path / "both")
    bundle = sent_by_west(tmp_path / "both", tmp_path / "west.zip")
    nowhere = replace(corpus, sites=np.zeros_like(corpus.sites), site_names=(NOT_STATED,))
    own = tmp_path / "own"
    set_folder = own / "sites" / "01" / "set"
    study_of(nowhere, recipe, own, bundle)
    images = set_folder / "images.safetensors"
    data = bytearray(images.read_bytes())
    data[-40] ^= 1
    images.write_bytes(data)
    study, said = study_of(nowhere, recipe, own, bundle)
    [home] = study.sites
    assert home.name == "this hospital"
    assert home.reason
    assert any(line.startswith("Site this hospital sends nothing. ") for line in said)
    assert study.row("own_and_others", home.name).reason == ""
    assert study.row("own_and_others", home.name).images == home.originals + study.received[0].images
    assert study.row("own_set", home.name).reason == home.reason
    bundle.write_bytes(b"PK")
    with pytest.raises(UsageError, match=r"none of 1 received sets can be taken; west\.zip: "):
        study_of(nowhere, recipe, own, bundle)


def test_the_command_takes_bundles_and_a_trust_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it hands over; what is done with that is tested above."""
    seen: dict[str, object] = {}

    class Stopped(Exception):
        pass

    def stop(*_: object, **options: object) -> None:
        seen.update(options)
        raise Stopped

    monkeypatch.setattr("medistill.studies.exchange.study.exchange_study", stop)
    words = ["exchange-study", "--out", str(tmp_path / "out"), "--received", "a.zip", "--received", "b"]
    with settings_restored():
        CliRunner().invoke(app, [*words, "--trust", "st-example"])
    assert (seen["received"], seen["trust"]) == ([Path("a.zip"), Path("b")], ["st-example"])
