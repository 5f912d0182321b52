"""Copies in own detail: by what sets a person apart, so that less than a whole image betrays one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medistill.privacy.person_search import WaysSearch

if TYPE_CHECKING:
    from medistill.privacy.likeness import Originals, Way


class CopiesInDetail(WaysSearch):
    """Finds a patient under the mean of a class, or mixed with one or two others, or by edges alone."""

    name, space, display_name, rank = "copies in own detail", "own detail", "own detail", 11
    plain_words = "What one person alone has"

    def ways(self, originals: Originals) -> tuple[Way, ...]:
        """At the best shift of up to one pixel."""
        from medistill.privacy.copies import crops, windows
        from medistill.privacy.likeness import one_channel
        from medistill.privacy.own_detail import OwnDetail, best_products

        space = OwnDetail(originals.seen(lambda grey: crops(one_channel(grey)).flatten(1)))
        return (lambda images: best_products(lambda some: windows(one_channel(some)).flatten(2), images, space),)


ATTACKS = (CopiesInDetail(),)
