"""Attack: what an audit tries on a set. A file in ``attacks/`` is an attack, and says of itself all that others need.

The audit makes signals once (`medistill.privacy.signals`): images side by side, what networks answer, what is read.
An attack is a function of these. Most derive from `ScoreAttack` (a score for every person, higher for a member),
`CopySearch` (a distance from every image to the nearest original) or `WaysSearch` (a likeness to every original),
and then hold little more than that function; their controls, intervals, criteria and tables come with the class. A
file ends in ``ATTACKS``, its attacks.

Whoever reads an audit loads every attack, so a file imports torch, and what needs it, inside its functions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar, Literal

from medistill.evaluate.intervals import Estimate
from medistill.privacy.audit import CopyFigures, CopyRule, LeakageFigures
from medistill.privacy.criterion import Asked, Criterion
from medistill.privacy.letters import TextFigures
from medistill.privacy.membership import CanaryTest, MembershipAttack, OneRun, SoftLabels
from medistill.recipe import AuditRecipe

if TYPE_CHECKING:
    from medistill.privacy.signals import SetFacts, Signals

Family = Literal["copies", "initialisation", "membership", "letters"]
"""What is sought: images, starting images, people, text. Each has its tables in the report."""
Needs = Literal["set", "networks", "shadows", "one run"]
"""The set alone; networks trained on it and on its controls; these on shadow distillations; the set made once more."""
Knowledge = Literal["set", "recipe", "person", "others", "encoder", "teacher", "insertion"]
"""What an attacker has: the set; its recipe; an image of the person who is asked about; images of other people of the
kind; the encoder that the set was made for; the teacher of its target vectors; a say in what the originals are."""
NOT_MADE = Estimate.impossible("it was not made there")
GAPS = {
    "reconstruction": "Reconstruction of training images from the set with outside knowledge or a generator was not "
    "tried.",
    "traits": "Inference of a trait of a patient from the set was not tried.",
    "transformed copies": "Copies that are rotated, mirrored, scaled, inverted or pasted in part are not looked for.",
    "encodings": "Images that were encoded, with pixels permuted, combined with a pattern, or in the lowest bits, are "
    "not looked for, since no comparison of pixels finds them; whether the making of the set is known speaks of them.",
    "shifts": "Shifts of more than one pixel are not looked for in pixels and in structure.",
    "headers": "The source files' headers are no part of this audit.",
}
"""What no attack does that comes with the package: an attack that does it names the key in ``closes``."""


@dataclass(frozen=True)
class Evidence:
    """What an attack found, in the records that the audit keeps; it fills those of its kind.

    Attributes:
        rules: when an image counted as a copy.
        copies: figures of a search for copies.
        leakage: what is left of the starting images.
        membership: scores of people, one record a source.
        canaries: tests of wrong labels, likewise.
        one_run: what the set that was made once more says.
        soft_labels: whether these follow wrong labels.
        text: what was looked for of text.
        reason: why there is nothing, or not all of it; else empty.
    """

    rules: tuple[CopyRule, ...] = ()
    copies: tuple[CopyFigures, ...] = ()
    leakage: tuple[LeakageFigures, ...] = ()
    membership: tuple[MembershipAttack, ...] = ()
    canaries: tuple[CanaryTest, ...] = ()
    one_run: OneRun | None = None
    soft_labels: SoftLabels | None = None
    text: TextFigures | None = None
    reason: str = ""

    def __add__(self, other: Evidence) -> Evidence:
        """Both; of one run, soft labels, text and reason the first that is there."""
        mine = {one.name: getattr(self, one.name) for one in fields(self)}
        theirs = {name: getattr(other, name) for name in mine}
        joined = {n: mine[n] + theirs[n] if isinstance(mine[n], tuple) else mine[n] or theirs[n] for n in mine}
        return Evidence(**joined)


@dataclass(frozen=True)
class Figures:
    """What an attack found under one of its criteria, and beside it what it finds where there is something to find.

    Attributes:
        of_set: on the distilled set.
        control: the positive control: the same on as many random originals, or whatever the attack must find.
        originals: the same on all originals.
    """

    of_set: Estimate = NOT_MADE
    control: Estimate = NOT_MADE
    originals: Estimate = NOT_MADE


class Attack(ABC):
    """One attack.

    Attributes:
        name: by which records know it, unlike any other's.
        display_name: how a sentence or a table calls it, as in "loss" attack.
        family: what it seeks.
        needs: what has to be made for it.
        asks: every kind of criterion that it can be held against.
        rank: its place in tables, from 0; the package's own leave gaps of ten.
        closes: keys of `GAPS` that do not stand under "not tested" where it was made.
        remark: a sentence for the report on how it works, as HTML; may be empty.
        knows: what the attacker has whom it stands for.
        plain_words: what it looks for, for a reader who knows nothing of networks; empty where the display name does.
    """

    name: ClassVar[str]
    display_name: ClassVar[str]
    family: ClassVar[Family]
    needs: ClassVar[Needs]
    asks: ClassVar[tuple[Asked, ...]]
    rank: ClassVar[int]
    closes: ClassVar[tuple[str, ...]] = ()
    remark: ClassVar[str] = ""
    knows: ClassVar[tuple[Knowledge, ...]] = ("set",)
    plain_words: ClassVar[str] = ""

    def applies(self, facts: SetFacts) -> bool:
        """Whether it can be made on such a set at all."""
        return True

    @abstractmethod
    def run(self, signals: Signals) -> Evidence:
        """Make the attack, on the set and on its controls."""

    @abstractmethod
    def judge(self, evidence: Evidence, facts: SetFacts, settings: AuditRecipe) -> tuple[Criterion, ...]:
        """Hold what it found against the thresholds."""

    def figures(self, evidence: Evidence, asked: Asked) -> Figures:
        """What is behind its criterion of this kind; where it gives nothing, tables have the criterion's own figure.

        Args:
            evidence: of all attacks of an audit.
            asked: one of what it asks.
        """
        return Figures()

    def skipped(self, settings: AuditRecipe) -> tuple[Criterion, ...]:
        """What the gate says where it was left out on request."""
        return ()

    def leaves_open(self, evidence: Evidence | None) -> str:
        """What stays untested for it, in a sentence; None is no evidence, since it was left out. Empty for nothing."""
        return ""
