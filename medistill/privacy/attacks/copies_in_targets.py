"""Copies in target vectors: whether a vector that travels with an image is what a teacher sees in an original."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medistill.privacy.copy_search import CopySearch
from medistill.privacy.signals import SetFacts, Signals

if TYPE_CHECKING:
    from medistill.privacy.copies import Compared


class CopiesInTargets(CopySearch):
    """A target vector near to the features of one patient's image gives that image away to whoever has the teacher,
    whatever the image beside it looks like."""

    name, space, display_name = "copies in target vectors", "target vectors", "target vectors"
    rank = 27
    knows, plain_words = ("set", "teacher"), "Numbers beside an image that are one person’s"

    def applies(self, facts: SetFacts) -> bool:
        """Of a set that has them."""
        return facts.by_targets

    def compare(self, signals: Signals) -> Compared:
        """By sqrt(2 - 2 cos), the mean of the training images taken off."""
        import torch

        space = signals.target_space
        queries = space.directions(torch.cat(space.subjects))
        return signals.search.compare(queries[:, None], lambda rows: space.directions(space.read(rows)))[0]


ATTACKS = (CopiesInTargets(),)
