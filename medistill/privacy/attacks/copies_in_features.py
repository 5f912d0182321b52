"""Copies in features: by what the last layer of a network sees that was trained on the originals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medistill.privacy.copy_search import CopySearch
from medistill.privacy.signals import SetFacts, Signals

if TYPE_CHECKING:
    from medistill.privacy.copies import Compared


class CopiesInFeatures(CopySearch):
    """Finds copies that pixels do not show, such as shifted ones."""

    name, space, display_name, rank = "copies in features", "features", "network features", 20
    plain_words = "The same picture, as a program sees it"

    def applies(self, facts: SetFacts) -> bool:
        """Of a set that was made for no encoder: a probe's own features are that encoder's."""
        return not facts.for_encoder

    def compare(self, signals: Signals) -> Compared:
        """By sqrt(2 - 2 cos)."""
        features = signals.features
        return signals.search.compare(features.subjects[:, None], features.read)[0]


ATTACKS = (CopiesInFeatures(),)
