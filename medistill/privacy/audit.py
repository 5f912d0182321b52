"""Audit: what was tried on a distilled set, what came out, and whether it may leave; no patient's identifier."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from medistill.artifacts.atomic import read_bytes
from medistill.artifacts.kept import parse_result
from medistill.errors import ArtifactError, first_complaint
from medistill.evaluate.intervals import Estimate
from medistill.privacy.criterion import Asked, Criterion, Verdict
from medistill.privacy.former_audit import AUDIT_SCHEMA, brought_up
from medistill.privacy.letters import TextFigures
from medistill.privacy.membership import Membership
from medistill.recipe import Deviation, audit_deviations

Subject = Literal["distilled", "random", "held out"]
"""The distilled images; as many random training images, which must be found; held-out images of other patients."""
MAKING = Asked("making", "at least", "count")
"""What ties an audit to the run that made the set."""


@dataclass(frozen=True)
class GroupCopies:
    """Copies in a part of the images.

    Attributes:
        name: of the class, or of the site of the nearest training image.
        images: how many; None where the site has too few patients for its figures to be shown.
        copies: how many of them are copies; None likewise.
    """

    name: str
    images: int | None
    copies: int | None


@dataclass(frozen=True)
class CopyFigures:
    """How near images come to training images, in one space.

    Attributes:
        subject: which images.
        space: in what they are compared, such as "pixels".
        images: how many; all were compared, so that counts are exact.
        copies: how many are copies.
        smallest_ratio: of the distance to the nearest training image in units of that to the nearest held-out one.
        median_ratio: of the same; 1 is as near to the one as to the other.
        nearer: mean probability that a training image is the nearest where equally many of both splits are drawn.
        classes: copies by class.
        sites: copies by the site of the nearest training image; empty where there is one site.
    """

    subject: Subject
    space: str
    images: int
    copies: int
    smallest_ratio: float
    median_ratio: float
    nearer: Estimate
    classes: tuple[GroupCopies, ...]
    sites: tuple[GroupCopies, ...]


@dataclass(frozen=True)
class CopyRule:
    """When an image counts as a copy, in one space.

    Attributes:
        space: in what images are compared, such as "pixels".
        ratio: the ratio of distances at which, and below which, it does.
        reference_images: real held-out images that this was held against; of a search for people held-out patients.
        false_alarms: rate at which a search for people is meant to find any in a set that holds nobody
            (`medistill.privacy.exchange`); None of other searches.
        blind: nothing could have been called a copy by it: no original is, or no image that is as like one as can be.
    """

    space: str
    ratio: float
    reference_images: int
    false_alarms: float | None = None
    blind: bool = False


@dataclass(frozen=True)
class LeakageFigures:
    """What is left of the real images that images began as.

    Attributes:
        subject: which images; random originals began as themselves.
        images: how many.
        own: mean correlation with the image that each began as, the class's mean taken off.
        others: the same with the other training images of the class.
        recovered: share of the images that, of all training images of the class, are most like their own.
        chance: that share where nothing is left.
        traced: share whose permutation p-value is at most 0.05, which chance alone gives to one in twenty.
        recovered_if_all: lower end of the interval if all were most like their own; None in earlier versions' records.
        traced_if_all: likewise, if all had the smallest p-value that their class allows.
    """

    subject: Subject
    images: int
    own: float
    others: float
    recovered: Estimate
    chance: float
    traced: Estimate
    recovered_if_all: float | None = None
    traced_if_all: float | None = None


@dataclass(frozen=True)
class Audit:
    """The audit of a distilled set.

    Attributes:
        verdict: of the gate: fail where any criterion fails, pass where all pass.
        criteria: what the gate asked.
        rules: when an image counted as a copy.
        copies: figures of the search for copies, the controls beside the set.
        residue: figures of what is left of the starting images; empty where that is not known or cannot be.
        residue_reason: why there are none; else empty.
        membership: what attacks on membership found, or None where none was tried.
        guarantee: what is guaranteed formally, in a sentence.
        not_tested: what was not tried, a sentence each.
        train_images: training images that the set was compared with.
        held_out_images: images of the validation and the test split with which the set was compared.
        held_out_patients: patients of these; studies or images where no patient is known.
        split_unit: "patient", "study" or "image", at whose level the splits are apart.
        network: whose features were compared.
        set_digest: SHA-256 of the set's ``images.safetensors``.
        corpus: content hash of the corpus.
        thresholds: section ``audit`` of the recipe, and what of the section ``evaluate`` an audit depends on.
        seed: from which every random number was derived.
        versions: package -> version.
        device: "cpu" or "cuda".
        command: what to type to make it again; empty where it was not made by a command.
        seconds: what it took.
        text: what of burnt-in text was looked for, and found; None where the audit is of a version that did not look.
        date: on which it was made (UTC), as "2026-12-01"; empty in a bundle, which holds no date, and where an
            earlier version made it, which told neither this nor the next three.
        recipe: name of the recipe of the set; empty in a bundle, since a name is free words.
        method: by which the set was made.
        images: of the set; 0 where not told.
        held_out_left_out: patients of those splits with whom nothing was compared, since an image of each is nearly a
            training image of another; None where the audit is of a version that left none out.
    """

    verdict: Verdict
    criteria: tuple[Criterion, ...]
    rules: tuple[CopyRule, ...]
    copies: tuple[CopyFigures, ...]
    residue: tuple[LeakageFigures, ...]
    residue_reason: str
    membership: Membership | None
    guarantee: str
    not_tested: tuple[str, ...]
    train_images: int
    held_out_images: int
    held_out_patients: int
    split_unit: str
    network: str
    set_digest: str
    corpus: str
    thresholds: Mapping[str, float]
    seed: int
    versions: Mapping[str, str]
    device: str
    command: str
    seconds: float
    text: TextFigures | None = None
    date: str = ""
    recipe: str = ""
    method: str = ""
    images: int = 0
    held_out_left_out: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain values, null for what is not available."""
        return {"schema": AUDIT_SCHEMA, **asdict(self)}

    @property
    def deviations(self) -> tuple[Deviation, ...]:
        """The settings by which it differs from an audit as it is shipped with this version."""
        return audit_deviations(self.thresholds)

    @property
    def passed(self) -> bool:
        """Whether the set passes by nothing laxer than what is shipped, is what its run here made, and was read.

        An audit by an earlier version, which asked for none of these, does not pass.
        """
        whole = self.text is not None and self.asks(MAKING)
        return self.verdict == "pass" and whole and not any(one.laxer for one in self.deviations)

    def asks(self, asked: Asked) -> bool:
        """Whether any criterion is of this kind."""
        return any(criterion.asked == asked for criterion in self.criteria)

    @property
    def trained(self) -> bool:
        """Whether networks were trained to tell who was among the patients, which a quick audit leaves out."""
        return self.membership is not None and (self.membership.networks > 0 or self.membership.shadows > 0)

    def of_subject(self, subject: Subject) -> tuple[CopyFigures, ...]:
        """The search for copies among these images, in every space."""
        return tuple(figures for figures in self.copies if figures.subject == subject)


