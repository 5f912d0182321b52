"""Copies under grey curves: by the order of grey values, which no rising curve changes and inversion reverses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medistill.privacy.person_search import WaysSearch

if TYPE_CHECKING:
    from torch import Tensor

    from medistill.privacy.likeness import Originals, Way


def ranked(images: Tensor) -> Tensor:
    """Images (N, C, H, W) with each value of the mean channel replaced by its rank among them, from 0 to 1; equal
    values share the mean of theirs: (N, 1, H, W)."""
    import torch

    from medistill.privacy.likeness import one_channel

    flat = one_channel(images).flatten(1).contiguous()
    order = flat.sort(dim=1).values
    below = torch.searchsorted(order, flat, right=False) + torch.searchsorted(order, flat, right=True)
    return (below.float() / (2 * flat.shape[1])).view(len(images), 1, *images.shape[2:])


class CopiesInGreyCurves(WaysSearch):
    """Finds negatives, and copies under gamma or another curve."""

    name, space, display_name, rank = "copies under grey curves", "grey curves", "the order of grey values", 12
    plain_words = "A picture with other shades, or a negative"

    def ways(self, originals: Originals) -> tuple[Way, ...]:
        """At the best shift of up to one pixel; a negative counts as much."""
        from medistill.privacy.copies import crops, windows
        from medistill.privacy.own_detail import OwnDetail, best_products

        space = OwnDetail(originals.seen(lambda grey: crops(ranked(grey)).flatten(1)))
        return (
            lambda images: best_products(
                lambda some: windows(ranked(some)).flatten(2), images, space, either_sign=True
            ),
        )


ATTACKS = (CopiesInGreyCurves(),)
