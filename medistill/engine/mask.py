"""Masks: the parameters that a match leaves out, decided anew for every segment.

They are importance weights of 0 or 1 by a rule, where IADD learns them: PP (Li, Togo, Ogawa, Haseyama 2023) leaves out
what student and expert do not share, PAD (Li et al. 2024) and its kin what is easy or hard to match, by rank.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from medistill.engine.segment import Segment
from medistill.recipe import ImportanceRecipe


def kept(
    recipe: ImportanceRecipe, end: Float[Tensor, " P"], segment: Segment, progress: float
) -> Float[Tensor, " P"] | None:
    """1 for each parameter that is matched, 0 for one that is left out; None where all are matched.

    Args:
        end: theta_J.
        progress: share of the outer steps that are done; the share left out by rank falls to 0 by ``mask_until``.
    """
    if recipe.mask == "none":
        return None
    if recipe.mask == "unlike":
        mine, its = end.abs(), segment.target.abs()
        alike = torch.minimum(mine, its) >= recipe.mask_likeness * torch.maximum(mine, its)
        return (alike & (end * segment.target >= 0)).to(end.dtype)
    left = 1 - progress / recipe.mask_until if recipe.mask_until else 1.0
    out = int(recipe.mask_share * max(0.0, left) * len(end))
    if not out:
        return None
    squares = (end - segment.target).square()
    if recipe.mask == "easy":
        return (squares > squares.kthvalue(out).values).to(end.dtype)
    return (squares <= squares.kthvalue(len(end) - out).values).to(end.dtype)
