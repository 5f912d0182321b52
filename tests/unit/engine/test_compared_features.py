"""Distances of features beyond their means, and the class term: against formulas and automatic differentiation."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from medistill.artifacts.corpus import Corpus
from medistill.engine.images import Images
from medistill.engine.objectives.class_term import ClassTerm
from medistill.engine.objectives.fourier import Fourier
from medistill.engine.objectives.mean_features import MeanFeatures
from medistill.engine.objectives.mmd import GaussianMixture, Mmd
from medistill.engine.objectives.summed import Summed
from medistill.engine.sources.fresh import FreshNetworks
from medistill.recipe import AugmentationRecipe
from medistill.training.augmentation import augment
from medistill.training.images import LabelledImages
from medistill.training.randomness import generator
from tests.factories.compared import (
    CLASSES,
    CPU,
    SHOWN,
    SIZE,
    SPEC,
    Wide,
    layer_by_layer,
    originals,
    seen_by_class,
    six_images,
)
from tests.factories.drawn_corpus import drawn_corpus

ALL = AugmentationRecipe(mode="all")
FREQUENCIES = 7


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Three classes, 12 training images each."""
    return drawn_corpus(Path(tmp_path_factory.mktemp("drawn")) / "corpus", size=SIZE)


def objective(kind, corpus, class_ids=(0, 1, 2), networks=Wide, augmentation=ALL, batch=5, **settings):
    return kind(networks(SPEC, 0, CPU), originals(corpus, class_ids, batch), augmentation, CLASSES, 0, **settings)


def term(weight: float = 1.0, networks=Wide) -> ClassTerm:
    return ClassTerm(networks(SPEC, 1, CPU), ALL, CLASSES, 0, weight)


