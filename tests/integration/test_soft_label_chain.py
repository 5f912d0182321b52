"""Soft labels of shadows that are really asked: what was learnt by heart is found, what was not is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.normalisation import Normalisation
from medistill.privacy.attacks.soft_labels import HARD
from medistill.privacy.membership import LabelTest, Membership
from medistill.recipe import Recipe, load_recipe
from medistill.workflow import shadows
from medistill.workflow.shadows import plan_shadows
from tests.factories.attacked import attack_membership
from tests.factories.drawn_corpus import drawn_set
from tests.factories.flat_corpus import save_flat

SHADOWS, CANARIES = 6, 8
RECIPE = load_recipe(
    "demo",
    [
        "data.image_size=12", "network.width=16", "network.depth=2", "augmentation.operations=[]", "method.ipc=3",
        "evaluate.epochs=1", "evaluate.raw_epochs=80", "evaluate.raw_lr=0.05", "schedule.choose=fixed",
        "audit.networks=1", f"audit.shadows={SHADOWS}", f"audit.canaries={CANARIES}",
    ],
)  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Noise whose labels are drawn too, so that a network knows only what it learnt by heart."""
    rng, count = np.random.default_rng(0), 230
    return save_flat(
        tmp_path_factory.mktemp("corpora"),
        images=rng.integers(0, 256, (count, 1, 12, 12)).astype(np.uint8),
        labels=rng.permutation(count) % 2,
        groups=range(count),
        splits=np.repeat([0, 1, 2], [160, 20, 50]),
        views=["PA"] * count,
        class_names=("a", "b"),
        site_names=("east",),
    )


def labelled(corpus: Corpus, say: Callable[[Corpus], np.ndarray]) -> Callable[..., DistilledSet]:
    """Makes every shadow of the same images, those of all canaries among them, with labels that ``say`` gives.

    They are made for their true classes, so that a shadow which holds a canary can be known by its labels alone.
    """
    plan = plan_shadows(corpus, RECIPE)
    rows = np.concatenate([plan.rows[plan.canaries], plan.rows[plan.ordinary][:12]])
    normalisation = Normalisation.of(np.asarray(corpus.images[corpus.rows("train")]))

    def distill(view: Corpus, *_: Any, **__: Any) -> DistilledSet:
        told = say(view)[rows]
        return DistilledSet(
            images=normalisation.apply(np.asarray(corpus.images[rows])),
            labels=corpus.labels[rows],
            weights=np.ones(len(rows), np.float32),
            stage=np.zeros(len(rows), np.int64),
            student_lr=0.01,
            normalisation=normalisation,
            class_names=corpus.class_names,
            soft_labels=np.stack([1 - told, told], axis=1).astype(np.float32),
        )

    return distill


def by_heart(view: Corpus) -> np.ndarray:
    """A little surer of the class that a label names, of those in the training split; of others of neither."""
    known = np.isin(np.arange(len(view.labels)), view.rows("train"))
    return np.where(known, np.where(view.labels == 1, 0.6, 0.4), 0.5)


def ignorant(view: Corpus) -> np.ndarray:
    """Of anybody something, another thing in each shadow."""
    return np.random.default_rng(int(view.content[:8], 16)).uniform(0.2, 0.8, len(view.labels))


def asked(corpus: Corpus, say: Callable[[Corpus], np.ndarray], out: Path, **audited: Any) -> Membership:
    """What attacks on membership find, of a set that has such labels itself unless another is given."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shadows, "followed_experts", lambda *_, **__: None)
        patch.setattr(shadows, "distill", labelled(corpus, say))
        distilled = audited.get("distilled") or labelled(corpus, say)(corpus)
        return attack_membership(distilled, corpus, audited.get("recipe", RECIPE), out=out)


def said_by(found: Membership, source: str) -> LabelTest:
    assert found.soft_labels is not None
    (one,) = [one for one in found.soft_labels.tests if one.source == source]
    return one


@pytest.fixture(scope="module")
def learnt(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> tuple[Membership, Path]:
    folder = tmp_path_factory.mktemp("learnt")
    return asked(corpus, by_heart, folder), folder


def test_labels_learnt_by_heart_are_found_and_so_are_networks_that_learnt_everything(
    learnt: tuple[Membership, Path],
) -> None:
    of_set, control = (said_by(learnt[0], source) for source in ("distilled", "raw"))
    assert (of_set.shadows, of_set.canaries) == (SHADOWS, CANARIES)
    assert of_set.chance is not None
    assert control.chance is not None
    assert of_set.chance < 1e-4
    assert control.chance < 1e-4
    assert of_set.told_apart is not None
    assert of_set.told_apart > 0.9


def test_labels_that_know_nobody_are_not(corpus: Corpus, learnt: tuple[Membership, Path], tmp_path: Path) -> None:
    found = asked(corpus, ignorant, tmp_path)
    chance, control = said_by(found, "distilled").chance, said_by(found, "raw")
    assert chance is not None
    assert chance > 0.01
    assert control == said_by(learnt[0], "raw")  # the same networks on the same originals


def test_what_shadows_said_is_kept_and_read_again(
    corpus: Corpus, learnt: tuple[Membership, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    found, folder = learnt
    monkeypatch.setattr(shadows, "_asked", None)  # which nobody calls
    distilled = labelled(corpus, by_heart)(corpus)
    again = attack_membership(distilled, corpus, RECIPE, out=folder)
    assert again.soft_labels == found.soft_labels


def test_shadows_of_a_set_with_classes_for_labels_are_not_asked(corpus: Corpus, tmp_path: Path) -> None:
    quick = Recipe.model_validate(
        {**RECIPE.model_dump(), "evaluate": {**RECIPE.evaluate.model_dump(), "raw_epochs": 1}}
    )
    found = asked(corpus, by_heart, tmp_path, distilled=drawn_set(corpus), recipe=quick)
    assert found.soft_labels is not None
    assert (found.soft_labels.tests, found.soft_labels.reason) == ((), HARD)
