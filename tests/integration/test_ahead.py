"""Networks on originals that are trained while another rank distils: found by the evaluation, and no other than its."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from medistill.artifacts.corpus import Corpus
from medistill.ranks.ranks import Ranks
from medistill.recipe import Recipe, override_recipe
from medistill.recipe.arms import CONTROLS
from medistill.workflow.ahead import arms_ahead, train_ahead
from medistill.workflow.run import run
from tests.factories.heard import Heard


class Waiting(Ranks):
    """A rank that would wait for rank 0; it is never asked for more."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size


@pytest.fixture
def recipe(tiny_recipe: Recipe) -> Recipe:
    chosen = ("schedule.choose=validation", "schedule.updates=10", "schedule.most_updates=20", "schedule.networks=1")
    return override_recipe(tiny_recipe, [*chosen, "evaluate.networks=2"], "test")


def test_the_evaluation_finds_what_was_trained_ahead(
    recipe: Recipe, phantom_folder: Path, phantom_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for rank in (1, 2):
        ahead = Heard()
        train_ahead(
            phantom_corpus, recipe, out=tmp_path, ranks=Waiting(rank, 3), called=lambda: False, device="cpu",
            progress=ahead,
        )  # fmt: skip
        assert ahead.said[0].startswith("While rank 0 distils")
    heard = Heard()
    run(recipe, out=tmp_path / "after", data=phantom_folder, device="cpu", progress=heard)
    found = next(line for line in heard.said if line.startswith("Networks trained already"))
    controls = len(recipe.evaluate.arms)
    assert found.startswith(f"Networks trained already: {2 * controls};")
    monkeypatch.setenv("MEDISTILL_CACHE", str(tmp_path / "another-cache"))
    alone = Heard()
    run(recipe, out=tmp_path / "alone", data=phantom_folder, device="cpu", progress=alone)
    assert not any(line.startswith("Networks trained already") for line in alone.said)
    for arm in (*recipe.evaluate.arms, "distilled"):
        one, other = (load_file(tmp_path / out / "evaluation" / f"{arm}.safetensors") for out in ("after", "alone"))
        for split in ("validation", "test"):
            np.testing.assert_array_equal(one[split], other[split], err_msg=arm)
    schedules = [
        json.loads((tmp_path / out / "evaluation" / "evaluation.json").read_text())["schedules"]
        for out in ("after", "alone")
    ]
    for one, other in zip(*schedules, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}


def test_it_stops_when_it_is_called(
    recipe: Recipe, phantom_corpus: Corpus, tmp_path: Path, private_cache: Path
) -> None:
    looks = []

    def called() -> bool:
        looks.append(1)
        return len(looks) > 3

    train_ahead(phantom_corpus, recipe, out=tmp_path, ranks=Waiting(1, 2), called=called, device="cpu")
    assert len(looks) == 4
    kept = [json.loads(path.read_text()) for path in private_cache.rglob("schedules/*.json")]
    assert all(trial["scores"] for one in kept for trial in one["trials"])
    assert not list(private_cache.rglob("networks/*.safetensors"))


def test_what_goes_wrong_is_said_and_ends_nothing(
    recipe: Recipe, phantom_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("medistill.workflow.ahead.choose_schedule", full)
    heard = Heard()
    train_ahead(
        phantom_corpus, recipe, out=tmp_path, ranks=Waiting(1, 2), called=lambda: False, device="cpu", progress=heard
    )
    assert heard.said[1:] == ["Networks are trained ahead no further (OSError); the evaluation trains them."]


def test_arms_are_dealt_out_and_none_is_of_the_set(recipe: Recipe, phantom_corpus: Corpus) -> None:
    assert arms_ahead(phantom_corpus, recipe) == tuple(arm for arm in CONTROLS if arm in recipe.evaluate.arms)
    assert arms_ahead(phantom_corpus, override_recipe(recipe, ["evaluate.arms=[]"], "test")) == ()


def test_without_arms_of_originals_nothing_is_done(
    recipe: Recipe, phantom_corpus: Corpus, tmp_path: Path, private_cache: Path
) -> None:
    bare = override_recipe(recipe, ["evaluate.arms=[]"], "test")
    heard = Heard()
    train_ahead(
        phantom_corpus, bare, out=tmp_path, ranks=Waiting(1, 2), called=lambda: False, device="cpu", progress=heard
    )
    assert heard.said == []
    assert not (private_cache / "yardsticks").exists()
