"""Stochastic gradient descent with momentum, written once: networks, images, labels, rates and weights move by it.

    v  <-  momentum v + g        x  <-  x - lr v

Two moves exist because they round differently, and what either made is published: networks move in place by one fused
operation (`sgd_step_`), the coordinates of a distillation by a product and a difference of their own
(`medistill.engine.coordinates`), since a step that diverged has to leave them as they were.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def accumulate_(velocity: Float[Tensor, ...], gradient: Float[Tensor, ...], momentum: float) -> Tensor:
    """Turn v into ``momentum v + g``, in place.

    Returns:
        v itself.
    """
    return velocity.mul_(momentum).add_(gradient)


def sgd_step_(
    values: Float[Tensor, ...],
    velocity: Float[Tensor, ...],
    gradient: Float[Tensor, ...],
    *,
    lr: float,
    momentum: float,
    weight_decay: float = 0.0,
) -> None:
    """Move parameters one step, in place.

    Args:
        values: the parameters.
        velocity: their momentum, moved too.
        gradient: of the loss; with weight decay it is overwritten.
        lr: learning rate.
        momentum: share of the velocity that stays.
        weight_decay: L2 penalty.
    """
    if weight_decay:
        gradient.add_(values, alpha=weight_decay)
    accumulate_(velocity, gradient, momentum)
    values.add_(velocity, alpha=-lr)
