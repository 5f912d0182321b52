"""The pyramid and total variation, against automatic differentiation, finite differences and loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from medistill.artifacts.normalisation import Normalisation
from medistill.engine.coordinates import Adam, MomentumSGD, Waiting
from medistill.engine.images import Images
from medistill.engine.objectives.feature_targets import FeatureTargets
from medistill.engine.objectives.smooth import EPS, Smooth, total_variation
from medistill.engine.parameterisations.pyramid import COLOURS, Pyramid, sides
from medistill.training.randomness import generator


def _pyramid(channels: int, size: int = 9, levels: int = 3) -> Pyramid:
    start = [
        torch.randn(2, channels, side, side, generator=generator(side, "level")).double()
        for side in sides(size, levels)
    ]
    normalisation = Normalisation(tuple([0.4, 0.5, 0.6][:channels]), tuple([0.2, 0.3, 0.25][:channels]))
    return Pyramid(start, [MomentumSGD(1.0, 0.0)] * levels, normalisation)


def _start(pyramid: Pyramid) -> dict[str, Tensor]:
    return {name: one.start for name, one in pyramid.coordinates().items()}


def test_sides_halve_and_are_rounded_up() -> None:
    assert sides(9, 6) == [9, 5, 3, 2, 1, 1]
    assert sides(128, 5) == [128, 64, 32, 16, 8]


def test_grey_values_are_the_sigmoid_of_the_sum_and_never_leave_their_range() -> None:
    pyramid = _pyramid(1)
    values = _start(pyramid)
    each = [F.interpolate(value, size=(9, 9), mode="bilinear") for value in values.values()]
    grey = pyramid.normalisation.grey(pyramid.render(values).numpy())
    assert np.abs(grey - torch.sigmoid(sum(each)).numpy()).max() < 1e-7
    far = {name: 1e3 * value for name, value in values.items()}
    grey = pyramid.normalisation.grey(pyramid.render(far).float().numpy())
    assert np.isfinite(grey).all()
    assert grey.min() > -1e-6
    assert grey.max() < 1 + 1e-6


def test_colours_are_mixed_of_channels_that_are_not_correlated() -> None:
    pyramid = _pyramid(3, size=4, levels=1)
    values, mixing = _start(pyramid), np.array(COLOURS)
    mixing = mixing / np.linalg.norm(mixing, axis=0).max()
    z = values["level_0"].numpy()
    expected = np.array([[[[sum(mixing[r, c] * z[n, c, h, w] for c in range(3)) for w in range(4)] for h in range(4)]
                          for r in range(3)] for n in range(2)])  # fmt: skip
    grey = pyramid.normalisation.grey(pyramid.render(values).numpy())
    assert np.abs(grey - 1 / (1 + np.exp(-expected))).max() < 1e-6


@pytest.mark.parametrize("channels", [1, 3])
def test_the_pullback_is_the_transpose_of_rendering(channels: int) -> None:
    pyramid = _pyramid(channels)
    values = _start(pyramid)
    cotangent = torch.randn(2, channels, 9, 9, generator=generator(0, "cotangent")).double()
    gradients = pyramid.pullback(values, cotangent)
    for name, value in values.items():
        along = torch.randn(value.shape, generator=generator(1, name)).double()
        ends = [
            float((pyramid.render({**values, name: value + step * along}) * cotangent).sum()) for step in (1e-5, -1e-5)
        ]
        assert float((gradients[name] * along).sum()) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-7)


def test_total_variation_is_that_of_a_loop_and_its_gradient_exact() -> None:
    grey = torch.rand(2, 1, 4, 5, generator=generator(0, "grey")).double().requires_grad_()
    terms = []
    for n in range(2):
        for h in range(4):
            for w in range(5):
                right = grey[n, 0, h, w + 1] - grey[n, 0, h, w] if w < 4 else torch.zeros(()).double()
                below = grey[n, 0, h + 1, w] - grey[n, 0, h, w] if h < 3 else torch.zeros(()).double()
                terms.append((right**2 + below**2 + EPS**2).sqrt() - EPS)
    loss = sum(terms) / len(terms)
    (expected,) = torch.autograd.grad(loss, grey)
    variation, gradient = total_variation(grey.detach())
    assert variation == pytest.approx(loss.item(), abs=1e-12)
    assert (gradient - expected).abs().max() < 1e-12
    assert total_variation(torch.ones(1, 1, 3, 3).double())[0] == 0


def test_smooth_adds_the_variation_of_the_grey_values_of_the_images_that_take_part() -> None:
    normalisation = Normalisation((0.5,), (0.25,))
    pixels = torch.randn(3, 1, 4, 4, generator=generator(0, "pixels")).double()
    images, shown = Images(pixels, torch.eye(3).double(), torch.ones(3)), torch.tensor([0, 2])

    class Nothing(FeatureTargets):
        """A loss of 0."""

        def evaluate(self, images, learned, drawn, micro_batch):
            flat = Images(images.pixels.flatten(1), images.labels, images.weights)
            seen = super().evaluate(flat, learned, drawn, micro_batch)
            return type(seen)(seen.loss, 0 * images.pixels, seen.grad_labels, {})

    inner = Nothing(pixels.flatten(1))
    smooth = Smooth(inner, 0.7, normalisation)
    seen = smooth.evaluate(images, {}, smooth.draw(0, shown), 1)
    naive = pixels.clone().requires_grad_()
    grey = naive[shown] * 0.25
    right, below = F.pad(grey.diff(dim=3), (0, 1)), F.pad(grey.diff(dim=2), (0, 0, 0, 1))
    loss = 0.7 * ((right**2 + below**2 + EPS**2).sqrt() - EPS).mean()
    (gradient,) = torch.autograd.grad(loss, naive)
    assert seen.loss == pytest.approx(loss.item(), abs=1e-12)
    assert (seen.grad_images - gradient).abs().max() < 1e-12
    off = Smooth(inner, 0.0, normalisation)
    assert off.evaluate(images, {}, off.draw(0, shown), 1).loss == 0


def test_a_coordinate_that_waits_stays_and_then_moves_as_if_it_began_there() -> None:
    value, gradient = torch.ones(3), torch.tensor([1.0, -2.0, 0.5])
    late, plain = Waiting(Adam(0.1, steps=4), 2), Adam(0.1, steps=4)
    moments, expected, own = late.moments(value), value, plain.moments(value)
    for _ in range(2):
        moved, moments = late.update(value, gradient, moments)
        assert torch.equal(moved, value)
    for _ in range(3):
        value, moments = late.update(value, gradient, moments)
        expected, own = plain.update(expected, gradient, own)
        assert torch.equal(value, expected)
