"""Copies in parts: each square of an image is compared by itself, and the squares in which a person does best vote."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from medistill.privacy.person_search import WaysSearch

if TYPE_CHECKING:
    from torch import Tensor

    from medistill.privacy.likeness import Originals, Way

ACROSS, LEAST_SIDE = 8, 4
"""Squares along a side, and the least height and width of one in pixels, so that small images have fewer."""
VOTING = 1 / 4
"""Share of the squares that vote: a copy of a quarter of the image is found whole."""


def squares(images: Tensor) -> Tensor:
    """The mean channel of images (N, C, H, W) cut into squares, (S, N, D); what is left over at an edge is left out."""
    from medistill.privacy.likeness import one_channel

    side = max(LEAST_SIDE, min(images.shape[2:]) // ACROSS)
    cut = one_channel(images).unfold(2, side, side).unfold(3, side, side)
    return cut.reshape(len(images), -1, side * side).transpose(0, 1)


class CopiesInParts(WaysSearch):
    """Finds halves, quarters and chequered pieces of patients."""

    name, space, display_name, rank = "copies in parts", "parts", "parts of the image", 15
    plain_words = "A part of one person’s picture"

    def limit(self, copy_ratio: float) -> float:
        """A copied part is one person's altogether, and a square holds little: the mean of ten may do well in some."""
        return copy_ratio

    def ways(self, originals: Originals) -> tuple[Way, ...]:
        """By the mean likeness in the best squares."""
        import torch

        from medistill.privacy.own_detail import LARGEST_BLOCK, OwnDetail

        spaces = [OwnDetail(square) for square in originals.seen(lambda grey: squares(grey).transpose(0, 1)).unbind(1)]
        votes, step = max(1, round(VOTING * len(spaces))), max(1, LARGEST_BLOCK // len(spaces))

        def like(images: Tensor) -> Tensor:
            mine = [space(part) for part, space in zip(squares(images), spaces, strict=True)]
            found = torch.empty(len(images), len(originals.rows), device=images.device)
            for k, start in product(range(len(images)), range(0, len(originals.rows), step)):
                some = slice(start, start + step)
                one = torch.stack([part[k] @ space.units[some].T for part, space in zip(mine, spaces, strict=True)])
                found[k, some] = one.topk(votes, dim=0).values.mean(dim=0)
            return found

        return (like,)


ATTACKS = (CopiesInParts(),)
