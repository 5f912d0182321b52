"""Networks that a method trains on its way to a set, which one rank distils: all ranks train them, each the next."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.recipe import Recipe, load_recipe
from medistill.training import ensemble
from medistill.workflow.distill import distill
from tests.factories.drawn_corpus import drawn_corpus
from tests.factories.several_ranks import several

SMALL = ("network.width=4", "network.depth=2", "data.image_size=16", "schedule.choose=fixed", "method.ipc=2")
OF = {
    "ddoq": ("method.quantise.min_cluster_size=2", "method.quantise.components=4", "evaluate.raw_epochs=2",
        "method.quantise.teachers=4"),
    "dance": ("method.trained.count=4", "method.trained.epochs=2", "method.iterations=2", "method.validate_every=2",
        "method.validate_epochs=1", "method.validate_networks=1", "method.batch_real=6"),
}  # fmt: skip


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return drawn_corpus(tmp_path / "corpus")


def recipe_of(method: str) -> Recipe:
    return load_recipe("demo", [*SMALL, f"method.name={method}", *OF[method]])


@pytest.mark.parametrize("method", OF)
def test_ranks_train_each_once_and_one_makes_the_same_set(
    method: str, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, trained, do = recipe_of(method), list[tuple[int, int]](), ensemble.do

    def counted(job, context, task):
        trained.append((context.ranks.size, job.number))
        return do(job, context, task)

    monkeypatch.setattr(ensemble, "do", counted)
    alone = distill(corpus, None, recipe, out=tmp_path / "alone", device="cpu")
    assert trained == [(1, number) for number in range(4)]
    trained.clear()
    made = several(2, lambda ranks: distill(corpus, None, recipe, out=tmp_path / "two", device="cpu", ranks=ranks))
    assert sorted(trained) == [(2, number) for number in range(4)]
    assert [same(one, alone) for one in made] == [True, True]


def same(one: DistilledSet, other: DistilledSet) -> bool:
    labels = (one.soft_labels, other.soft_labels)
    assert (labels[0] is None) == (labels[1] is None)
    return one.images.tobytes() == other.images.tobytes() and (labels[0] is None or np.array_equal(*labels))
