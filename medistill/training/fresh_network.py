"""A fresh network: built from random numbers, trained on a few images or many, and asked for classes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from medistill.errors import DivergedError
from medistill.networks.flat import FlatParameters
from medistill.networks.footprint import micro_batch_size
from medistill.networks.registry import NetworkSpec, build_network
from medistill.recipe import Recipe
from medistill.training.device import precision
from medistill.training.images import LabelledImages
from medistill.training.loop import Schedule, predict_logits, train


@dataclass(frozen=True)
class TrainingSet:
    """What a network is trained on, and how."""

    data: LabelledImages
    schedule: Schedule


def train_network(
    training: TrainingSet,
    spec: NetworkSpec,
    recipe: Recipe,
    rng: torch.Generator,
    device: torch.device,
    after_epoch: Callable[[int, FlatParameters], None] | None = None,
) -> tuple[nn.Module, float]:
    """Train a fresh network.

    Args:
        training: what it learns from, and how.
        spec: the network.
        recipe: augmentation and arithmetic.
        rng: decides its first parameters, the order of the images and their augmentation.
        device: where the arithmetic runs.
        after_epoch: called with the number of finished epochs and the parameters.

    Returns:
        The network, and the seconds that its training took.

    Raises:
        DivergedError: its parameters left the finite numbers.
    """
    network = build_network(spec, rng, device)
    micro_batch = micro_batch_of(network, spec, recipe)
    started = time.perf_counter()
    with precision(recipe.compute.precision, device):
        flat = train(
            network,
            training.data,
            training.schedule,
            recipe.augmentation,
            rng,
            micro_batch=micro_batch,
            after_epoch=after_epoch,
        )
        finite = bool(torch.isfinite(flat.values).all())  # waits for the device
    if not finite:
        raise diverged(training.schedule.lr)
    return network, time.perf_counter() - started


def logits(
    network: nn.Module, images: LabelledImages, spec: NetworkSpec, recipe: Recipe, device: torch.device
) -> Tensor:
    """Return a network's logits float32 (N, C) on the device."""
    with precision(recipe.compute.precision, device):
        return predict_logits(network, images, micro_batch=micro_batch_of(network, spec, recipe))


def probabilities(
    network: nn.Module, images: LabelledImages, spec: NetworkSpec, recipe: Recipe, device: torch.device
) -> np.ndarray:
    """Return a network's class probabilities float32 (N, C); of no image, none."""
    if not len(images):
        return np.empty((0, spec.classes), np.float32)
    found: np.ndarray = logits(network, images, spec, recipe, device).softmax(dim=1).cpu().numpy()
    return found


def train_and_predict(
    training: TrainingSet,
    shown: LabelledImages,
    spec: NetworkSpec,
    recipe: Recipe,
    rng: torch.Generator,
    device: torch.device,
    after_epoch: Callable[[int, FlatParameters], None] | None = None,
) -> np.ndarray:
    """Train a fresh network, and return its class probabilities float32 (N, C) for the images in ``shown``.

    Args:
        training: and the others as for `train_network`.
        shown: what it is asked about.

    Raises:
        DivergedError: its parameters or its probabilities left the finite numbers.
    """
    network, _ = train_network(training, spec, recipe, rng, device, after_epoch)
    found = probabilities(network, shown, spec, recipe, device)
    if not np.isfinite(found).all():
        raise diverged(training.schedule.lr)
    return found


def micro_batch_of(network: nn.Module, spec: NetworkSpec, recipe: Recipe) -> int:
    """Return how many images pass a network at once."""
    return micro_batch_size(network, spec.channels, spec.image_size, chosen=recipe.compute.micro_batch)


def diverged(lr: float) -> DivergedError:
    """Return what is raised where a network left the finite numbers at this learning rate."""
    return DivergedError(
        f"a network trained at learning rate {lr:.3g} diverged",
        expected="finite parameters and probabilities",
        do="lower evaluate.lr or evaluate.raw_lr; for a set whose learning rate was learned, distil again with a lower "
        "method.student_lr_lr",
    )
