"""Masks: the parameters that a match leaves out, decided anew for every segment.

They are importance weights of 0 or 1 by a rule, where IADD learns them: PP (Li, Togo, Ogawa, Haseyama 2023) leaves out
what student and expert do not share, PAD (Li et al. 2024) and its kin what is easy or hard to match, by rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from medistill.engine.segment import Segment


@dataclass(frozen=True)
class MaskSettings:
    """What is left out.

    Attributes:
        rule: nothing; what differs between student and expert; or a share with the smallest or the largest error.
        share: share of the parameters that ``easy`` and ``hard`` leave out.
        until: share of the outer steps over which that share falls to 0; 0 keeps it.
        likeness: ``unlike`` leaves a parameter out where its two values have other signs, or where the smaller one is
            below this share of the larger one.
    """

    rule: Literal["none", "unlike", "easy", "hard"] = "none"
    share: float = 0.5
    until: float = 0.0
    likeness: float = 0.1


def parameter_mask(
    settings: MaskSettings, end: Float[Tensor, " P"], segment: Segment, progress: float
) -> Float[Tensor, " P"] | None:
    """Return 1 for each parameter that is matched, 0 for one that is left out; None where all are matched.

    Args:
        settings: what is left out.
        end: theta_J.
        segment: start and target.
        progress: share of the outer steps that are done; the share left out by rank falls to 0 by ``until``.
    """
    if settings.rule == "none":
        return None
    if settings.rule == "unlike":
        mine, its = end.abs(), segment.target.abs()
        alike = torch.minimum(mine, its) >= settings.likeness * torch.maximum(mine, its)
        return (alike & (end * segment.target >= 0)).to(end.dtype)
    left = 1 - progress / settings.until if settings.until else 1.0
    out = int(settings.share * max(0.0, left) * len(end))
    if not out:
        return None
    squares = (end - segment.target).square()
    if settings.rule == "easy":
        return (squares > squares.kthvalue(out).values).to(end.dtype)
    return (squares <= squares.kthvalue(len(end) - out).values).to(end.dtype)
