"""Divergence: what left its range first in an outer step, and which setting to lower for it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from medistill.artifacts.distilled_set import LIMIT
from medistill.errors import DivergedError

ALPHA_LIMIT = 1e3
"""Times its initial value that alpha may reach."""
LOGIT_LIMIT = 1e3
"""Largest magnitude of a soft label's logit; softmax in float32 is 0 or 1 long before."""


def refuse_loss(loss: float, pixels: Tensor, alpha_growth: float, step: int) -> None:
    """Stop where a student that walked on images in range left the finite numbers.

    Its loss is finite for a small enough learning rate, so what grew most since the start is to blame: alpha, or the
    images, whose root mean square is about 1 at the start. Where neither doubled, the first alpha was too large.

    Raises:
        DivergedError: the loss is not finite.
    """
    if math.isfinite(loss):
        return
    grown = {"student_lr_lr": alpha_growth, "image_lr": float(pixels.square().mean().sqrt())}
    setting = max(grown, key=lambda name: grown[name])
    raise _diverged(f"the loss is {loss}", setting if grown[setting] > 2 else "student_lr", step)


def refuse_shifted_loss(loss: float, step: int) -> None:
    """Stop where only the images that the sharpness-aware step shifted gave no finite loss.

    Raises:
        DivergedError: the loss is not finite.
    """
    if not math.isfinite(loss):
        raise _diverged(f"the loss at the shifted images is {loss}", "sharpness", step)


def refuse_update(pixels: Tensor, logits: Tensor | None, alpha_growth: float, step: int) -> None:
    """Stop before an update that takes images, logits or alpha out of range.

    Raises:
        DivergedError: one of them is not finite, or beyond its limit.
    """
    reached: Mapping[str, tuple[str, float, float]] = {
        "image_lr": ("the images reach {:.3g} standard deviations", _reach(pixels), LIMIT),
        "label_lr": ("the soft labels' logits reach {:.3g}", 0.0 if logits is None else _reach(logits), LOGIT_LIMIT),
        "student_lr_lr": ("the student's learning rate is {:.3g} times its first value", alpha_growth, ALPHA_LIMIT),
    }
    for setting, (seen, value, limit) in reached.items():
        if not value <= limit:
            raise _diverged(seen.format(value), setting, step)


def _reach(values: Tensor) -> float:
    return float(torch.linalg.vector_norm(values, ord=math.inf))


def _diverged(seen: str, setting: str, step: int) -> DivergedError:
    return DivergedError(
        f"the distillation diverged at outer step {step}: {seen}",
        expected="finite numbers within their range",
        do=f"lower distill.{setting} by a factor of 3 and start again in another --out; the state before that step was "
        "saved",
    )
