"""Distance in target vectors: how near what a teacher sees in a person's image lies to the vectors of the set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medistill.privacy.attacks.distance_in_features import DistanceInFeatures, InFeatures, WhitenedDistance
from medistill.privacy.signals import SetFacts, Signals

if TYPE_CHECKING:
    from medistill.privacy.encoder_space import EncoderSpace


class InTargets(InFeatures):
    """Made on the target vectors, whoever has the teacher; random training images must be found by it."""

    def applies(self, facts: SetFacts) -> bool:
        """Of a set that has target vectors."""
        return facts.by_targets

    def space(self, signals: Signals) -> EncoderSpace:
        """The target vectors, and the teacher's features of everybody."""
        return signals.target_space


class DistanceInTargets(InTargets, DistanceInFeatures):
    """By the teacher's own scale."""

    name, display_name, rank = "distance in target vectors", "distance in target vectors", 68
    knows = ("set", "person", "teacher")
    plain_words = "Near to the set as the teacher sees it"
    remark = (
        "The distance in target vectors trains no network: it asks how near what the teacher sees in a person’s image "
        "lies to the vectors of the set."
    )


class WhitenedDistanceInTargets(InTargets, WhitenedDistance):
    """By how people of one class differ in the teacher's features."""

    name, display_name, rank = "whitened distance in target vectors", "whitened distance in target vectors", 69
    knows = ("set", "person", "others", "teacher")
    plain_words = "The same, against how people differ"
    remark = ""


ATTACKS = (DistanceInTargets(), WhitenedDistanceInTargets())
