"""A toy search for copies: the images of the set, turned left to right, beside both splits."""

from __future__ import annotations

from medistill.privacy.copies import Compared, contrast_normalised
from medistill.privacy.copy_search import CopySearch
from medistill.privacy.signals import Signals


class MirroredCopies(CopySearch):
    """Finds what the other searches cannot."""

    name, space, display_name, rank = "mirrored copies", "mirrored", "mirrored pixels", 25
    closes = ("transformed copies",)

    def compare(self, signals: Signals) -> Compared:
        search = signals.search
        found, _, _ = search.compare(
            contrast_normalised(search.grey.flip(-1).flatten(1))[:, None],
            lambda rows: contrast_normalised(search.read(rows).flatten(1)),
        )
        return found


ATTACKS = (MirroredCopies(),)
