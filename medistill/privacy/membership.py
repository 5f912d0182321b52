"""Membership inference: how well one who holds the set can tell the patients it was made of from others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from pydantic import TypeAdapter, ValidationError

from medistill.errors import ArtifactError, first_complaint
from medistill.evaluate.intervals import Estimate

Source = Literal["distilled", "random", "raw"]
"""What the attacked networks learn from: the set; as many real training images, drawn at random; all of them."""
SOURCES: tuple[Source, ...] = get_args(Source)
CellTrait = Literal["all", "class", "site"]


@dataclass(frozen=True)
class Detection:
    """What an attack finds where it may be wrong about one non-member in ``one_in``.

    Attributes:
        one_in: the inverse of the false positive rate.
        rate: share of the members above the threshold, with the exact binomial interval for these members.
        chance: probability that scores which know nothing find as many, the threshold's own chance included; None where
            it is not worked out.
        if_all: lower end of the interval if all members were found; None where nobody can be, and in records of earlier
            versions.
    """

    one_in: int
    rate: Estimate
    chance: float | None
    if_all: float | None = None


@dataclass(frozen=True)
class AttackCell:
    """An attack on all patients, or on those of one class or site.

    Attributes:
        trait: what the cell is formed by.
        name: the class or the site; "" for all.
        members: patients whose images were in the training data; None where the cell is not shown.
        non_members: patients whose images were not; likewise.
        auc: area under the attack's ROC curve, with DeLong's interval for clustered data.
        detections: one for each false positive rate that is asked about; empty where the cell is not shown.
        reason: why it is not shown; else empty.
    """

    trait: CellTrait
    name: str
    members: int | None
    non_members: int | None
    auc: Estimate
    detections: tuple[Detection, ...]
    reason: str = ""


@dataclass(frozen=True)
class MembershipAttack:
    """One attack on the networks of one source.

    Attributes:
        name: which attack, such as "loss".
        source: what the attacked networks learnt from.
        cells: all patients first, then by class, then by site.
        dropped: share of the answers that take no part, since too few other shadows tell of the image.
        reason: why the attack could not be made, as the end of "cannot be made, because ..."; else empty.
    """

    name: str
    source: Source
    cells: tuple[AttackCell, ...]
    dropped: float = 0.0
    reason: str = ""


@dataclass(frozen=True)
class CanaryTest:
    """Whether networks repeat the wrong labels of images that their source held.

    Attributes:
        source: what the networks learnt from, as in `MembershipAttack`.
        canaries: images with a wrong label.
        inserted: share of the answers that give the wrong label, where the source held the canary.
        absent: the same where it did not.
        chance: exact probability of as many wrong labels for inserted canaries, if insertion did nothing; None where
            it cannot be told.
        smallest: the chance if all of these shadows repeated all that they hold and no other did; None likewise, and in
            records of earlier versions.
    """

    source: str
    canaries: int
    inserted: Estimate
    absent: Estimate
    chance: float | None
    smallest: float | None = None


@dataclass(frozen=True)
class LabelTest:
    """Whether what is said of canaries tells which shadows hold their wrong labels.

    Attributes:
        source: "distilled" for the soft labels of the shadows' sets, "raw" for what networks on all originals say.
        shadows: that were asked.
        canaries: images with a wrong label.
        told_apart: share of the pairs of a shadow that holds a canary and one that does not in which the former says
            the wrong class more; None where there is no pair.
        chance: exact probability of agreeing as well with coins, if insertion did nothing; None where it cannot be
            told.
        guesses: how many were made of canaries that some hold and some do not; None in records of earlier versions.
    """

    source: Source
    shadows: int
    canaries: int
    told_apart: float | None
    chance: float | None
    guesses: int | None = None


@dataclass(frozen=True)
class SoftLabels:
    """What was asked of soft labels.

    Attributes:
        tests: one a source; empty where nothing was asked.
        reason: why there is none; else empty.
    """

    tests: tuple[LabelTest, ...]
    reason: str = ""

    def of(self, source: Source) -> LabelTest | None:
        """The test of one source."""
        return next((test for test in self.tests if test.source == source), None)


@dataclass(frozen=True)
class OneRunBound:
    """What the best of several ways to guess coins says of epsilon, on one source.

    Attributes:
        source: what was made once more.
        attack: by whose scores, as records know it.
        beside: whether these are less what the same attack says of the set itself, which knows nothing of the coins.
        rule: who is guessed, such as "a tenth as in".
        guesses: coins that were guessed.
        right: of these.
        tests: ways that were tried, for which the bound is corrected.
        epsilon: that the making exceeds at the level of `OneRun`, 0 where nothing follows.
    """

    source: Source
    attack: str
    beside: bool
    rule: str
    guesses: int
    right: int
    tests: int
    epsilon: float


@dataclass(frozen=True)
class OneRun:
    """The set made once more, with a coin for each of some patients that decides whether they are in.

    Attributes:
        canaries: patients whose coin was tossed, each with all training images.
        inside: how many of these were in.
        delta: at which epsilon is bounded.
        confidence: of each bound by itself.
        bounds: one a source; a random one and all of the originals are controls.
        stated_epsilon: what the set promises at this delta for the same unit; None where it promises nothing of that.
        stated_reason: why it is None; else empty.
        seconds: what all of it took.
        reason: why it was not made, as the end of "cannot be made, because ..."; else empty.
    """

    canaries: int
    inside: int
    delta: float
    confidence: float
    bounds: tuple[OneRunBound, ...]
    stated_epsilon: float | None
    stated_reason: str
    seconds: float
    reason: str = ""

    def of(self, source: Source) -> OneRunBound | None:
        """What follows of one source."""
        return next((bound for bound in self.bounds if bound.source == source), None)


@dataclass(frozen=True)
class Membership:
    """What the attacks on membership found, and what they were made with.

    Attributes:
        attacks: every attack on every source.
        canaries: one test a source.
        networks: attacked networks of each source in the loss attack; 0 where it was left out.
        shadows: shadow distillations.
        shadow_networks: networks of each source for each shadow.
        shadow_experts: experts of each shadow distillation; 0 where the method follows none.
        shadow_iterations: outer steps of each, likewise.
        confidence: level of every interval.
        seconds: the time it took, of all calls together.
        one_run: what the set that was made once more says; None where none was asked for.
        soft_labels: what was asked of these; None in records of earlier versions.
    """

    attacks: tuple[MembershipAttack, ...]
    canaries: tuple[CanaryTest, ...]
    networks: int
    shadows: int
    shadow_networks: int
    shadow_experts: int
    shadow_iterations: int
    confidence: float
    seconds: float
    one_run: OneRun | None = None
    soft_labels: SoftLabels | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain values, null for what is missing."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any], origin: str = "the record of the attacks") -> Membership:
        """The inverse of `as_json`.

        Raises:
            ArtifactError: something is missing or of another kind; ``origin`` says where.
        """
        try:
            return TypeAdapter(cls).validate_python(dict(value))
        except ValidationError as error:
            raise ArtifactError(
                f"{origin} cannot be used ({first_complaint(error)})",
                expected="a record as this version of medistill writes it",
                do="remove it and run the audit again",
            ) from None
