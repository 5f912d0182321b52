"""Distribution matching's loss: against its formula, against automatic differentiation, and in the outer loop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from medistill.artifacts.corpus import Corpus
from medistill.engine.checkpoint import load_checkpoint, save_checkpoint
from medistill.engine.coordinates import MomentumSGD
from medistill.engine.images import Images
from medistill.engine.labels import HardLabels
from medistill.engine.objectives.mean_features import MeanFeatures
from medistill.engine.outer import optimise, step
from medistill.engine.parameterisations.pixels import Pixels
from medistill.engine.problem import DistillationProblem, OuterSettings
from medistill.engine.sources.fresh import FreshNetworks
from medistill.engine.state import State
from medistill.progress import Silent
from medistill.recipe import AugmentationRecipe
from medistill.training.images import LabelledImages
from tests.factories.compared import (
    CLASS_OF,
    CLASSES,
    CPU,
    SIZE,
    SPEC,
    Wide,
    originals,
    seen_by_class,
    six_images,
)
from tests.factories.drawn_corpus import drawn_corpus

DRAWN = AugmentationRecipe()
PLAIN = AugmentationRecipe(operations=())


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Three classes, 12 training images each."""
    return drawn_corpus(tmp_path / "corpus", size=SIZE)


class Flat(FreshNetworks):
    """Networks whose features are the pixels."""

    def draw(self, iteration: int, shown: torch.Tensor, number: int = 0) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(SIZE * SIZE, CLASSES)).double().requires_grad_(False)


def objective(corpus: Corpus, networks=FreshNetworks, augmentation=DRAWN, class_ids=(0, 1, 2), batch=5):
    return MeanFeatures(networks(SPEC, 0, CPU), originals(corpus, class_ids, batch), augmentation, CLASSES, 0)


