"""Tiles: against interpolation image by image, and any objective of them against automatic differentiation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.normalisation import Normalisation
from medistill.artifacts.tiles import collages, enlarged, gathered, of_each, places
from medistill.engine.images import Images
from medistill.engine.objectives.base import Evaluation, Objective
from medistill.engine.objectives.mean_features import MeanFeatures
from medistill.engine.objectives.tiled import Tiled
from medistill.engine.sources.fresh import FreshNetworks
from medistill.engine.sources.originals import Originals
from medistill.networks.registry import NetworkSpec
from medistill.recipe import AugmentationRecipe, NetworkRecipe
from medistill.training.augmentation import augment
from medistill.training.images import LabelledImages
from tests.factories.drawn_corpus import drawn_corpus

CPU = torch.device("cpu")
CLASSES, SIZE = 3, 8
SPEC = NetworkSpec(NetworkRecipe(depth=2, width=3), 1, SIZE, CLASSES)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Wide(FreshNetworks):
    """The same networks in float64."""

    def draw(self, iteration: int, shown: Tensor, number: int = 0) -> nn.Module:
        return super().draw(iteration, shown, number).double()


class Seen(Objective[None]):
    """Keeps what it is shown."""

    def draw(self, iteration: int, shown: Tensor) -> None:
        self.rows = shown

    def evaluate(self, images: Images, learned, drawn: None, micro_batch: int) -> Evaluation:
        self.images = images
        return Evaluation(0.0, torch.zeros_like(images.pixels), torch.zeros_like(images.labels), {})


@pytest.mark.parametrize(("tiles", "height", "width"), [(2, 8, 8), (2, 4, 6), (3, 6, 9), (4, 4, 8)])
def test_each_tile_is_its_part_interpolated(tiles: int, height: int, width: int) -> None:
    stored = drawn(3, 2, height, width)
    found = enlarged(stored, tiles)
    assert found.shape == (3 * tiles**2, 2, height, width)
    h, w, k = height // tiles, width // tiles, 0
    for image in stored:
        for i in range(tiles):
            for j in range(tiles):
                part = image[None, :, i * h : (i + 1) * h, j * w : (j + 1) * w]
                whole = F.interpolate(part, size=(height, width), mode="bilinear", align_corners=False)
                torch.testing.assert_close(found[k], whole[0], rtol=1e-15, atol=1e-15)
                k += 1


@pytest.mark.parametrize("tiles", [2, 3])
def test_what_is_gathered_is_the_transpose(tiles: int) -> None:
    stored, gradient = drawn(2, 1, 6, 6).requires_grad_(), drawn(2 * tiles**2, 1, 6, 6, seed=1)
    (wanted,) = torch.autograd.grad(enlarged(stored, tiles), stored, gradient)
    with torch.no_grad():
        found = gathered(gradient, tiles)
    torch.testing.assert_close(found, wanted, rtol=1e-15, atol=1e-15)
    product = (enlarged(stored, tiles) * gradient).sum().item()
    assert (stored * found).sum().item() == pytest.approx(product, rel=1e-12)


def test_one_tile_is_the_image_itself() -> None:
    images = drawn(2, 1, 4, 4)
    for same in (enlarged, gathered, collages, of_each):
        assert same(images, 1) is images
    assert LabelledImages.of_floats(images, torch.tensor([0, 1])).cut(1).pixels is images


def test_a_collage_has_the_means_of_its_images_in_their_places() -> None:
    images = drawn(8, 1, 4, 6)
    found = collages(images, 2)
    assert found.shape == (2, 1, 4, 6)
    assert found[1, 0, 3, 1] == pytest.approx(float(images[6, 0, 2:4, 2:4].mean()), rel=1e-12), "lower left, of 4 to 7"
    even = torch.arange(8.0)[:, None, None, None].expand(8, 1, 4, 6)
    assert torch.equal(enlarged(collages(even, 2), 2), even), "and each comes back in its place"


def test_places_are_those_of_the_enlarged() -> None:
    labels = torch.arange(4)
    assert places(torch.tensor([1, 3]), 2).tolist() == [4, 5, 6, 7, 12, 13, 14, 15]
    assert torch.equal(of_each(labels, 2)[places(torch.tensor([1, 3]), 2)], of_each(labels[[1, 3]], 2))


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return drawn_corpus(tmp_path / "corpus", size=SIZE)


@pytest.mark.parametrize("micro_batch", [1, 5, 100])
@pytest.mark.parametrize("tiles", [2, 4])
def test_gradients_are_those_of_automatic_differentiation_through_the_cut(
    corpus: Corpus, tiles: int, micro_batch: int
) -> None:
    originals = Originals(corpus, (0, 1, 2), 5, Normalisation((0.5,), (0.25,)), 0, CPU)
    inner = MeanFeatures(Wide(SPEC, 0, CPU), originals, AugmentationRecipe(), CLASSES, 0)
    asked, shown = Tiled(inner, tiles), torch.tensor([0, 1, 2, 4])
    pixels = drawn(5, 1, SIZE, SIZE).requires_grad_()
    labels = F.softmax(3 * F.one_hot(torch.arange(5) % CLASSES, CLASSES) + drawn(5, CLASSES, seed=2), dim=1)
    labels.requires_grad_()
    step = asked.draw(3, shown)
    loss = torch.zeros((), dtype=torch.float64)
    for c in range(CLASSES):

        def phi(image: Tensor, c: int = c) -> Tensor:
            return nn.Sequential(*list(step.network.children())[:-1])(augment(image, step.augmentation[[c]])).flatten()

        real = [phi(one[None].double()) for one in step.originals.batch(step.originals.labels == c)]
        made, total = [], torch.zeros((), dtype=torch.float64)
        for n in shown.tolist():
            of_class = int(labels[n].argmax())
            for row in pixels[n].chunk(tiles, dim=1):
                for part in row.chunk(tiles, dim=2):
                    whole = F.interpolate(part[None], size=(SIZE, SIZE), mode="bilinear", align_corners=False)
                    made.append(labels[n, c] * phi(whole, of_class))
                    total = total + labels[n, c]
        loss = loss + (sum(real) / len(real) - sum(made) / total).square().sum()
    loss.backward()
    given = Images(pixels.detach(), labels.detach(), torch.ones(5, dtype=torch.float64))
    found = asked.evaluate(given, {}, step, micro_batch)
    assert found.loss == pytest.approx(loss.item(), rel=1e-12)
    for gradient, wanted in ((found.grad_images, pixels.grad), (found.grad_labels, labels.grad)):
        assert gradient.shape == wanted.shape
        assert float((gradient - wanted).norm()) <= 1e-12 * float(wanted.norm())
    assert not found.grad_images[3].any()
    assert not found.grad_labels[3].any()


def test_what_is_inside_sees_all_tiles_of_the_images_that_take_part() -> None:
    inner = Seen()
    asked = Tiled(inner, 2)
    given = Images(drawn(3, 1, 4, 4), torch.eye(3).double(), torch.tensor([0.5, 1, 1.5]).double())
    asked.evaluate(given, {}, asked.draw(0, torch.tensor([2])), 4)
    assert inner.rows.tolist() == [8, 9, 10, 11]
    assert inner.images.labels.argmax(dim=1).tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert inner.images.weights.tolist() == [0.5] * 4 + [1] * 4 + [1.5] * 4
    assert asked.batch_size(3) == 12


def test_tiles_move_as_their_stored_images_do() -> None:
    """U D U^T g, where the images themselves move along D times their gradient."""
    inner, gradient = Seen(), drawn(8, 1, 4, 4, seed=5)
    given = Images(drawn(2, 1, 4, 4), torch.eye(2).double(), torch.ones(2).double())
    asked = Tiled(inner, 2)
    asked.evaluate(replace(given, descent=lambda g: 3 * g), {}, None, 4)
    cut = torch.func.jacrev(lambda x: enlarged(x, 2))(given.pixels).reshape(8 * 16, 2 * 16)
    wanted = 3 * cut @ (cut.T @ gradient.flatten())
    torch.testing.assert_close(inner.images.descent(gradient).flatten(), wanted)
