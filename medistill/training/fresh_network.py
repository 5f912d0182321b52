"""A fresh network: built from random numbers, trained on a few images or many, and asked for classes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from medistill.errors import DivergedError, UsageError
from medistill.networks.flat import FlatParameters
from medistill.networks.footprint import micro_batch_size
from medistill.networks.registry import NetworkSpec, build_network
from medistill.recipe import AugmentationRecipe, Recipe
from medistill.training.device import precision
from medistill.training.encoded import seen_by
from medistill.training.images import LabelledImages
from medistill.training.loop import Schedule, predict_logits, train
from medistill.training.penalty import Penalty
from medistill.training.pretraining import pretrained_spec, shown_as, with_classes
from medistill.training.probe import fit_probe


@dataclass(frozen=True)
class TrainingSet:
    """What a network is trained on, and how; a probe is fitted, whatever a schedule says (see `suited`)."""

    data: LabelledImages
    schedule: Schedule | Penalty


def train_network(
    training: TrainingSet,
    spec: NetworkSpec,
    recipe: Recipe,
    rng: torch.Generator,
    device: torch.device,
    after_epoch: Callable[[int, FlatParameters], None] | None = None,
) -> tuple[nn.Module, float]:
    """Train a fresh network; a probe is fitted, to which random numbers and epochs are nothing. Of images whose labels
    are target vectors the training is a pretraining, after which the last layer is fitted to their classes.

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
        DataError: a probe's encoder sees the same in all images.
        UsageError: the labels are target vectors, and the network is a probe or does not end in a linear layer.
    """
    how, trained = suited(training.schedule, spec, recipe), pretrained_spec(spec, training.data)
    network = build_network(trained, rng, device)
    data = seen_by(spec.encoder, training.data, device)
    started = time.perf_counter()
    if isinstance(how, Penalty):
        fit_probe(_linear(network), data, how.penalty)
        return network, time.perf_counter() - started
    micro_batch = micro_batch_of(network, spec, recipe)
    with precision(recipe.compute.precision, device):
        flat = train(network, data, how, shown_as(recipe, data), rng, micro_batch=micro_batch, after_epoch=after_epoch)
        network = finished(network, flat, training, spec, recipe)  # waits for the device
    return network, time.perf_counter() - started


def finished(
    network: nn.Module, flat: FlatParameters, training: TrainingSet, spec: NetworkSpec, recipe: Recipe
) -> nn.Module:
    """Return a trained network with an output for each class: itself, or where it was pretrained on target vectors, one
    with a last layer that is fitted to the classes under ``schedule.penalty``.

    Args:
        network: at the end of its training.
        flat: its parameters.
        training: what it learned from, and how.
        spec: the network, with the classes.
        recipe: of the penalty.

    Raises:
        DivergedError: its parameters left the finite numbers, or a pretrained one sees the same in all images.
        UsageError: it was pretrained, and does not end in a linear layer.
    """
    if not bool(torch.isfinite(flat.values).all()):
        raise diverged(training.schedule)
    size = micro_batch_of(network, spec, recipe)
    return with_classes(network, training.data, spec, recipe.schedule.penalty, size)


def suited(how: Schedule | Penalty, spec: NetworkSpec, recipe: Recipe) -> Schedule | Penalty:
    """Return how a network is trained: as is said; a probe, of which only a schedule is known, under the recipe's own
    penalty.

    Raises:
        UsageError: a penalty alone, for a network that is no probe.
    """
    if spec.encoder is not None:
        return how if isinstance(how, Penalty) else Penalty(recipe.schedule.penalty)
    if isinstance(how, Penalty):
        raise UsageError(
            f"{how.words} to train {spec.words} with",
            expected="a schedule: only a probe is fitted under a penalty",
            do="choose how it is trained by validation (schedule.choose=validation), or take a probe (--encoder)",
        )
    return how


def _linear(network: nn.Module) -> nn.Linear:
    """Return the network of a probe as what it is.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(network, nn.Linear):
        raise TypeError(f"a probe is a linear layer, not {type(network).__name__}")
    return network


def logits(
    network: nn.Module, images: LabelledImages, spec: NetworkSpec, recipe: Recipe, device: torch.device
) -> Tensor:
    """Return a network's logits float32 (N, C) on the device."""
    with precision(recipe.compute.precision, device):
        images = seen_by(spec.encoder, images, device)
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
        raise diverged(training.schedule)
    return found


def micro_batch_of(network: nn.Module, spec: NetworkSpec, recipe: Recipe) -> int:
    """Return how many images pass a network at once."""
    return micro_batch_size(network, spec.shape, chosen=recipe.compute.micro_batch)


def augmentation_of(spec: NetworkSpec, recipe: Recipe) -> AugmentationRecipe:
    """Return how what a network is shown is augmented: features are not."""
    return recipe.augmentation if spec.encoder is None else AugmentationRecipe(operations=())


def diverged(how: Schedule | Penalty) -> DivergedError:
    """Return what is raised where a network left the finite numbers that was trained like this."""
    if isinstance(how, Penalty):
        return DivergedError(
            f"a probe fitted under {how.words} gives probabilities that are not finite",
            expected="finite features of every image",
            do="use another encoder (medistill encoder list), or larger penalties (schedule.penalties)",
        )
    return DivergedError(
        f"a network trained at learning rate {how.lr:.3g} diverged",
        expected="finite parameters and probabilities",
        do="lower evaluate.lr or evaluate.raw_lr; for a set whose learning rate was learned, distil again with a lower "
        "method.student_lr_lr",
    )
