"""Losses: how hard networks find each training image while they begin to learn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medistill.networks.registry import NetworkSpec, build_network
from medistill.recipe import Recipe
from medistill.training.device import precision
from medistill.training.encoded import seen_by
from medistill.training.fresh_network import TrainingSet, diverged, logits, micro_batch_of, train_network
from medistill.training.images import LabelledImages
from medistill.training.loop import Schedule, predict_logits, train


def mean_losses(
    data: LabelledImages,
    schedule: Schedule,
    spec: NetworkSpec,
    recipe: Recipe,
    rng: torch.Generator,
    device: torch.device,
    after_epoch: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Return the cross-entropy of every image, float64 (N,), mean over the epochs of one fresh network's training.

    It is taken after each epoch, without augmentation, on the images that the network is trained on. A probe is fitted,
    and has no epochs: its loss is that of the fit.

    Args:
        data: what the network learns from.
        schedule: how, and how long.
        spec: the network.
        recipe: augmentation and arithmetic.
        rng: decides its first parameters, the order of the images and their augmentation.
        device: where the arithmetic runs.
        after_epoch: called after every epoch.

    Raises:
        DivergedError: a loss is not finite.
        DataError: a probe's encoder sees the same in all images.
    """
    if spec.encoder is not None:
        data = seen_by(spec.encoder, data, device)
        probe, _ = train_network(TrainingSet(data, schedule), spec, recipe, rng, device)
        total, counted = _cross_entropy(logits(probe, data, spec, recipe, device), data.labels), 1
        after_epoch()
    else:
        total, counted = _over_epochs(data, schedule, build_network(spec, rng, device), spec, recipe, rng, after_epoch)
    if not bool(torch.isfinite(total).all()):
        raise diverged(schedule)
    found: np.ndarray = (total / counted).cpu().numpy()
    return found


def _over_epochs(
    data: LabelledImages,
    schedule: Schedule,
    network: nn.Module,
    spec: NetworkSpec,
    recipe: Recipe,
    rng: torch.Generator,
    after_epoch: Callable[[], None],
) -> tuple[Tensor, int]:
    """Return the sum over the epochs of a network's losses, float64 (N,), and how many epochs there were."""
    total = torch.zeros(len(data), dtype=torch.float64, device=data.labels.device)
    micro_batch = micro_batch_of(network, spec, recipe)

    def note(epoch: int, flat: object) -> None:
        total.add_(_cross_entropy(predict_logits(network, data, micro_batch=micro_batch), data.labels))
        after_epoch()

    with precision(recipe.compute.precision, data.labels.device):
        train(network, data, schedule, recipe.augmentation, rng, micro_batch=micro_batch, after_epoch=note)
    return total, schedule.epochs


def _cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of each row of logits (N, C), float64 (N,)."""
    return F.cross_entropy(scores.double(), labels, reduction="none")
