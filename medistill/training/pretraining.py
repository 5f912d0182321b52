"""Pretraining: a network that learns target vectors of a teacher first, and then which class each image was made for.

Where labels are target vectors Y of width D, a network with D outputs is trained on (images, Y) by the mean of
(f(x) - y)^2, as those were that the images were distilled for (KRR-ST; Lee et al. 2024): the images are not
augmented, since a target belongs to the image as it is. Its last layer is then put away, and a new one is fitted to
the classes of the same images as a probe is (`medistill.training.probe`), on what the last layer was given: to its end,
without a random number. As an encoder's features are, these are of the size of 1 then: they are divided by their root
mean squared deviation, so that a penalty means the same for every network. What comes of it is an ordinary network,
whose outputs are the classes.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medistill.errors import DivergedError, UsageError
from medistill.networks.features import features, last_layer
from medistill.networks.registry import NetworkSpec, build_network
from medistill.recipe import AugmentationRecipe, Recipe
from medistill.training.images import LabelledImages
from medistill.training.probe import Probe, ProbeLayer, load_probe


def pretrained_spec(spec: NetworkSpec, data: LabelledImages) -> NetworkSpec:
    """Return the network that is trained on some images: that of a spec, or with an output for each number of their
    target vectors."""
    if not data.by_targets or data.soft_labels is None:
        return spec
    return replace(spec, classes=data.soft_labels.shape[1])


def shown_as(recipe: Recipe, data: LabelledImages) -> AugmentationRecipe:
    """Return how images are augmented while a network is trained on them: those with target vectors are not."""
    return AugmentationRecipe(operations=()) if data.by_targets else recipe.augmentation


def with_classes(
    network: nn.Module, data: LabelledImages, spec: NetworkSpec, penalty: float, micro_batch: int
) -> nn.Module:
    """Return a network with an output for each class: of a pretrained one its layers but the last, and in its place one
    that is fitted to the classes of the images. One that was not pretrained is returned as it is.

    Args:
        network: trained on the images, its parameters finite; it stays as it is.
        data: the images.
        spec: with the classes.
        penalty: L2 penalty of the fit, on features of the size of 1.
        micro_batch: images that pass the network at once.

    Raises:
        UsageError: the network does not end in a linear layer with a bias.
        DivergedError: it sees the same in all images, or what is not finite; or the fit does not come to its end.
    """
    if not data.by_targets:
        return network
    network.eval()
    name, old = last_layer(network, data.batch(slice(0, 1)))
    made = build_network(spec, torch.Generator().manual_seed(0), data.pixels.device)
    layer = dict(made.named_modules()).get(name)
    if old is None or old.bias is None or not isinstance(layer, nn.Linear) or layer.out_features != spec.classes:
        raise UsageError(
            f"the network {spec.words} for a set whose labels are target vectors",
            expected="one that ends in a linear layer with a bias, in whose place that of the classes is put",
            do="end it in torch.nn.Linear, or take a network of the registry (network.name)",
        )
    kept = {key: value for key, value in network.state_dict().items() if not key.startswith(f"{name}.")}
    made.load_state_dict({**kept, **{f"{name}.{key}": value for key, value in layer.state_dict().items()}})
    seen = _seen(network, data, micro_batch)
    size = float((seen - seen.mean(dim=0)).double().square().mean().sqrt()) if len(seen) > 1 else 1.0
    if not 0 < size < math.inf:
        raise DivergedError(
            f"a network that was pretrained on target vectors sees no difference among its {len(seen)} images",
            expected="finite features, by which a last layer can tell classes",
            do="lower the learning rate (schedule.rates, evaluate.lr, or method.pretrain_lr to distil again)",
        )
    found = Probe(seen / size, F.one_hot(data.labels, spec.classes), data.weights).fit(penalty)
    load_probe(layer, ProbeLayer(found.weight / size, found.bias))
    return made


@torch.no_grad()
def _seen(network: nn.Module, data: LabelledImages, micro_batch: int) -> Tensor:
    """Return what the last layer of a network is given of all images, (N, F)."""
    starts = range(0, len(data), micro_batch)
    return torch.cat([features(network, data.batch(slice(start, start + micro_batch))) for start in starts])
