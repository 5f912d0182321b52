"""Copies in the encoder's features: by what the frozen encoder sees that the set was made for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medistill.privacy.copy_search import CopySearch
from medistill.privacy.signals import SetFacts, Signals

if TYPE_CHECKING:
    from medistill.privacy.copies import Compared


class CopiesInEncoder(CopySearch):
    """Takes the place of the search in features of a network: a probe has none but these."""

    name, space, display_name = "copies in the encoder's features", "encoder features", "the encoder’s features"
    rank = 25
    knows, plain_words = ("set", "encoder"), "The same picture, as the encoder sees it"

    def applies(self, facts: SetFacts) -> bool:
        """Of a set that was made for an encoder."""
        return facts.for_encoder

    def compare(self, signals: Signals) -> Compared:
        """By sqrt(2 - 2 cos), the mean of the training images taken off."""
        import torch

        space = signals.encoder_space
        queries = space.directions(torch.cat(space.subjects))
        return signals.search.compare(queries[:, None], lambda rows: space.directions(space.read(rows)))[0]


ATTACKS = (CopiesInEncoder(),)
