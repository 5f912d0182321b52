"""Copies in other poses: turned, mirrored, shifted, drawn larger or smaller, or small in a corner."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, get_args

from medistill.privacy.person_search import WaysSearch

if TYPE_CHECKING:
    from medistill.privacy.likeness import Originals, Way

FLOOR = 0.1
"""What is added to the variance of every direction (`medistill.privacy.own_detail`): a pose is met nearly."""


class CopiesInOtherPoses(WaysSearch):
    """Finds what was moved, by holding every pose of an image against the middle of the originals."""

    name, space, display_name, rank = "copies in other poses", "other poses", "other poses", 14
    plain_words = "A picture turned, mirrored or moved"
    closes = ("transformed copies", "shifts")

    def ways(self, originals: Originals) -> tuple[Way, ...]:
        """Symmetries with shifts, other sizes and angles, small copies."""
        from medistill.privacy.moved import Poses, middle, moved
        from medistill.privacy.own_detail import OwnDetail, best_products

        space = OwnDetail(originals.seen(middle), FLOOR)
        return tuple(partial(best_products, partial(moved, poses=kind), space=space) for kind in get_args(Poses))


ATTACKS = (CopiesInOtherPoses(),)
