"""What images are compared with in tests of such objectives: three classes of 8 x 8 pixels, in the eyes of tiny
networks, in float64."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.normalisation import Normalisation
from medistill.engine.images import Images
from medistill.engine.sources.fresh import FreshNetworks
from medistill.engine.sources.originals import Originals
from medistill.networks.registry import NetworkSpec
from medistill.recipe import NetworkRecipe
from medistill.training.augmentation import augment

CPU = torch.device("cpu")
CLASSES, SIZE = 3, 8
NORMALISATION = Normalisation((0.5,), (0.25,))
SPEC = NetworkSpec(NetworkRecipe(depth=2, width=3), 1, SIZE, CLASSES)
CLASS_OF = torch.arange(6) % CLASSES
SHOWN = torch.tensor([0, 1, 2, 4, 5])
"""Of six images the fourth takes no part."""


class Wide(FreshNetworks):
    """Fresh networks in float64."""

    def draw(self, iteration: int, shown: torch.Tensor, number: int = 0) -> nn.Module:
        return super().draw(iteration, shown, number).double()


def originals(corpus: Corpus, class_ids: tuple[int, ...] = (0, 1, 2), batch: int = 5) -> Originals:
    """A batch of each class."""
    return Originals(corpus, class_ids, batch, NORMALISATION, 0, CPU)


def six_images(dtype: torch.dtype = torch.float64, *, soft: bool = False) -> Images:
    """Noise, two of each class, or with probabilities that lean to it."""
    rng = torch.Generator().manual_seed(1)
    pixels = torch.randn(6, 1, SIZE, SIZE, generator=rng, dtype=dtype)
    labels = F.one_hot(CLASS_OF, CLASSES).to(dtype)
    if soft:
        labels = F.softmax(3 * labels + torch.randn(6, CLASSES, generator=rng, dtype=dtype), dim=1)
    return Images(pixels, labels, torch.ones(6, dtype=dtype))


def layer_by_layer(network: nn.Module, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The features (F,) of an image (C, H, W), the output of all layers but the last, and its logits."""
    x, layers = image[None], list(network.children())
    for layer in layers[:-1]:
        x = layer(x)
    return x.flatten(), layers[-1](x.flatten())


def seen_of(drawn, image: torch.Tensor, class_id: int) -> torch.Tensor:
    """The features of an image, augmented as a class is."""
    return layer_by_layer(drawn.network, augment(image[None].double(), drawn.augmentation[[class_id]])[0])[0]


def seen_by_class(drawn, pixels: torch.Tensor, labels: torch.Tensor):
    """For each class that has originals: their features, those of the images that take part, and the images' shares."""
    for c in drawn.originals.labels.unique().tolist():
        real = torch.stack([seen_of(drawn, one, c) for one in drawn.originals.batch(drawn.originals.labels == c)])
        made = torch.stack([seen_of(drawn, pixels[n], int(labels[n].argmax())) for n in drawn.shown.tolist()])
        yield real, made, labels[drawn.shown, c] / labels[drawn.shown, c].sum()
