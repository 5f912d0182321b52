"""The audit of a set that carries class statistics: they are attacked as they were released, and pages tell of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.errors import ArtifactError, UsageError
from medistill.privacy.attacks.tracing import Sums, added_by
from medistill.privacy.findings import findings
from medistill.recipe import Recipe, load_recipe
from medistill.sharing.privacy_statement import PrivacyStatement, privacy_statement
from medistill.studies.audit.audit import audit
from medistill.studies.audit.signals import AuditSignals
from medistill.workflow.distill import distill
from tests.factories.attacked import audit_context
from tests.factories.drawn_corpus import CLASSES, drawn_corpus
from tests.factories.released import carrying
from tests.factories.tiny_encoder import stored_tiny, tiny_architecture


@dataclass(frozen=True)
class Made:
    corpus: Corpus
    recipe: Recipe
    distilled: DistilledSet


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    folder = tmp_path_factory.mktemp("tracing")
    with pytest.MonkeyPatch.context() as patch, tiny_architecture():
        patch.setenv("MEDISTILL_CACHE", str(folder / "cache"))
        recipe = load_recipe(
            "covid-xray-private",
            [
                f"data.classes={json.dumps(CLASSES)}", "data.image_size=16", "method.iterations=3", "method.levels=2",
                f"network.encoder={stored_tiny(folder / 'encoder').sha256}", "method.space=encoder", "audit.shadows=0",
                "privacy.epsilon=4", "privacy.units=40", "privacy.delta=0.001", "audit.networks=1",
            ],
        )  # fmt: skip
        corpus = drawn_corpus(folder / "corpus")
        yield Made(corpus, recipe, distill(corpus, None, recipe, out=folder / "run", device="cpu", use="shadow"))


@pytest.fixture(autouse=True)
def encoder(tmp_path: Path) -> Iterator[None]:
    with tiny_architecture():
        stored_tiny(tmp_path / "encoder")
        yield


def test_what_people_added_is_what_was_released_but_for_the_noise(made: Made) -> None:
    signals = AuditSignals(audit_context(made.distilled, made.corpus, made.recipe))
    carried, rows = signals.released.statistics, signals.population.members
    plain = Sums.without_noise(added_by(rows, made.corpus.groups, signals.released), *carried.sums.shape)
    noise = np.array(carried.record.sums_noise)[:, None]
    assert plain.sizes.tolist() == [12, 12, 12]
    assert np.abs((carried.sums - plain.sums) / noise).max() < 6
    assert 0.5 < np.std((carried.sums - plain.sums) / noise) < 1.5


def test_it_stands_on_the_page_beside_its_controls(made: Made, tmp_path: Path) -> None:
    found = audit(made.distilled, made.corpus, made.recipe, out=tmp_path, device="cpu", quick=True)
    asked = [one.name for one in found.criteria]
    assert {"AUC (tracing attack)", "Patients found (tracing attack)"} <= set(asked)
    (told,) = (one for one in findings(found) if one.name == "tracing")
    assert told.knows == ("set", "person", "others", "encoder")
    area = next(one.figures for one in told.findings if one.asked.key == "auc")
    assert area.of_set.value is not None
    assert area.control.value == pytest.approx(1, abs=0.1)
    assert area.originals.value is not None
    assert "In the released averages" in (tmp_path / "audit.html").read_text()
    for_programs = PrivacyStatement.from_bytes(privacy_statement(found, made.distilled.digest(), None).to_bytes())
    (stated,) = (one for one in for_programs.attacks if one.attack == "tracing")
    assert {one.counts for one in stated.findings} == {"found", "auc"}


def test_a_set_without_statistics_is_not_asked(made: Made, tmp_path: Path) -> None:
    bare = replace(made.distilled, statistics=None, provenance=made.distilled.provenance.replaced(statistics=None))
    found = audit(bare, made.corpus, made.recipe, out=tmp_path, device="cpu", quick=True)
    assert not [one for one in found.criteria if "tracing" in one.name]
    with pytest.raises(UsageError, match="without class statistics"):
        _ = AuditSignals(audit_context(bare, made.corpus, made.recipe)).released


def test_statistics_of_a_narrower_encoder_are_refused(made: Made) -> None:
    carried = made.distilled.statistics
    assert carried is not None
    space = replace(carried.projection, centre=carried.projection.centre[:5], matrix=carried.projection.matrix[:5])
    narrow = replace(carried, sums=carried.sums[:, :5], projection=space)
    with pytest.raises(ArtifactError, match="the projection takes 5 features"):
        _ = AuditSignals(audit_context(carrying(made.distilled, narrow), made.corpus, made.recipe)).released
