"""DP-SGD (Abadi et al. 2016) with the patient as the unit: no update depends much on any one patient.

An update at parameters theta takes each unit u (a patient, or an image) with probability q, on its own, and is

    g = (1 / (q N)) * (sum over taken u of clip_C(g_u) + sigma * C * z),    z ~ Normal(0, I)

with g_u the mean gradient of the unit's images and clip_C(g) = g * min(1, C / ||g||). N, q and C are public constants:
what divides the sum is the expected number of units, not the number taken, and an update that takes none is noise
alone. To add or remove one unit moves the sum by C at most, however many images it has and whatever they show.
Everything made of the updates (momentum, weight decay, snapshots) is post-processing.

Sampling and noise come from the operating system's secret numbers: whoever could foresee them could take them off.
The augmentation of each update starts anew from one of them. Who is taken is known on the host, where all is counted
that hangs on it: a device is sent rows and noise, and never waited for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from medistill.errors import UsageError
from medistill.networks.flat import FlatParameters, split
from medistill.recipe import AugmentationRecipe
from medistill.training.augmentation import Draw, augment, draw
from medistill.training.device import sent
from medistill.training.images import LabelledImages
from medistill.training.secret import secret_generator, secret_normal, secret_uniform
from medistill.training.sgd import sgd_step_

GRADIENT_BYTES = 2**30
"""Memory that the gradients of single images, and again those of their units, may fill."""


@dataclass(frozen=True)
class PrivateSchedule:
    """How long, how fast and how private.

    Attributes:
        epochs: snapshots after the first; one is taken every ``steps`` updates.
        steps: updates an epoch.
        expected_batch: units that an update expects, q N; public.
        sample_rate: probability q with which an update takes a unit.
        lr: learning rate.
        clip: largest norm C of what a unit adds to the sum.
        noise_multiplier: standard deviation of the noise in units of C.
        momentum: of SGD.
        weight_decay: L2 penalty.
    """

    epochs: int
    steps: int
    expected_batch: int
    sample_rate: float
    lr: float
    clip: float
    noise_multiplier: float
    momentum: float = 0.0
    weight_decay: float = 0.0


def train_privately(
    network: nn.Module,
    data: LabelledImages,
    units: Tensor,
    schedule: PrivateSchedule,
    augmentation: AugmentationRecipe,
    *,
    micro_batch: int,
    after_epoch: Callable[[int, FlatParameters], None],
) -> FlatParameters:
    """Train a network in place by DP-SGD on the cross-entropy.

    Args:
        network: without batch statistics, on the device of the images; its parameters do not depend on the data.
        data: the images, with hard labels and equal weights, normalised by public constants.
        units: int64 (N,) on the host, the patient (or image) that each image is of, numbered from 0.
        schedule: how long, how fast and how private.
        augmentation: drawn anew for every image of every update, apart from the data.
        micro_batch: images that pass the network at once.
        after_epoch: called with the number of finished epochs and the parameters.

    Returns:
        The network's parameters as one vector.

    Raises:
        UsageError: the network cannot be differentiated image by image.
    """
    flat = FlatParameters(network)
    device = flat.values.device
    velocity = torch.zeros_like(flat.values)
    count = int(units.max()) + 1 if len(units) else 0
    network.train()
    for epoch in range(schedule.epochs):
        for _ in range(schedule.steps):
            taken = secret_uniform(count) < schedule.sample_rate
            rows = torch.nonzero(taken[units]).flatten()
            rows = rows[units[rows].argsort(stable=True)]
            drawn = draw(augmentation, len(rows), secret_generator(), device)
            gradients = _image_gradients(network, data, sent(rows, device), drawn)
            clipped = clipped_sum(flat.values, units[rows], gradients, schedule.clip, micro_batch)
            noise = schedule.noise_multiplier * schedule.clip * sent(secret_normal(len(clipped)), device)
            update = (clipped + noise) / schedule.expected_batch
            sgd_step_(
                flat.values,
                velocity,
                update,
                lr=schedule.lr,
                momentum=schedule.momentum,
                weight_decay=schedule.weight_decay,
            )
        after_epoch(epoch + 1, flat)
    return flat


ImageGradients = Callable[[Tensor, slice], Tensor]
"""(parameters (P,), some of the B images of an update) -> the gradient (b, P) of each image's loss."""


def clipped_sum(values: Tensor, units: Tensor, gradients: ImageGradients, clip: float, micro_batch: int) -> Tensor:
    """The sum (P,) over units of the mean gradient of each unit's images, clipped to norm ``clip``.

    Args:
        values: (P,) the parameters.
        units: int64 (B,) ascending, on the host, the unit of each image of this update, which has all images of each of
            its units.
        gradients: gives those of single images.
        clip: C.
        micro_batch: images at once.
    """
    total = torch.zeros_like(values)
    at_once = max(1, min(micro_batch, GRADIENT_BYTES // (4 * len(values))))
    _, owners, images = units.unique_consecutive(return_inverse=True, return_counts=True)
    ends = [0, *images.cumsum(0).tolist()]
    for first in range(0, len(images), at_once):
        some = images[first : first + at_once]
        of_units = values.new_zeros(len(some), len(values))
        end = ends[first + len(some)]
        for start in range(ends[first], end, at_once):
            piece = slice(start, min(start + at_once, end))
            owner = owners[piece] - first
            shares = sent(some[owner, None], values.device)
            of_units.index_add_(0, sent(owner, values.device), gradients(values, piece) / shares)
        total += _clipped(of_units, clip).sum(dim=0)
    return total


def _clipped(gradients: Tensor, clip: float) -> Tensor:
    """Each row (P,) scaled down to norm ``clip``; one that is not finite, which could not be bounded, becomes 0."""
    norms = gradients.norm(dim=1, keepdim=True)
    scaled = gradients * (clip / norms.clamp(min=clip))
    return torch.where(norms.isfinite(), scaled, 0)


def _image_gradients(network: nn.Module, data: LabelledImages, rows: Tensor, drawn: Draw) -> ImageGradients:
    """Gradients of the images in ``rows``, as augmented by ``drawn``.

    It is drawn for the whole update: of one a piece, which images share an operation would hang on the other units.
    """
    names, shapes = zip(*((name, tuple(p.shape)) for name, p in network.named_parameters()), strict=True)

    def loss(theta: Tensor, image: Tensor, label: Tensor) -> Tensor:
        parts = dict(zip(names, split(theta, shapes), strict=True))
        return F.cross_entropy(functional_call(network, parts, (image[None],)), label[None])

    of_images = vmap(grad(loss), in_dims=(None, 0, 0))

    def gradients(values: Tensor, some: slice) -> Tensor:
        images = augment(data.batch(rows[some]), drawn[some])
        try:
            return of_images(values, images, data.labels[rows[some]])
        except RuntimeError as error:
            if "vmap" not in str(error):
                raise
            raise UsageError(
                f"PyTorch cannot differentiate the network image by image ({str(error).partition('. ')[0]}), so no "
                "patient's influence could be bounded",
                expected="a network without .item() and without branches on the values of a tensor",
                do="change its forward, or take a network of medistill",
            ) from None

    return gradients
