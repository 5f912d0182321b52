"""Criterion: one thing that the gate asks of a set, what its figure is held against, and how that reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from medistill.recipe import AuditRecipe

Verdict = Literal["pass", "fail", "not enough evidence"]
Bound = Literal["at least", "at most"]
Reading = Literal["count", "share", "number"]


@dataclass(frozen=True)
class Asked:
    """What a kind of criterion asks for; whoever makes the criterion declares it once.

    Attributes:
        key: by which the kind is known again, such as "copies".
        bound: whether the figure must reach the threshold, or must not pass it.
        reads_as: the figure is a whole number, a share or probability, or any other number, such as an epsilon.
        setting: setting of the section ``audit`` that is the threshold; empty where it is fixed.
        passes_unseen: it may pass without a look, where its reason says why none was needed.
    """

    key: str
    bound: Bound
    reads_as: Reading
    setting: str = ""
    passes_unseen: bool = False

    def threshold(self, settings: AuditRecipe) -> float:
        """The threshold that the recipe sets."""
        value: float = getattr(settings, self.setting)
        return value

    def holds(self, figure: float, threshold: float) -> bool:
        """Whether a figure is on the good side of a threshold."""
        return figure >= threshold if self.bound == "at least" else figure <= threshold


@dataclass(frozen=True)
class Criterion:
    """One thing that the gate asks.

    Attributes:
        name: what it asks for.
        figure: what was found, or None.
        threshold: what it is held against.
        verdict: what follows.
        reason: why nothing follows, or what to know of it; else empty.
        asked: the kind of criterion that it is: direction, setting, how the figure reads.
        attack: name of the attack that asks for it; empty where the audit asks it of itself.
    """

    name: str
    figure: float | None
    threshold: float
    verdict: Verdict
    reason: str
    asked: Asked
    attack: str = ""

    @property
    def can_pass(self) -> bool:
        """Whether the figure is on the good side of the threshold; a reason may say why another one passes."""
        if self.figure is None:
            return False
        return self.asked.holds(self.figure, self.threshold) or bool(self.reason)

    @property
    def not_looked_for(self) -> bool:
        """Whether it passes without a look, for the reason that it gives: its figure then says nothing."""
        return self.asked.passes_unseen and self.verdict == "pass" and bool(self.reason)

    def unless_sure_to_pass(self, why: str) -> Criterion:
        """The same, but for a pass that the worst finding would have been too, which is not enough evidence.

        Args:
            why: what the worst finding would have come to; empty where it would have failed.
        """
        return self.unless(why and f"it could not have failed: {why}")

    def unless(self, why: str) -> Criterion:
        """The same, but for a pass to which ``why`` is an objection, which is not enough evidence; none where empty."""
        if self.verdict != "pass" or not why:
            return self
        return replace(self, verdict="not enough evidence", reason=why)

    def contradicted(self, thresholds: Mapping[str, float], declared: Mapping[str, Asked]) -> bool:
        """Whether it was held against another threshold, or in another direction, than is told.

        Args:
            thresholds: of the audit, by setting.
            declared: key -> what this version asks for under it; other keys are another version's.
        """
        if declared.get(self.asked.key, self.asked) != self.asked:
            return True
        return thresholds.get(self.asked.setting, self.threshold) != self.threshold