def load_audit(path: Path) -> Audit:
    """Read ``audit.json``.

    Raises:
        ArtifactError: missing, damaged, or of another schema.
    """
    return parse_audit(read_bytes(path, "audit"), path)


def parse_audit(data: bytes, path: Path) -> Audit:
    """The same of the bytes of ``audit.json``, for whoever asks for its seal too: a file can change in between."""
    return audit_from_json(parse_result(data, path, "audit"), str(path))


def audit_from_json(known: Mapping[str, Any], origin: str) -> Audit:
    """The inverse of `Audit.as_json`; ``origin`` is what an error calls the record.

    Raises:
        ArtifactError: not an audit, or of another schema.
    """
    known = brought_up(known)
    if known.get("schema") != AUDIT_SCHEMA:
        raise ArtifactError(
            f"{origin} has schema {known.get('schema')!r}",
            expected=f"schema {AUDIT_SCHEMA}",
            do="audit the set again with `medistill audit`",
        )
    try:
        return TypeAdapter(Audit).validate_json(json.dumps(known), strict=True)  # else "nan" would be a number
    except (ValidationError, ValueError, TypeError) as error:
        seen = first_complaint(error) if isinstance(error, ValidationError) else str(error)
        raise ArtifactError(
            f"{origin} cannot be used: {seen}",
            expected="an audit as this version of medistill writes it",
            do="audit the set again with `medistill audit`",
        ) from None
