"""From a network's name to a network: the one list of what there is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.encoder_summary import PROBE
from medistill.encoders.encoder import Encoder
from medistill.encoders.projection_store import stored_projection
from medistill.encoders.store import stored_encoder
from medistill.errors import RecipeError
from medistill.networks.alexnet import AlexNet
from medistill.networks.convnet import ConvNet
from medistill.networks.densenet import densenet121
from medistill.networks.footprint import refuse_beyond_memory
from medistill.networks.initialise import initialise
from medistill.networks.own import NetworkFactory, build_own, factory_name, identity
from medistill.networks.resnet import ResNet18
from medistill.networks.vgg import VGG11
from medistill.recipe import NetworkRecipe, Recipe


@dataclass(frozen=True)
class NetworkSpec:
    """What has to be known to build a network.

    Attributes:
        recipe: name, depth and width.
        channels: channels of an image.
        image_size: height and width in pixels.
        classes: number of logits.
        factory: makes a network of the user's own, in place of the one that ``recipe`` names.
        encoder: whose features the network takes in place of pixels; of a probe alone.
    """

    recipe: NetworkRecipe
    channels: int
    image_size: int
    classes: int
    factory: NetworkFactory | None = None
    encoder: Encoder | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """What the network takes of an image: its pixels (C, H, W), or its features (D,)."""
        if self.encoder is not None:
            return (self.encoder.dimension,)
        return (self.channels, self.image_size, self.image_size)

    @property
    def name(self) -> str:
        """What the network is called: its name in the registry, or the factory's."""
        return self.recipe.name if self.factory is None else factory_name(self.factory)

    @property
    def words(self) -> str:
        """The network for a reader, as "ConvNet, depth 3, width 128"."""
        return REGISTRY[self.recipe.name].words(self) if self.factory is None else factory_name(self.factory)

    def identity(self) -> dict[str, Any]:
        """Plain values that tell this network from others, as a key of what was trained with it needs them: those of a
        network with layers say nothing of an encoder."""
        if self.factory is None:
            return self.recipe.model_dump(mode="json", exclude=set() if self.encoder is not None else OF_PROBES)
        return identity(self.factory, build_network(self, torch.Generator().manual_seed(0)))


OF_PROBES = {"encoder", "projection"}
"""Settings that a network with layers does not have."""


@dataclass(frozen=True)
class _Entry:
    construct: Callable[[NetworkSpec], nn.Module]
    smallest: Callable[[NetworkSpec], int]
    words: Callable[[NetworkSpec], str]


def _probe(spec: NetworkSpec) -> nn.Module:
    if spec.encoder is None:
        raise RecipeError(
            "network probe without an encoder",
            expected="network.encoder, the SHA-256 of one in the cache",
            do="add --encoder NAME (see `medistill encoder list`)",
        )
    return nn.Linear(spec.encoder.dimension, spec.classes)


REGISTRY: dict[str, _Entry] = {
    "convnet": _Entry(
        lambda s: ConvNet(s.channels, s.image_size, s.classes, depth=s.recipe.depth, width=s.recipe.width),
        lambda s: 2**s.recipe.depth,
        lambda s: f"ConvNet, depth {s.recipe.depth}, width {s.recipe.width}",
    ),
    "resnet18": _Entry(lambda s: ResNet18(s.channels, s.classes), lambda s: 16, lambda s: "ResNet-18"),
    "vgg11": _Entry(lambda s: VGG11(s.channels, s.classes), lambda s: 32, lambda s: "VGG-11"),
    "alexnet": _Entry(lambda s: AlexNet(s.channels, s.classes), lambda s: 16, lambda s: "AlexNet"),
    "densenet121": _Entry(lambda s: densenet121(s.channels, s.classes), lambda s: 32, lambda s: "DenseNet-121"),
    "probe": _Entry(_probe, lambda s: 1, lambda s: f"{PROBE} on {'' if s.encoder is None else s.encoder.display_name}"),
}


def check_image_size(spec: NetworkSpec) -> None:
    """Refuse a network of the registry that the images are too small for.

    Raises:
        RecipeError: with the network and both sizes.
    """
    if spec.encoder is not None:
        spec.encoder.check_fits(spec.channels, spec.image_size)
    if spec.factory is None and spec.image_size < (smallest := REGISTRY[spec.recipe.name].smallest(spec)):
        raise RecipeError(
            f"network {spec.recipe.name} with data.image_size = {spec.image_size}",
            expected=f"at least {smallest} pixels",
            do="raise data.image_size, or choose another network (network.name, evaluate.across)",
        )


def build_network(spec: NetworkSpec, generator: torch.Generator, device: torch.device | None = None) -> nn.Module:
    """Build a network with fresh parameters drawn from ``generator`` (a CPU one, so every device starts alike).

    Raises:
        RecipeError: the image is too small for this network.
        UsageError: the user's own network cannot be used here.
        MemoryShortError: its parameters do not fit in the machine's memory.
    """
    if spec.factory is not None:
        network = build_own(spec.factory, spec.channels, spec.image_size, spec.classes, generator)
        return network.to(device, non_blocking=True) if device is not None else network
    check_image_size(spec)
    with torch.device("meta"):
        network = REGISTRY[spec.recipe.name].construct(spec)
    refuse_beyond_memory(network, spec.words)
    network = network.to_empty(device="cpu")
    initialise(network, generator)
    return network.to(device, non_blocking=True) if device is not None else network


def network_spec(corpus: Corpus, recipe: Recipe, network: NetworkFactory | None = None) -> NetworkSpec:
    """Return the network that a recipe means for a corpus, or the user's own."""
    channels, image_size = corpus.images.shape[1:3]
    return spec_of(recipe.network, channels, image_size, len(corpus.class_names), network)


def spec_of(
    recipe: NetworkRecipe, channels: int, image_size: int, classes: int, network: NetworkFactory | None = None
) -> NetworkSpec:
    """Return the network that settings mean for such images, with the encoder that they name.

    Raises:
        UsageError: that encoder, or the projection of its features, is not in the cache.
    """
    encoder = stored_encoder(recipe.encoder) if network is None and recipe.name == "probe" else None
    if encoder is not None and recipe.projection:
        encoder = encoder.projected(stored_projection(recipe.projection))
    return NetworkSpec(recipe, channels, image_size, classes, network, encoder)
