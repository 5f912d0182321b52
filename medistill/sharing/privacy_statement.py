"""Privacy statement: ``privacy.json``, what a bundle says of its privacy, attack by attack, for programs.

It says no more than the audit and the guarantee that it lies beside, and is held to them figure by figure, so that a
program which reads it alone reads nothing else (`medistill.sharing.privacy_schema` has its JSON Schema).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import starmap
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, ValidationError, model_validator

from medistill.artifacts.atomic import parse_json
from medistill.artifacts.field_kinds import Count, Digest, Version
from medistill.artifacts.record import Record
from medistill.errors import ArtifactError, first_complaint
from medistill.evaluate.intervals import Estimate
from medistill.privacy.attack import Knowledge
from medistill.privacy.audit import Audit
from medistill.privacy.criterion import Bound, Reading, Verdict
from medistill.privacy.findings import AttackFindings, Finding, asked_of_audit, findings
from medistill.sharing.manifest import PrivacyRecord, printable
from medistill.visible import json_text

PRIVACY = "privacy.json"
MOST_BYTES = 2**18
"""Size of the largest statement; a full one takes a tenth of it."""
MOST_ATTACKS, MOST_FINDINGS = 200, 20
LARGEST = 1e12
"""Largest number that one may hold."""

Number = Annotated[float, Field(ge=0, le=LARGEST)]
Plain = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ,.()'’_-]{0,99}$")]
"""A name that no page takes for markup, and no terminal for a command."""
Rule = Literal["fail if any criterion fails; pass if all pass; otherwise not enough evidence"]
RULE: Rule = "fail if any criterion fails; pass if all pass; otherwise not enough evidence"


class StatedFigure(Record):
    """A figure and its interval."""

    value: Number | None
    """What was found; null where nothing was, or could be."""
    low: Number | None
    """Lower limit of the interval; null where there is none, as of what was counted."""
    high: Number | None
    """Upper limit, likewise."""

    @classmethod
    def of(cls, estimate: Estimate) -> Self:
        """Return the one that an estimate gives."""
        return cls(value=estimate.value, low=estimate.low, high=estimate.high)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        told = [one for one in (self.low, self.value, self.high) if one is not None]
        if told != sorted(told) or (self.value is None and told) or (self.low is None) != (self.high is None):
            raise ValueError("a figure does not lie within its interval")
        return self


class StatedCriterion(Record):
    """What the gate asks, and what was found."""

    counts: Plain
    """Key of the kind of criterion, such as "copies"."""
    reads_as: Reading
    """A share or probability, from 0 to 1; a whole number; or another number, such as an epsilon."""
    bound: Bound
    """Whether the figure must reach the threshold, or must not pass it."""
    threshold: Number
    """What it is held against."""
    verdict: Verdict
    """What follows."""


class StatedFinding(StatedCriterion):
    """What an attack found under one of its criteria."""

    distilled_set: StatedFigure
    """On the set."""
    positive_control: StatedFigure
    """On as many random originals, or on whatever the attack must find."""
    all_originals: StatedFigure
    """On all originals."""
    groups: Count
    """Classes and sites in which the set fails it too."""

    @model_validator(mode="after")
    def _in_range(self) -> Self:
        figures = (self.distilled_set, self.positive_control, self.all_originals)
        if self.reads_as == "share" and any((one.high or one.value or 0) > 1 for one in figures):
            raise ValueError("a share is larger than 1")
        return self


class StatedAttack(Record):
    """What an attack found."""

    attack: Plain
    """Its name, as in ``audit.json``."""
    attacker_has: Annotated[tuple[Knowledge, ...], Field(max_length=7)]
    """What the attacker has whom it stands for; empty where the version that wrote this does not know the attack."""
    findings: Annotated[tuple[StatedFinding, ...], Field(min_length=1, max_length=MOST_FINDINGS)]
    """One for every kind of criterion."""


class StatedAskedOfAudit(StatedCriterion):
    """What the audit asks of itself."""

    figure: Number | None
    """What was found; null where nothing was."""


class PrivacyStatement(Record):
    """What a bundle says of its privacy, for programs."""

    EXPECTED: ClassVar[str] = "a privacy statement as `medistill share` writes it"
    DO: ClassVar[str] = "do not rely on it; have the bundle sent again"

    schema_number: Literal[1] = Field(default=1, alias="schema")
    kind: Literal["medistill privacy statement"] = "medistill privacy statement"
    set_digest: Digest
    """SHA-256 of ``images.safetensors``."""
    version: Version | None
    """Of medistill that made the audit; null where there was none, or it does not say."""
    verdict: Verdict | None
    """Of the gate; null where no audit was made."""
    rule: Rule = RULE
    """How the verdict follows from the criteria."""
    thresholds: dict[Plain, Number]
    """Settings of the audit, by name."""
    asked_of_audit: Annotated[tuple[StatedAskedOfAudit, ...], Field(max_length=MOST_FINDINGS)]
    """What the audit asks of itself, and what no attack that was made asks."""
    attacks: Annotated[tuple[StatedAttack, ...], Field(max_length=MOST_ATTACKS)]
    """Every attack that was made."""
    guarantee: PrivacyRecord | None
    """The guarantee of differential privacy; null where there is none."""

    def to_bytes(self) -> bytes:
        """Return what ``privacy.json`` holds."""
        return f"{json_text(self.as_json())}\n".encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> PrivacyStatement:
        """Return the inverse of `to_bytes`, byte for byte.

        Raises:
            ArtifactError: too large, no statement, or spelt otherwise.
        """
        if len(data) > MOST_BYTES:
            raise cls.unusable(PRIVACY, f"it has {len(data)} bytes, at most {MOST_BYTES} are taken")
        found = cls.from_json(parse_json(data, PRIVACY, "privacy statement of the bundle"), PRIVACY)
        if found.to_bytes() != data:
            raise cls.unusable(PRIVACY, "it is spelt otherwise than medistill spells it")
        return found

    @classmethod
    def unusable(cls, origin: str, why: str) -> ArtifactError:
        """Return the error that says why it is refused, in characters that can be printed."""
        return super().unusable(origin, printable(why))


def privacy_statement(audit: Audit | None, set_digest: str, guarantee: PrivacyRecord | None) -> PrivacyStatement:
    """What follows from an audit and a guarantee.

    Args:
        audit: as it leaves; None where none was made.
        set_digest: SHA-256 of the set's file.
        guarantee: as the manifest states it.

    Raises:
        ValidationError: the audit holds what no statement can.
    """
    if audit is None:
        return PrivacyStatement(
            set_digest=set_digest,
            version=None,
            verdict=None,
            thresholds={},
            asked_of_audit=(),
            attacks=(),
            guarantee=guarantee,
        )
    return PrivacyStatement(
        set_digest=set_digest,
        version=audit.versions.get("medistill"),
        verdict=audit.verdict,
        thresholds={name: float(value) for name, value in audit.thresholds.items()},
        asked_of_audit=tuple(
            StatedAskedOfAudit(
                counts=one.asked.key,
                reads_as=one.asked.reads_as,
                bound=one.asked.bound,
                threshold=one.threshold,
                verdict=one.verdict,
                figure=one.figure,
            )
            for one in asked_of_audit(audit)
        ),
        attacks=tuple(map(_stated, findings(audit))),
        guarantee=guarantee,
    )


def read_statement(
    files: Mapping[str, bytes], audit: Audit | None, set_digest: str, guarantee: PrivacyRecord | None
) -> PrivacyStatement | None:
    """The statement among the files of a bundle; None where a former version wrote none.

    Args:
        files: name -> bytes.
        audit: that lies beside it, read and checked.
        set_digest: SHA-256 of the set's file.
        guarantee: as the manifest states it.

    Raises:
        ArtifactError: it is none, or says something else than the audit and the guarantee beside it.
    """
    if PRIVACY not in files:
        return None
    stated = PrivacyStatement.from_bytes(files[PRIVACY])
    try:
        expected = privacy_statement(audit, set_digest, guarantee)
    except ValidationError as error:
        raise PrivacyStatement.unusable("audit.json", first_complaint(error)) from None
    check_statement(stated, expected)
    return stated


def check_statement(stated: PrivacyStatement, expected: PrivacyStatement) -> None:
    """Refuse a statement that says something else than the audit and the guarantee beside it.

    Of an attack that is not known here what the attacker has, and what stands beside its figure, are the sender's word.

    Raises:
        ArtifactError: with what differs.
    """
    if differing := next(_differing(stated, expected), ""):
        raise PrivacyStatement.unusable(PRIVACY, f"{differing} is not what the audit and the manifest beside it say")


def _differing(stated: PrivacyStatement, expected: PrivacyStatement) -> Iterator[str]:
    for name in PrivacyStatement.model_fields:
        if name != "attacks" and getattr(stated, name) != getattr(expected, name):
            yield name
    if [one.attack for one in stated.attacks] != [one.attack for one in expected.attacks]:
        yield "the list of attacks"
        return
    for told, known in zip(stated.attacks, expected.attacks, strict=True):
        if (told if known.attacker_has else _as_known(told, known)) != known:
            yield f"the attack {told.attack}"


def _as_known(told: StatedAttack, known: StatedAttack) -> StatedAttack:
    """An attack of another version, with what nobody can tell of it here taken as it is expected."""
    if len(told.findings) != len(known.findings):
        return told
    pairs = zip(told.findings, known.findings, strict=True)
    return told.replaced(attacker_has=known.attacker_has, findings=tuple(starmap(_beside_its_figure, pairs)))


def _beside_its_figure(told: StatedFinding, known: StatedFinding) -> StatedFinding:
    same = told.distilled_set.value == known.distilled_set.value
    return told.replaced(
        distilled_set=known.distilled_set if same else told.distilled_set,
        positive_control=known.positive_control,
        all_originals=known.all_originals,
    )


def _stated(of: AttackFindings) -> StatedAttack:
    return StatedAttack(attack=of.name, attacker_has=of.knows, findings=tuple(map(_finding, of.findings)))


def _finding(of: Finding) -> StatedFinding:
    return StatedFinding(
        counts=of.asked.key,
        reads_as=of.asked.reads_as,
        bound=of.asked.bound,
        threshold=of.threshold,
        verdict=of.verdict,
        distilled_set=StatedFigure.of(of.figures.of_set),
        positive_control=StatedFigure.of(of.figures.control),
        all_originals=StatedFigure.of(of.figures.originals),
        groups=of.groups,
    )
