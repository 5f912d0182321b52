"""Copies in other poses: turned, mirrored, shifted, tilted by any angle, drawn larger or smaller, or small anywhere."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, get_args

from medistill.privacy.person_search import WaysSearch

if TYPE_CHECKING:
    from torch import Tensor

    from medistill.privacy.likeness import Originals, Way

FLOOR = 0.1
"""What is added to the variance of every direction (`medistill.privacy.own_detail`): a pose is met nearly."""


class CopiesInOtherPoses(WaysSearch):
    """Finds what was moved, by holding every pose and every part of an image against the originals."""

    name, space, display_name, rank = "copies in other poses", "other poses", "other poses", 14
    plain_words = "A picture turned, mirrored or moved"
    closes = ("transformed copies", "shifts")

    def ways(self, originals: Originals) -> tuple[Way, ...]:
        """Symmetries with shifts, tilts, other sizes; small copies."""
        from medistill.privacy.moved import Poses, middle, moved
        from medistill.privacy.own_detail import OwnDetail, best_products

        def posed(kind: Poses) -> Way:
            space = OwnDetail(originals.seen(partial(middle, poses=kind)), FLOOR)
            return partial(best_products, partial(moved, poses=kind), space=space)

        return (*(posed(kind) for kind in get_args(Poses)), _small(originals))


def _small(originals: Originals) -> Way:
    """The likeness of the window that is most like an original in its size."""
    import torch

    from medistill.privacy.own_detail import OwnDetail, best_products
    from medistill.privacy.reduced import reduced, sizes_of, windows

    height, width = originals.grey.shape[2:]
    sizes = sizes_of(height, width)
    spaces = [OwnDetail(originals.seen(partial(reduced, size=size)), FLOOR) for size in sizes]

    def like(images: Tensor) -> Tensor:
        best = [
            best_products(partial(windows, size=size), images, space) for size, space in zip(sizes, spaces, strict=True)
        ]
        return torch.stack(best).amax(dim=0)

    return like


ATTACKS = (CopiesInOtherPoses(),)