def naive(drawn, pixels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The loss, class by class and image by image; features are all layers but the last."""
    loss = torch.zeros((), dtype=torch.float64)
    for real, made, share in seen_by_class(drawn, pixels, labels):
        loss = loss + ((real.mean(dim=0) - share @ made) ** 2).sum()
    return loss


@pytest.mark.parametrize("mode", ["single", "all"])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("class_ids", [(0, 1, 2), (0, 2)])
@pytest.mark.parametrize("micro_batch", [1, 4, 100])
def test_value_and_gradients_are_those_of_automatic_differentiation(corpus, mode, soft, class_ids, micro_batch):
    asked = objective(corpus, Wide, AugmentationRecipe(mode=mode), class_ids)
    given = six_images(soft=soft)
    shown = torch.tensor([0, 1, 2, 4, 5])  # the fourth takes no part
    drawn = asked.draw(7, shown)
    pixels, labels = given.pixels.clone().requires_grad_(), given.labels.clone().requires_grad_()
    loss = naive(drawn, pixels, labels)
    loss.backward()
    found = asked.evaluate(given, {}, drawn, micro_batch)
    assert found.loss == pytest.approx(loss.item(), rel=1e-12)
    torch.testing.assert_close(found.grad_images, pixels.grad)
    torch.testing.assert_close(found.grad_labels, labels.grad)
    assert not found.grad_images[3].any()


def test_where_the_features_are_the_pixels_the_best_image_is_the_mean_of_its_class(corpus):
    asked = objective(corpus, Flat, PLAIN, batch=100)
    drawn = asked.draw(0, torch.arange(CLASSES))
    real = drawn.originals.batch(slice(None)).double()
    means = torch.stack([real[drawn.originals.labels == c].mean(dim=0) for c in range(CLASSES)])
    labels = torch.eye(CLASSES, dtype=torch.float64)
    found = asked.evaluate(Images(means, labels, torch.ones(CLASSES)), {}, drawn, 4)
    assert found.loss == pytest.approx(0, abs=1e-20)
    off = asked.evaluate(Images(means + 0.5, labels, torch.ones(CLASSES)), {}, drawn, 4)
    assert off.loss == pytest.approx(CLASSES * SIZE**2 / 4)
    torch.testing.assert_close(off.grad_images, torch.ones_like(means))


def test_originals_and_images_of_a_class_are_augmented_alike(corpus):
    asked = objective(corpus, Wide, AugmentationRecipe(mode="all"))
    drawn = asked.draw(3, torch.arange(CLASSES))
    firsts = [int((drawn.originals.labels == c).nonzero()[0]) for c in range(CLASSES)]
    alone = replace(drawn, originals=LabelledImages.of_floats(drawn.originals.batch(firsts), torch.arange(CLASSES)))
    same = Images(
        alone.originals.stored(slice(None)).double(), torch.eye(CLASSES, dtype=torch.float64), torch.ones(CLASSES)
    )
    assert asked.evaluate(same, {}, alone, 2).loss == pytest.approx(0, abs=1e-20)
    rows = [drawn.augmentation.numbers[name] for name in ("brightness", "crop", "rotate")]
    assert all(len(of.unique(dim=0)) == CLASSES for of in rows), "and each class has its own"


def test_what_is_drawn_depends_on_the_iteration_alone(corpus):
    asked, shown = objective(corpus), torch.arange(6)
    asked.draw(1, shown)
    first, again, other = (asked.draw(step, shown) for step in (3, 3, 4))
    weights = [next(one.network.parameters()) for one in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert not any(one.requires_grad for one in first.network.parameters())
    assert torch.equal(first.originals.stored(slice(None)), again.originals.stored(slice(None)))
    assert not torch.equal(first.originals.stored(slice(None)), other.originals.stored(slice(None)))


def problem(corpus: Corpus, path: Path | None = None) -> DistillationProblem:
    return DistillationProblem(
        settings=OuterSettings(iterations=12, checkpoint_every=5),
        objective=objective(corpus, batch=12),
        parameterisation=Pixels(six_images(torch.float32).pixels, MomentumSGD(lr=1.0, momentum=0.5)),
        labels=HardLabels(F.one_hot(CLASS_OF, CLASSES).float()),
        stage=torch.zeros(6, dtype=torch.int64),
        precision="fp32",
        validate=None,
        save=lambda state: save_checkpoint(state, path, {}) if path is not None else None,
    )


def begun(made: DistillationProblem, micro_batch: int = 4) -> State:
    state = State.start(made.coordinates)
    state.micro_batch = micro_batch
    return state


def test_the_outer_loop_brings_it_down(corpus):
    made = replace(problem(corpus), settings=OuterSettings(iterations=60))
    state = begun(made, 100)

    def elsewhere() -> float:
        """The mean loss on draws that the run does not meet."""
        seen = (made.objective.draw(step, torch.arange(6)) for step in range(1000, 1010))
        return sum(made.objective.evaluate(made.images(state.values), {}, one, 100).loss for one in seen) / 10

    before = elsewhere()
    optimise(state, made, Silent())
    assert elsewhere() < before / 2
    assert state.history.figures == {}


def test_a_resumed_run_ends_in_the_same_bits(corpus, tmp_path):
    whole = begun(problem(corpus))
    optimise(whole, problem(corpus), Silent())
    path = tmp_path / "checkpoint.safetensors"
    part = begun(problem(corpus, path))
    for _ in range(7):
        step(part, problem(corpus))
    save_checkpoint(part, path, {})
    resumed = State.start(problem(corpus).coordinates)
    load_checkpoint(resumed, path, lambda origin: None)
    assert resumed.iteration == 7
    optimise(resumed, problem(corpus), Silent())
    assert torch.equal(resumed.values["pixels"], whole.values["pixels"])
    assert resumed.history == whole.history


def test_micro_batches_change_rounding_alone(corpus):
    states = []
    for micro_batch in (1, 4, 100):
        state = begun(problem(corpus), micro_batch)
        for _ in range(3):
            step(state, problem(corpus))
        states.append(state.values["pixels"])
    for other in states[1:]:
        torch.testing.assert_close(other, states[0], rtol=1e-4, atol=1e-5)


def test_a_step_passes_originals_too(corpus):
    assert objective(corpus, batch=5).batch_size(6) == 15
    assert objective(corpus, batch=1).batch_size(6) == 6


def test_in_bf16_means_are_taken_in_full(corpus):
    """The means of the two are alike; to take them in half precision would lose what is between them."""
    asked, given = objective(corpus), six_images(torch.float32)
    drawn = asked.draw(0, torch.arange(6))
    full = asked.evaluate(given, {}, drawn, 4)
    with torch.autocast("cpu", torch.bfloat16):
        half = asked.evaluate(given, {}, drawn, 4)
    assert half.loss == pytest.approx(full.loss, rel=0.02)
    assert half.grad_images.dtype == torch.float32
    assert F.cosine_similarity(half.grad_images.flatten(), full.grad_images.flatten(), dim=0) > 0.99
