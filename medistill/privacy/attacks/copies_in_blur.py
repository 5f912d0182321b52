"""Copies in blur: the originals are blurred in several degrees, and compared with the images as they are."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from medistill.privacy.person_search import WaysSearch

if TYPE_CHECKING:
    from torch import Tensor

    from medistill.privacy.likeness import Originals, Way

DEGREES = (1 / 32, 1 / 20, 1 / 14, 1 / 10)
"""Deviation of the Gaussian by which the originals are blurred, as a share of the side."""
FLOOR = 0.1
"""What is added to the variance of every direction (`medistill.privacy.own_detail`): another blur differs a little."""
EDGE = 1 / 8
"""Share of the side that is cut off each edge, where what lay beyond the image would take part."""


def inner(images: Tensor) -> Tensor:
    """Images (N, 1, H, W) without their edges, (N, D)."""
    top, left = (round(EDGE * side) for side in images.shape[2:])
    return images[:, :, top : images.shape[2] - top, left : images.shape[3] - left].flatten(1)


class CopiesInBlur(WaysSearch):
    """Finds blurred copies: there is less of them, and all of it is one person's."""

    name, space, display_name, rank = "copies in blur", "blurred originals", "blurred originals", 13
    plain_words = "A blurred picture"

    def ways(self, originals: Originals) -> tuple[Way, ...]:
        """One a degree of blur."""
        from medistill.privacy.likeness import blurred, one_channel
        from medistill.privacy.own_detail import OwnDetail, best_products

        def space(share: float) -> OwnDetail:
            return OwnDetail(originals.seen(lambda grey: inner(blurred(grey, share))), FLOOR)

        spaces = [space(share) for share in DEGREES]
        return tuple(partial(best_products, lambda one: inner(one_channel(one))[:, None], space=one) for one in spaces)


ATTACKS = (CopiesInBlur(),)
