"""Effects against finite differences of a student step, and against leaving every image out by hand, in fp64."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.normalisation import Normalisation
from medistill.errors import DivergedError
from medistill.networks.registry import build_network, network_spec
from medistill.recipe import Recipe, load_recipe
from medistill.selection import effects as module
from medistill.selection.effects import _of_class, effects
from medistill.training.images import LabelledImages
from medistill.training.randomness import generator
from tests.factories.drawn_corpus import drawn_corpus

CPU = torch.device("cpu")
STAND_INS = 3


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return drawn_corpus(tmp_path, size=8)


@pytest.fixture
def recipe() -> Recipe:
    small = ["data.image_size=8", "network.width=3", "network.depth=2", f"prune.effect_images={STAND_INS}"]
    return load_recipe("demo", small)


@pytest.fixture
def data(corpus: Corpus) -> LabelledImages:
    found = LabelledImages.of_split(corpus, "train", Normalisation.of(corpus.images), CPU)
    return replace(found, pixels=found.batch(slice(None)).double())


def loss_after_a_step(network: nn.Module, shown: Tensor, rate: float, data: LabelledImages, rows: Tensor) -> Tensor:
    """The mean loss of some images after one student step on others of their class."""
    parameters = {name: part.detach().requires_grad_() for name, part in network.named_parameters()}
    labels = data.labels[rows[:1]].expand(len(shown))
    taught = F.cross_entropy(functional_call(network, parameters, (shown,)), labels)
    slopes = torch.autograd.grad(taught, [*parameters.values()], create_graph=True)
    moved = {name: part - rate * slope for (name, part), slope in zip(parameters.items(), slopes, strict=True)}
    return F.cross_entropy(functional_call(network, moved, (data.pixels[rows],)), data.labels[rows])


def test_effects_are_what_leaving_out_changes_in_the_gradient_after_a_student_step(
    data: LabelledImages, corpus: Corpus, recipe: Recipe
) -> None:
    """Of a rate that goes to 0: the gradient of the class's mean loss, divided by the rate, with an image and without.

    The rate is small enough that its own square does not count, and the loss is taken by autograd through the step.
    """
    network = build_network(network_spec(corpus, recipe), generator(3, "effect")).double()
    for c in range(3):
        rows = torch.nonzero(data.labels == c).flatten()
        stand_ins = rows[[5, 0, 2]]
        found = _of_class(data, rows, stand_ins, network, 5, lambda images: None)
        rate = 1e-6

        def moved(some: Tensor, stand_ins: Tensor = stand_ins, rate: float = rate) -> Tensor:
            shown = data.pixels[stand_ins].clone().requires_grad_()
            (slope,) = torch.autograd.grad(loss_after_a_step(network, shown, rate, data, some), shown)
            return slope / rate

        whole = moved(rows)
        by_hand = [float((whole - moved(rows[rows != row])).norm()) for row in rows]
        np.testing.assert_allclose(found, by_hand, rtol=1e-3)
        assert found.std() > 0.05 * found.mean()


def test_a_linear_network_has_the_effect_that_its_formula_gives(recipe: Recipe) -> None:
    """Of logits W x and the label y, with p the probabilities: d <g_S, v> / dx is  (p - y) rows of V, and W's part."""
    rng = torch.Generator().manual_seed(0)
    pixels, labels = torch.randn(9, 4, generator=rng).double(), torch.zeros(9, dtype=torch.int64)
    scale = torch.ones(1)
    data = LabelledImages(pixels, labels, torch.ones(9), scale, scale)
    network = nn.Linear(4, 3, bias=False).double()
    network.weight.data = torch.randn(3, 4, generator=rng).double()
    rows, stand_ins = torch.arange(9), torch.tensor([1, 7])
    found = _of_class(data, rows, stand_ins, network, 4, lambda images: None)
    weight, onehot = network.weight.detach().numpy(), np.eye(3)[0]

    def answer(x: np.ndarray) -> np.ndarray:
        scores = np.exp(weight @ x)
        return scores / scores.sum()

    x = pixels.numpy()
    slopes = np.array([np.outer(answer(one) - onehot, one) for one in x])
    for i in range(9):
        v = slopes[i] - slopes.mean(axis=0)
        parts = []
        for one in x[[1, 7]]:
            p = answer(one)
            turned = np.diag(p) - np.outer(p, p)
            parts.append((v.T @ (p - onehot) + weight.T @ turned @ v @ one) / 2)
        assert found[i] == pytest.approx(np.linalg.norm(parts) / 8, rel=1e-10)


def test_whoever_is_like_the_mean_has_no_effect_and_classes_do_not_mix(
    data: LabelledImages, corpus: Corpus, recipe: Recipe
) -> None:
    spec = network_spec(corpus, recipe)
    alike = replace(data, pixels=data.pixels.clone().float())
    first = torch.nonzero(data.labels == 0).flatten()
    alike.pixels[first] = alike.pixels[first[0]].clone()
    found = effects(alike, spec, recipe, generator(0, "e"), CPU)
    assert found[first.numpy()].max() < 1e-5 * found.max()
    other = replace(alike, pixels=alike.pixels.clone())
    other.pixels[first] = 2 * data.pixels[first].float()
    again = effects(other, spec, recipe, generator(0, "e"), CPU)
    rest = np.setdiff1d(np.arange(len(found)), first.numpy())
    np.testing.assert_array_equal(again[rest], found[rest])
    np.testing.assert_array_equal(effects(other, spec, recipe, generator(0, "e"), CPU), again)
    assert not np.array_equal(effects(other, spec, recipe, generator(1, "e"), CPU), again)


def test_one_image_of_a_class_has_no_effect_and_every_image_is_told_of(corpus: Corpus, recipe: Recipe) -> None:
    data = LabelledImages.of_split(corpus, "train", Normalisation.of(corpus.images), CPU)
    data.labels[:] = 1
    data.labels[4] = 0
    told: list[int] = []
    found = effects(data, network_spec(corpus, recipe), recipe, generator(0, "e"), CPU, told.append)
    assert found[4] == 0
    assert (np.delete(found, 4) > 0).all()
    assert sum(told) == 2 * len(data)
    assert told.count(1) >= len(data) - 1  # not class by class: second derivatives are slow


def test_who_stops_within_a_class_is_heard_there(corpus: Corpus, recipe: Recipe) -> None:
    data = LabelledImages.of_split(corpus, "train", Normalisation.of(corpus.images), CPU)
    told: list[int] = []

    def stop_after_two_effects(images: int) -> None:
        told.append(images)
        if told[-2:] == [1, 1]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        effects(data, network_spec(corpus, recipe), recipe, generator(0, "e"), CPU, stop_after_two_effects)
    assert sum(told) == int((data.labels == 0).sum()) + 2


def test_effects_that_are_not_finite_are_refused(
    corpus: Corpus, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = LabelledImages.of_split(corpus, "train", Normalisation.of(corpus.images), CPU)
    monkeypatch.setattr(module, "_of_class", lambda data, rows, *rest: np.full(len(rows), np.nan))
    with pytest.raises(DivergedError, match="effects of training images on synthetic ones are not finite"):
        effects(data, network_spec(corpus, recipe), recipe, generator(0, "e"), CPU)
