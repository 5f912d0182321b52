"""The training loop: SGD on labelled images, augmented by draws, in micro-batches that change nothing but the speed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medistill.allocator import keep_freed_memory
from medistill.networks.flat import FlatParameters
from medistill.networks.second_order import FirstOrderKernels
from medistill.recipe import AugmentationRecipe
from medistill.training.augmentation import Draw, augment, draw
from medistill.training.device import sent
from medistill.training.difficulty import Curriculum
from medistill.training.images import LabelledImages
from medistill.training.sgd import sgd_step_
from medistill.training.sharpness import ascent, flat_gradient
from medistill.training.stages import slice_of
from medistill.training.tail import Tail


@dataclass(frozen=True)
class Schedule:
    """How long and how fast.

    Attributes:
        epochs: passes over the images.
        batch_size: images an update.
        lr: learning rate; a tenth of it from ``decay_epoch`` on.
        momentum: of SGD.
        weight_decay: L2 penalty.
        decay_epoch: first epoch (from 0) at the lower rate; None never lowers it.
        tail: end with the mean of the parameters after each of the last epochs (see `Tail`).
        sharpness: radius of the ascent in sharpness-aware descent, rho; 0 is plain SGD at half the cost.
        surrogate_gap: weight of the surrogate gap in it, alpha; 0 is SAM, above 0 GSAM.
        curriculum: which images an epoch trains on; None trains on those of the stages.
    """

    epochs: int
    batch_size: int
    lr: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    decay_epoch: int | None = None
    tail: bool = False
    sharpness: float = 0.0
    surrogate_gap: float = 0.0
    curriculum: Curriculum | None = None


def train(
    network: nn.Module,
    data: LabelledImages,
    schedule: Schedule,
    augmentation: AugmentationRecipe,
    generator: torch.Generator,
    *,
    micro_batch: int,
    after_epoch: Callable[[int, FlatParameters], None] | None = None,
) -> FlatParameters:
    """Train a network in place as `epochs` does, to the end of the schedule.

    Args:
        network: without batch statistics, on the device of the images.
        data: the images.
        schedule: how long and how fast.
        augmentation: drawn anew for every batch.
        generator: a CPU generator; decides order and augmentation.
        micro_batch: images that pass the network at once; their gradients add up to the batch's.
        after_epoch: called with the number of finished epochs and the parameters.

    Returns:
        The network's parameters as one vector.
    """
    flat, tail = FlatParameters(network), Tail(schedule.epochs)
    for epoch in epochs(network, flat, data, schedule, augmentation, generator, micro_batch=micro_batch):
        if schedule.tail:
            tail.add(epoch, flat.values)
        if after_epoch is not None:
            after_epoch(epoch, flat)
    if schedule.tail:
        flat.values.copy_(tail.mean)
    return flat


def epochs(
    network: nn.Module,
    flat: FlatParameters,
    data: LabelledImages,
    schedule: Schedule,
    augmentation: AugmentationRecipe,
    generator: torch.Generator,
    *,
    micro_batch: int,
) -> Iterator[int]:
    """Train by SGD, plain or sharpness-aware, on the weighted loss of the labels, an epoch whenever asked for.

    Where the images have stages the epochs are divided evenly over them, and stage k trains on the images of the stages
    up to k (PDD); the learning rate falls when it would without stages.

    Args:
        flat: the network's parameters.

    Yields:
        How many epochs are finished.
    """
    keep_freed_memory()
    velocity = torch.zeros_like(flat.values)
    stages = data.stages()
    for epoch in range(schedule.epochs):
        network.train()
        lowered = schedule.decay_epoch is not None and epoch >= schedule.decay_epoch
        lr = schedule.lr / 10 if lowered else schedule.lr
        chosen = schedule.curriculum
        shown = chosen.rows(epoch) if chosen else stages[slice_of(epoch, schedule.epochs, len(stages))]
        order = shown[sent(torch.randperm(len(shown), generator=generator), shown.device)]
        for rows in order.split(schedule.batch_size):
            drawn = draw(augmentation, len(rows), generator, rows.device)
            _gradient(network, flat, data, rows, drawn, micro_batch)
            if schedule.sharpness:
                values, gradient = flat.values.clone(), flat.gradient.clone()
                flat.values.add_(ascent(gradient, schedule.sharpness))
                _gradient(network, flat, data, rows, drawn, micro_batch)
                flat.gradient.copy_(flat_gradient(gradient, flat.gradient, schedule.surrogate_gap))
                flat.values.copy_(values)
            decay, momentum = schedule.weight_decay, schedule.momentum
            sgd_step_(flat.values, velocity, flat.gradient, lr=lr, momentum=momentum, weight_decay=decay)
        yield epoch + 1


def _gradient(
    network: nn.Module,
    flat: FlatParameters,
    data: LabelledImages,
    rows: Tensor,
    drawn: Draw,
    micro_batch: int,
) -> None:
    """Leave the gradient of the batch's mean loss in ``flat.gradient``."""
    flat.gradient.zero_()
    for start in range(0, len(rows), micro_batch):
        piece = slice(start, start + micro_batch)
        some = rows[piece]
        with FirstOrderKernels():
            logits = network(augment(data.batch(some), drawn[piece]))
        (data.losses(logits, some) @ data.weights[some] / len(rows)).backward()


@torch.no_grad()
def predict_logits(network: nn.Module, data: LabelledImages, *, micro_batch: int) -> Tensor:
    """Logits float32 (N, classes) of a network, without augmentation."""
    network.eval()
    first = network(data.batch(slice(0, micro_batch))).float()
    found = first.new_empty(len(data), first.shape[1])  # pieces that are kept would keep the memory between them
    found[:micro_batch] = first
    for start in range(micro_batch, len(data), micro_batch):
        some = slice(start, start + micro_batch)
        found[some] = network(data.batch(some))
    return found
