"""Objectives of features, in closed form, against automatic differentiation in float64, loops and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.kernel_ridge import KernelRidge
from torch import Tensor
from torch.nn import functional as F

from medistill.engine.images import Images
from medistill.engine.objectives.feature_targets import FeatureTargets
from medistill.engine.objectives.linear_gradient import DrawnLayer, LinearGradient
from medistill.engine.objectives.ridge import DrawnOriginals, Ridge
from medistill.engine.sources.encoded_originals import EncodedBatch, EncodedOriginals, class_shares
from medistill.errors import DivergedError
from medistill.training.randomness import generator

N, D, C, M = 5, 7, 3, 9
CPU = torch.device("cpu")
LABELS = torch.tensor([0, 0, 1, 2, 2])


def _random(name: str, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator(0, name)).double()


def _images(features: Tensor | None = None) -> Images:
    features = _random("features", N, D) if features is None else features
    return Images(features, F.one_hot(LABELS, C).double(), torch.ones(N, dtype=torch.float64))


def _originals() -> EncodedOriginals:
    labels = np.array([0, 1, 2, 0, 1, 1, 2, 1, 0, 2, 1])
    return EncodedOriginals(_random("originals", 11, D).numpy(), labels, np.arange(M), (0, 1, 2), 3, 0, CPU)


def _centre_and_spread() -> tuple[Tensor, Tensor]:
    return _random("centre", D), _random("spread", D).abs() + 0.5


@pytest.mark.parametrize("projected", [False, True])
def test_feature_targets_are_the_mean_squared_distance_and_its_gradient(projected: bool) -> None:
    matrix = _random("matrix", D, 4) if projected else None
    targets = _random("targets", N, 4 if projected else D)
    images, shown = _images(), torch.tensor([0, 2, 3])
    seen = FeatureTargets(targets, matrix).evaluate(images, {}, shown, 2)
    naive = images.pixels.clone().requires_grad_()
    each = [((naive[n] @ matrix if projected else naive[n]) - targets[n]).square().mean() for n in shown]
    loss = sum(each) / len(each)
    (gradient,) = torch.autograd.grad(loss, naive)
    assert seen.loss == pytest.approx(loss.item(), abs=1e-12)
    assert (seen.grad_images - gradient).abs().max() < 1e-12
    assert not seen.grad_images[[1, 4]].any()


def test_a_batch_of_originals_has_no_repeats_takes_small_classes_whole_and_counts_classes_alike() -> None:
    originals = _originals()
    drawn, again = originals.draw(4, torch.arange(N)), originals.draw(4, torch.arange(1))
    assert torch.equal(drawn.features, again.features)
    assert drawn.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2]  # class 2 has two training images of three
    assert len(drawn.features.unique(dim=0)) == len(drawn.features)
    for c in range(C):
        assert float(drawn.share[drawn.labels == c].sum()) == pytest.approx(1 / 3)
    assert not torch.equal(drawn.features, originals.draw(5, torch.arange(N)).features)
    held_out = {tuple(row) for row in originals.features[M:].tolist()}
    assert not held_out & {tuple(row) for row in drawn.features.tolist()}


def test_linear_gradients_are_those_of_a_linear_layer_twice_differentiated() -> None:
    centre, spread = _centre_and_spread()
    objective = LinearGradient(_originals(), C, centre, spread, scale=2.0, seed=0)
    images, shown = _images(), torch.tensor([0, 1, 2, 4])
    drawn = objective.draw(3, shown)
    seen = objective.evaluate(images, {}, drawn, 2)
    naive = images.pixels.clone().requires_grad_()

    def layer_gradient(features: Tensor, labels: Tensor) -> Tensor:
        weight = drawn.weight.clone().requires_grad_()
        logits = F.linear((features - centre) / spread, weight)
        by_class = [F.cross_entropy(logits[labels == c], labels[labels == c]) for c in labels.unique()]
        (gradient,) = torch.autograd.grad(sum(by_class) / len(by_class), weight, create_graph=True)
        return gradient.flatten()

    real = layer_gradient(drawn.originals.features, drawn.originals.labels)
    loss = 1 - F.cosine_similarity(real, layer_gradient(naive[shown], LABELS[shown]), dim=0)
    (gradient,) = torch.autograd.grad(loss, naive)
    assert seen.loss == pytest.approx(loss.item(), abs=1e-12)
    assert (seen.grad_images - gradient).abs().max() < 1e-12
    assert not seen.grad_images[3].any()


def test_images_with_the_features_of_the_originals_have_nothing_to_gain_from_linear_gradients() -> None:
    originals = EncodedBatch(_random("features", N, D), LABELS, class_shares(LABELS))
    objective = LinearGradient(_originals(), C, *_centre_and_spread(), scale=1.0, seed=0)
    seen = objective.evaluate(_images(), {}, DrawnLayer(_random("layer", C, D), originals, torch.arange(N)), 1)
    assert seen.loss == pytest.approx(0, abs=1e-12)
    assert seen.grad_images.abs().max() < 1e-10


def test_the_ridge_is_scikit_learns_and_its_gradient_that_through_the_solution() -> None:
    centre, spread = _centre_and_spread()
    objective = Ridge(_originals(), C, centre, spread, ridge=0.3, temperature=0.5)
    images, shown = _images(), torch.tensor([0, 2, 3, 4])
    drawn = objective.draw(2, shown)
    seen = objective.evaluate(images, {}, drawn, 2)
    naive, labels = images.pixels.clone().requires_grad_(), images.labels.clone().requires_grad_()
    phi, there = (naive[shown] - centre) / spread, (drawn.originals.features - centre) / spread
    kernel = phi @ phi.T
    lifted = kernel + 0.3 * kernel.trace() / len(phi) * torch.eye(len(phi), dtype=torch.float64)
    logits = there @ phi.T @ torch.linalg.solve(lifted, labels[shown] - 1 / C)
    losses = F.cross_entropy(logits / 0.5, drawn.originals.labels, reduction="none")
    loss = sum(losses[drawn.originals.labels == c].mean() for c in range(C)) / C
    gradients = torch.autograd.grad(loss, (naive, labels))
    assert seen.loss == pytest.approx(loss.item(), abs=1e-12)
    assert (seen.grad_images - gradients[0]).abs().max() < 1e-12
    assert (seen.grad_labels - gradients[1]).abs().max() < 1e-12
    known = KernelRidge(alpha=0.3 * kernel.trace().item() / len(phi), kernel="linear")
    known.fit(phi.detach().numpy(), (labels[shown] - 1 / C).detach().numpy())
    assert np.abs(known.predict(there.numpy()) - logits.detach().numpy()).max() < 1e-10


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_a_kernel_matrix_that_is_not_positive_is_refused(value: float) -> None:
    objective = Ridge(_originals(), C, torch.zeros(D), torch.ones(D), ridge=0.1, temperature=1.0)
    drawn = DrawnOriginals(_originals().draw(0, torch.arange(N)), torch.arange(N))
    with pytest.raises(DivergedError, match=r"kernel matrix of 5 .*method\.ridge"):
        objective.evaluate(_images(torch.full((N, D), value, dtype=torch.float64)), {}, drawn, 1)