def by_double_loop(drawn, pixels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """M3D's loss, pair by pair."""
    loss = torch.zeros((), dtype=torch.float64)
    for real, made, share in seen_by_class(drawn, pixels, labels):
        took_part = share > 0
        every = [*real, *made[took_part]]
        signed = [*(-torch.ones(len(real), dtype=torch.float64) / len(real)), *share[took_part]]
        apart = [
            float(((a - b) ** 2).sum().detach()) for i, a in enumerate(every) for j, b in enumerate(every) if i != j
        ]
        width = sum(apart) / len(apart)
        for a, u in zip(every, signed, strict=True):
            for b, v in zip(every, signed, strict=True):
                squared = ((a - b) ** 2).sum()
                loss = loss + u * v * sum(torch.exp(-squared / (2.0**j * width)) for j in range(-2, 3))
    return loss


def by_complex_numbers(amplitude: float, phase: float):
    """NCFM's loss as the paper writes it, with complex numbers."""

    def loss(drawn, pixels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        width = layer_by_layer(drawn.network, pixels[0].detach())[0].numel()
        waves = torch.randn(FREQUENCIES, width, generator=generator(0, "frequencies", drawn.iteration)).double()
        total = torch.zeros((), dtype=torch.float64)
        for real, made, share in seen_by_class(drawn, pixels, labels):
            r = torch.exp(1j * (nn.functional.normalize(real, dim=1) @ waves.T)).mean(dim=0)
            s = (share[:, None] * torch.exp(1j * (nn.functional.normalize(made, dim=1) @ waves.T))).sum(dim=0)
            amplitudes = (r.abs() - s.abs()) ** 2
            phases = 2 * (r.abs() * s.abs() - (s * r.conj()).real)
            total = total + 300 * torch.sqrt(amplitude * amplitudes + phase * phases).mean()
        return total

    return loss


FOURIER = {"frequencies": FREQUENCIES}
CASES = {
    "mmd": (Mmd, {}, by_double_loop),
    "fourier": (Fourier, FOURIER, by_complex_numbers(0.5, 0.5)),
    "amplitudes": (Fourier, {**FOURIER, "amplitude": 0.9, "phase": 0.1}, by_complex_numbers(0.9, 0.1)),
    "phases": (Fourier, {**FOURIER, "amplitude": 0.2, "phase": 0.7}, by_complex_numbers(0.2, 0.7)),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("class_ids", [(0, 1, 2), (0, 2)])
@pytest.mark.parametrize("micro_batch", [1, 100])
def test_value_and_gradients_are_those_of_automatic_differentiation(corpus, case, soft, class_ids, micro_batch):
    kind, settings, formula = CASES[case]
    asked = objective(kind, corpus, class_ids, **settings)
    given = six_images(soft=soft)
    drawn = asked.draw(7, SHOWN)
    pixels, labels = given.pixels.clone().requires_grad_(), given.labels.clone().requires_grad_()
    loss = formula(drawn, pixels, labels)
    loss.backward()
    found = asked.evaluate(given, {}, drawn, micro_batch)
    assert found.loss == pytest.approx(loss.item(), rel=1e-12)
    assert_alike(found.grad_images, pixels.grad)
    assert_alike(found.grad_labels, labels.grad, where=given.labels > 0 if kind is Mmd else None)
    assert not found.grad_images[3].any()


def assert_alike(found: torch.Tensor, expected: torch.Tensor, where: torch.Tensor | None = None) -> None:
    """Within 1e-12 of the largest element; labels of 0 are left out, where a share of 0 has no pairs."""
    if where is not None:
        found, expected = found * where, expected * where
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12 * float(expected.abs().max()))


class Linear(GaussianMixture):
    """The kernel -d / 2, which is <a, b> but for terms of one image alone, and these cancel."""

    def value(self, squared, width):
        return -squared / 2

    def slope(self, squared, width):
        return torch.full_like(squared, -0.5)


@pytest.mark.parametrize("soft", [False, True])
def test_with_a_linear_kernel_it_is_dm(corpus, soft):
    mine, theirs = objective(Mmd, corpus, kernel=Linear()), objective(MeanFeatures, corpus)
    given = six_images(soft=soft)
    found, expected = (one.evaluate(given, {}, one.draw(2, SHOWN), 4) for one in (mine, theirs))
    assert found.loss == pytest.approx(expected.loss, rel=1e-11)
    assert_alike(found.grad_images, expected.grad_images)
    assert_alike(found.grad_labels, expected.grad_labels, where=given.labels > 0)


def test_the_kernel_is_a_sum_of_five_gaussians_each_twice_as_wide():
    squared = torch.tensor([[0.0, 3.0]], dtype=torch.float64)
    value = GaussianMixture().value(squared, torch.tensor(2.0, dtype=torch.float64))
    assert value[0, 0] == 5
    assert float(value[0, 1]) == pytest.approx(sum(math.exp(-3 / w) for w in (0.5, 1, 2, 4, 8)))


@pytest.mark.parametrize("kind", [Mmd, Fourier])
def test_images_that_are_the_originals_are_at_no_distance_and_stay(corpus, kind):
    asked = objective(kind, corpus)
    drawn = asked.draw(0, torch.arange(15))
    real = drawn.originals.batch(slice(None)).double()
    labels = nn.functional.one_hot(drawn.originals.labels, CLASSES).double()
    wide = replace(drawn, originals=LabelledImages.of_floats(real, drawn.originals.labels))
    found = asked.evaluate(Images(real, labels, torch.ones(15)), {}, wide, 4)
    assert found.loss == pytest.approx(0, abs=1e-6)
    assert torch.isfinite(found.grad_images).all()
    away = asked.evaluate(Images(real + torch.randn(real.shape).double(), labels, torch.ones(15)), {}, wide, 4)
    assert away.loss > 1e-2


class Blind(FreshNetworks):
    """Networks that see nothing in any image."""

    def draw(self, iteration: int, shown: torch.Tensor, number: int = 0) -> nn.Module:
        network = super().draw(iteration, shown, number)
        for parameter in network.parameters():
            parameter.zero_()
        return network


@pytest.mark.parametrize("kind", [Mmd, Fourier])
def test_where_a_network_sees_nothing_nothing_moves(corpus, kind):
    asked, given = objective(kind, corpus, networks=Blind), six_images(torch.float32)
    found = asked.evaluate(given, {}, asked.draw(0, SHOWN), 4)
    assert found.loss == pytest.approx(0, abs=1e-5)
    assert not found.grad_images.any()
    assert found.finite


@pytest.mark.parametrize("kind", [Mmd, Fourier])
def test_what_is_drawn_depends_on_the_iteration_alone(corpus, kind):
    asked, given = objective(kind, corpus, networks=FreshNetworks), six_images(torch.float32)
    first, again, other = (asked.evaluate(given, {}, asked.draw(step, SHOWN), 4) for step in (3, 3, 4))
    assert first.loss == again.loss != other.loss
    assert torch.equal(first.grad_images, again.grad_images)


@pytest.mark.parametrize("kind", [Mmd, Fourier])
def test_in_bf16_distances_are_taken_in_full(corpus, kind):
    asked, given = objective(kind, corpus, networks=FreshNetworks), six_images(torch.float32)
    drawn = asked.draw(0, SHOWN)
    full = asked.evaluate(given, {}, drawn, 4)
    with torch.autocast("cpu", torch.bfloat16):
        half = asked.evaluate(given, {}, drawn, 4)
    assert half.loss == pytest.approx(full.loss, rel=0.05)
    assert half.grad_images.dtype == torch.float32
    assert nn.functional.cosine_similarity(half.grad_images.flatten(), full.grad_images.flatten(), dim=0) > 0.97


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("micro_batch", [1, 100])
def test_the_class_term_is_the_mean_cross_entropy_of_each_class(soft, micro_batch):
    asked, given = term(0.3), six_images(soft=soft)
    drawn = asked.draw(4, SHOWN)
    pixels, labels = given.pixels.clone().requires_grad_(), given.labels.clone().requires_grad_()
    loss = torch.zeros((), dtype=torch.float64)
    for n in SHOWN.tolist():
        shown = augment(pixels[n][None], drawn.augmentation[[int(labels[n].argmax())]])[0]
        said = layer_by_layer(drawn.network, shown)[1].log_softmax(dim=0)
        loss = loss - 0.3 * (labels[n] / labels[SHOWN].sum(dim=0) * said).sum()
    loss.backward()
    found = asked.evaluate(given, {}, drawn, micro_batch)
    assert found.loss == pytest.approx(loss.item(), rel=1e-12)
    assert_alike(found.grad_images, pixels.grad)
    assert_alike(found.grad_labels, labels.grad)
    if not soft:
        hard = [
            nn.functional.cross_entropy(
                torch.stack(
                    [
                        layer_by_layer(drawn.network, augment(given.pixels[[n]], drawn.augmentation[[c]])[0])[1]
                        for n in of
                    ]
                ),
                torch.full((len(of),), c),
            )
            for c, of in ((0, [0]), (1, [1, 4]), (2, [2, 5]))
        ]
        assert found.loss == pytest.approx(0.3 * float(sum(hard)), rel=1e-12)


def test_a_class_without_images_has_no_share_in_the_class_term():
    asked, given = term(), six_images()
    there = torch.tensor([0, 1, 4])
    found = asked.evaluate(given, {}, asked.draw(0, there), 4)
    assert found.finite
    assert not found.grad_labels[:, 2].any()


def test_a_sum_is_the_sum_of_its_parts(corpus):
    parts = (objective(MeanFeatures, corpus), term(2.0))
    asked, given = Summed(parts), six_images(soft=True)
    drawn = asked.draw(3, SHOWN)
    found = asked.evaluate(given, {}, drawn, 4)
    alone = [part.evaluate(given, {}, part.draw(3, SHOWN), 4) for part in parts]
    assert found.loss == sum(one.loss for one in alone)
    assert torch.equal(found.grad_images, alone[0].grad_images + alone[1].grad_images)
    assert torch.equal(found.grad_labels, alone[0].grad_labels + alone[1].grad_labels)
    assert asked.batch_size(6) == 15
