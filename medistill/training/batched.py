"""Several networks of one kind trained side by side, for a GPU that one small network leaves idle.

Each network keeps its own order of images, its own augmentation and its own parameters, as it would alone; only the
forward and the backward pass are one batched computation (`torch.func.vmap` over the parameters). The results are those
of `train` but for rounding. On a CPU this is no faster than one network after another, nor are grouped convolutions by
more than a fifth (docs/decisions/0093-where-a-step-s-time-goes.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from medistill.networks.flat import FlatParameters, split
from medistill.recipe import AugmentationRecipe
from medistill.training.augmentation import Draw, augment, draw
from medistill.training.images import LabelledImages
from medistill.training.loop import Schedule
from medistill.training.sgd import sgd_step_
from medistill.training.sharpness import ascent, flat_gradient


def train_batched(
    networks: Sequence[nn.Module],
    data: LabelledImages,
    schedule: Schedule,
    augmentation: AugmentationRecipe,
    generators: Sequence[torch.Generator],
    *,
    micro_batch: int,
    after_epoch: Callable[[int, Tensor], None],
) -> Tensor:
    """Train E networks by SGD, plain or sharpness-aware, on the weighted cross-entropy; they are left as they are.

    Args:
        networks: of one architecture, without batch statistics, on the device of the images.
        data: the images, the same for all, with hard labels and without stages.
        schedule: how long and how fast, the same for all.
        augmentation: drawn anew for every batch of every network.
        generators: one CPU generator a network; decides its order and augmentation.
        micro_batch: images of one network that pass at once.
        after_epoch: called with the number of finished epochs and the parameters (E, P).

    Returns:
        The parameters (E, P).
    """
    flats = [FlatParameters(network) for network in networks]
    names, shapes = flats[0].names, flats[0].shapes
    values = torch.stack([flat.values for flat in flats])
    velocity = torch.zeros_like(values)
    pattern = networks[0].train()

    def loss(theta: Tensor, images: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        logits = functional_call(pattern, dict(zip(names, split(theta, shapes), strict=True)), (images,))
        return F.cross_entropy(logits, labels, reduction="none") @ weights

    gradients = vmap(grad(loss))

    def gradient_at(values: Tensor, rows: Tensor, drawn: Sequence[Draw]) -> Tensor:
        """Gradient (E, P) of each network's mean loss over its own batch, ``rows`` (E, B)."""
        gradient, count = torch.zeros_like(values), rows.shape[1]
        for start in range(0, count, micro_batch):
            piece = slice(start, start + micro_batch)
            some = rows[:, piece]
            images = [augment(data.batch(of_one), one[piece]) for of_one, one in zip(some, drawn, strict=True)]
            gradient += gradients(values, torch.stack(images), data.labels[some], data.weights[some] / count)
        return gradient

    for epoch in range(schedule.epochs):
        lowered = schedule.decay_epoch is not None and epoch >= schedule.decay_epoch
        lr = schedule.lr / 10 if lowered else schedule.lr
        orders = torch.stack([torch.randperm(len(data), generator=rng) for rng in generators])
        for rows in orders.to(data.labels.device).split(schedule.batch_size, dim=1):
            drawn = [draw(augmentation, rows.shape[1], rng, rows.device) for rng in generators]
            gradient = gradient_at(values, rows, drawn)
            if schedule.sharpness:
                above = gradient_at(values + ascent(gradient, schedule.sharpness), rows, drawn)
                gradient = flat_gradient(gradient, above, schedule.surrogate_gap)
            decay, momentum = schedule.weight_decay, schedule.momentum
            sgd_step_(values, velocity, gradient, lr=lr, momentum=momentum, weight_decay=decay)
        after_epoch(epoch + 1, values)
    return values
