"""Effects: how much each training image moves the gradient by which synthetic images learn.

Let S be m images of class c that stand in for synthetic ones, theta fresh parameters, g_S the gradient in theta of the
mean cross-entropy of S, and g_i that of training image i of the class. After one student step on S, of a rate that goes
to 0, the mean loss of the class's n images has in S the gradient, but for that rate,

    G  =  (1/n) sum over i of  G_i,        G_i  =  - d <g_S, g_i> / dS.

It is a mean over images, so what it changes by when image i is left out is known exactly:

    G - G without i  =  (G_i - G) / (n - 1),        e_i  =  || d <g_S, g_i - g> / dS ||  /  (n - 1),

with g the mean of the g_i: one second derivative for each image, and the mean takes one pass. Every method here that
follows no experts moves images by a surrogate of this gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medistill.errors import DivergedError
from medistill.networks.registry import NetworkSpec, build_network
from medistill.recipe import Recipe
from medistill.training.device import precision
from medistill.training.encoded import seen_by
from medistill.training.fresh_network import micro_batch_of
from medistill.training.images import LabelledImages


def effects(
    data: LabelledImages,
    spec: NetworkSpec,
    recipe: Recipe,
    rng: torch.Generator,
    device: torch.device,
    after: Callable[[int], None] = lambda images: None,
) -> np.ndarray:
    """Return the effect e of every image, float64 (N,), on stand-ins of its own class, in one fresh network.

    Nothing is augmented. An image that is alone in its class has the effect 0, and so have all where none is left to
    change anything.

    Args:
        data: the training images.
        spec: the network; of a probe, S are features of its encoder.
        recipe: how many images stand in for synthetic ones, and the arithmetic.
        rng: decides the network's parameters, and which images these are.
        device: where the arithmetic runs.
        after: called with how many images were just added to the mean of their class, or have got their effect: each
            image counts twice.

    Raises:
        DivergedError: an effect is not finite.
    """
    data = seen_by(spec.encoder, data, device)
    network = build_network(spec, rng, device)
    found = np.zeros(len(data))
    for c in range(spec.classes):
        rows = torch.nonzero(data.labels == c).flatten()
        if len(rows) > 1:
            order = torch.randperm(len(rows), generator=rng).to(rows.device)
            stand_ins = rows[order[: recipe.prune.effect_images]]
            with precision(recipe.compute.precision, device):
                found[rows.cpu().numpy()] = _of_class(
                    data, rows, stand_ins, network, micro_batch_of(network, spec, recipe), after
                )
        else:
            after(2 * len(rows))
    if not np.isfinite(found).all():
        raise DivergedError(
            "the effects of training images on synthetic ones are not finite",
            expected="a network whose gradient is finite at its first parameters",
            do="choose another network (network.name), or set prune.effect_share = 0",
        )
    return found


def _of_class(
    data: LabelledImages,
    rows: Tensor,
    stand_ins: Tensor,
    network: nn.Module,
    micro_batch: int,
    after: Callable[[int], None],
) -> np.ndarray:
    """Return the effects of the images ``rows`` of one class, float64 (n,)."""
    parameters = [part for part in network.parameters() if part.requires_grad]

    def gradient(some: Tensor) -> Sequence[Tensor]:
        """Of the sum of the losses of some images."""
        loss = F.cross_entropy(network(data.batch(some)), data.labels[some], reduction="sum")
        return torch.autograd.grad(loss, parameters)

    mean = [torch.zeros_like(part) for part in parameters]
    for some in rows.split(micro_batch):
        for total, part in zip(mean, gradient(some), strict=True):
            total += part / len(rows)
        after(len(some))
    shown = data.batch(stand_ins).detach().requires_grad_()
    loss = F.cross_entropy(network(shown), data.labels[stand_ins])
    of_shown = torch.autograd.grad(loss, parameters, create_graph=True)
    squares = torch.empty(len(rows), dtype=torch.float64, device=rows.device)
    for n, row in enumerate(rows.split(1)):
        apart = [part - total for part, total in zip(gradient(row), mean, strict=True)]
        (moved,) = torch.autograd.grad(of_shown, shown, grad_outputs=apart, retain_graph=True)
        squares[n] = moved.double().square().sum()
        after(1)
    effect: np.ndarray = (squares.sqrt() / (len(rows) - 1)).cpu().numpy()
    return effect
