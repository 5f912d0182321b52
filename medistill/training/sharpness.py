"""Sharpness-aware descent: the gradient to follow for a minimum whose neighbourhood is low as well.

SAM (Foret et al. 2021, arXiv:2010.01412) and GSAM (Zhuang et al. 2022, arXiv:2203.08065). FTD (Du et al. 2023,
arXiv:2211.11004) trains its experts so, in order that matched trajectories drift less.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def ascent(gradient: Float[Tensor, "... P"], radius: float) -> Float[Tensor, "... P"]:
    """The steepest step up of a length: ``radius * g / ||g||``, which is 0 where g is 0."""
    norm = torch.linalg.vector_norm(gradient, dim=-1, keepdim=True)
    return gradient * (radius / norm.clamp_min(torch.finfo(gradient.dtype).tiny))


def flat_gradient(
    here: Float[Tensor, "... P"], above: Float[Tensor, "... P"], surrogate_gap: float
) -> Float[Tensor, "... P"]:
    """The direction to descend, of two gradients of the same batch.

    Args:
        here: g, the gradient at the parameters.
        above: g', the gradient at the parameters plus `ascent`.
        surrogate_gap: alpha. 0 gives g' (SAM). Above 0 gives ``g' - alpha * (g - (g.g' / g'.g') g')`` (GSAM):
            leaving out the part of g across g' lowers the gap between the loss above and here without raising the
            loss above.
    """
    if not surrogate_gap:
        return above
    along = (here * above).sum(dim=-1, keepdim=True)
    square = (above * above).sum(dim=-1, keepdim=True).clamp_min(torch.finfo(above.dtype).tiny)
    return above - surrogate_gap * (here - along / square * above)
