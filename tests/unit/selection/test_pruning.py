"""Pruning against a naive choice, and losses against those of a network that is trained by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch.nn import functional as F

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.normalisation import Normalisation
from medistill.networks.registry import build_network, network_spec
from medistill.recipe import AugmentationRecipe, PruneRecipe, Recipe, load_recipe
from medistill.selection.losses import mean_losses
from medistill.selection.pruning import left_out, without_extremes, without_hardest
from medistill.training.images import LabelledImages
from medistill.training.loop import Schedule, train
from medistill.training.randomness import generator
from tests.factories.drawn_corpus import drawn_corpus

CPU = torch.device("cpu")


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return drawn_corpus(tmp_path, size=8)


@pytest.fixture
def recipe() -> Recipe:
    return load_recipe("demo", ["data.image_size=8", "network.width=3", "network.depth=2"])


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.9])
def test_the_hardest_of_each_class_go(share: float, corpus: Corpus) -> None:
    train_rows = corpus.rows("train")
    losses = np.random.default_rng(0).normal(size=len(train_rows))
    part = without_hardest(corpus, losses, share)
    loss = dict(zip(train_rows.tolist(), losses.tolist(), strict=True))
    for c in range(len(corpus.class_names)):
        of_class = [row for row in train_rows.tolist() if corpus.labels[row] == c]
        kept = [row for row in part.rows("train").tolist() if corpus.labels[row] == c]
        assert len(of_class) - len(kept) == int(share * len(of_class))
        assert sorted(of_class, key=loss.__getitem__)[: len(kept)] == sorted(kept, key=loss.__getitem__)
    assert left_out(corpus, part) == dict.fromkeys(corpus.class_names, int(share * 12))
    for split in ("val", "test"):
        np.testing.assert_array_equal(part.rows(split), corpus.rows(split))
    assert part.content != corpus.content
    assert part.images is corpus.images


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.9])
def test_those_in_the_tails_of_a_normal_distribution_go(share: float, corpus: Corpus) -> None:
    """The images are those of largest magnitude of a standard score, which a fitted normal's quantiles cut."""
    train_rows = corpus.rows("train")
    effects = np.random.default_rng(1).gamma(2.0, size=len(train_rows))
    part = without_extremes(corpus, effects, share)
    for c in range(len(corpus.class_names)):
        of_class = np.flatnonzero(corpus.labels[train_rows] == c)
        scores = (effects[of_class] - effects[of_class].mean()) / effects[of_class].std()
        p = 2 * norm.sf(np.abs(scores))
        kept = np.isin(train_rows[of_class], part.rows("train"))
        assert (~kept).sum() == int(share * len(of_class))
        assert p[kept].min() > (p[~kept].max() if not kept.all() else 0)
    assert part.content != corpus.content


def test_the_second_share_is_of_those_that_the_first_leaves() -> None:
    both = PruneRecipe(share=0.3, effect_share=0.25)
    assert [both.dropped(n) for n in (1, 4, 10, 40)] == [0, 1, 4, 12 + 7]
    assert [both.kept(n) for n in (1, 4, 10, 40)] == [1, 3, 6, 21]
    assert both.afterwards == " after pruning (prune.share = 0.3 and prune.effect_share = 0.25)"
    only = PruneRecipe(effect_share=0.5)
    assert (only.active, only.dropped(5), only.afterwards) == (True, 2, " after pruning (prune.effect_share = 0.5)")
    assert PruneRecipe().afterwards == ""


def test_settings_that_came_later_leave_the_digest_of_a_recipe_alone() -> None:
    plain, loss = load_recipe("demo"), load_recipe("demo", ["prune.share=0.1"])
    assert load_recipe("demo", ["prune.effect_images=3"]).digest == plain.digest
    assert load_recipe("demo", ["prune.share=0.1", "prune.effect_images=3"]).digest == loss.digest != plain.digest
    assert loss.digest == load_recipe("demo", ["prune.share=0.1"]).digest
    both = load_recipe("demo", ["prune.share=0.1", "prune.effect_share=0.1"])
    other = load_recipe("demo", ["prune.share=0.1", "prune.effect_share=0.1", "prune.effect_images=3"])
    assert len({plain.digest, loss.digest, both.digest, other.digest}) == 4


@pytest.mark.parametrize(("share", "images", "gone"), [(0.29, 100, 29), (0.7, 10, 7), (0.999, 5, 4), (0.9, 1, 0)])
def test_a_share_is_taken_as_it_is_written_and_never_a_whole_class(share: float, images: int, gone: int) -> None:
    assert PruneRecipe(share=share).dropped(images) == gone


def test_of_equal_losses_the_later_row_goes(corpus: Corpus) -> None:
    part = without_hardest(corpus, np.zeros(len(corpus.rows("train"))), 0.5)
    for c in range(len(corpus.class_names)):
        of_class = corpus.rows("train")[corpus.labels[corpus.rows("train")] == c]
        np.testing.assert_array_equal(part.rows("train")[corpus.labels[part.rows("train")] == c], of_class[:6])


def test_losses_are_the_means_over_the_epochs_of_a_network_trained_by_hand(corpus: Corpus, recipe: Recipe) -> None:
    spec = network_spec(corpus, recipe)
    data = LabelledImages.of_split(corpus, "train", Normalisation.of(corpus.images), CPU)
    schedule = Schedule(3, 16, 0.05, 0.9)
    found = mean_losses(data, schedule, spec, recipe, generator(7, "one"), CPU)
    rng = generator(7, "one")
    network, taken = build_network(spec, rng), []

    def take(epoch: int, flat: object) -> None:
        with torch.no_grad():
            answers = network.eval()(data.batch(slice(None)))
        taken.append([float(F.cross_entropy(answers[k : k + 1], data.labels[k : k + 1])) for k in range(len(data))])

    train(network, data, schedule, recipe.augmentation, rng, micro_batch=16, after_epoch=take)
    assert len(taken) == 3
    np.testing.assert_allclose(found, np.mean(taken, axis=0), rtol=1e-5)


def test_an_image_with_a_wrong_label_is_among_the_hardest(corpus: Corpus, recipe: Recipe) -> None:
    plain = recipe.model_copy(update={"augmentation": AugmentationRecipe(operations=())})
    labels = corpus.labels.copy()
    wrong = corpus.rows("train")[[0, 15]]
    labels[wrong] = (labels[wrong] + 1) % 3
    data = LabelledImages.of_split(corpus, "train", Normalisation.of(corpus.images), CPU)
    data.labels.copy_(torch.from_numpy(labels[corpus.rows("train")]))
    spec, rng = network_spec(corpus, plain), generator(0, "wrong")
    losses = mean_losses(data, Schedule(40, 8, 0.05, 0.9), spec, plain, rng, CPU)
    assert set(np.argsort(losses)[-2:].tolist()) == {0, 15}
