"""Copies in pixels: contrast-normalised, at the best shift of up to one pixel either way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medistill.privacy.copy_search import CopySearch
from medistill.privacy.signals import Signals

if TYPE_CHECKING:
    from medistill.privacy.copies import Compared


class CopiesInPixels(CopySearch):
    """The plainest search, from which others take their shortlist."""

    name, space, display_name, rank = "copies in pixels", "pixels", "pixels", 0
    plain_words = "The same picture, point by point"

    def compare(self, signals: Signals) -> Compared:
        """By the L2 distance after contrast normalisation."""
        return signals.search.by_pixels[0]


ATTACKS = (CopiesInPixels(),)
