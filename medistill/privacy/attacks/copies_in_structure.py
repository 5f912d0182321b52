"""Copies in structure: by structural similarity, among the nearest by pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medistill.privacy.copy_search import CopySearch
from medistill.privacy.signals import Signals

if TYPE_CHECKING:
    from medistill.privacy.copies import Compared


class CopiesInStructure(CopySearch):
    """Finds copies whose brightness was bent."""

    name, space, display_name, rank = "copies in structure", "structure", "structural similarity", 10
    plain_words = "The same structure, brighter or darker"

    def compare(self, signals: Signals) -> Compared:
        """By sqrt(1 - SSIM)."""
        from medistill.privacy.copies import compare_structure

        _, inside, outside = signals.search.by_pixels
        return compare_structure(signals.search.grey, inside, outside, signals.search.read)


ATTACKS = (CopiesInStructure(),)
