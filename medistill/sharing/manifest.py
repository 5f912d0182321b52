"""BundleManifest: what a bundle says of itself, in a form in which the same statement has one spelling."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from medistill.artifacts.atomic import parse_json
from medistill.artifacts.field_kinds import ClassName, Count, Digest, Line, Month, Name, Use, Whole
from medistill.artifacts.provenance import SharedProvenance
from medistill.artifacts.record import Record
from medistill.errors import ArtifactError
from medistill.privacy.criterion import Verdict
from medistill.recipe import Unit

BUNDLE_SCHEMA = 1
MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"
UNLISTED = (MANIFEST, SIGNATURE)
"""The two entries of a bundle that its manifest cannot list."""


class FileRecord(Record):
    """One file of the bundle."""

    sha256: Digest
    bytes: Count


class SetRecord(Record):
    """The distilled set, in counts."""

    class_names: tuple[ClassName, ...]
    shape: tuple[Whole, Whole, Whole, Whole]
    """Images, channels, height, width."""
    ipc: Whole
    """Images of the largest class."""
    per_class: dict[ClassName, Count]


class PrivacyRecord(Record):
    """The guarantee of differential privacy: (epsilon, delta) for one unit."""

    epsilon: Annotated[float, Field(gt=0)]
    delta: Annotated[float, Field(gt=0, lt=1)]
    unit: Unit
    mechanism: Line
    accountant: Line


class AuditRecord(Record):
    """The audit that the sender declares."""

    verdict: Verdict
    set_digest: Digest
    thresholds: dict[Name, int | float]


class BundleManifest(Record):
    """What a bundle says of itself."""

    EXPECTED: ClassVar[str] = "a manifest as `medistill share` writes it"
    DO: ClassVar[str] = "have the bundle sent again"

    schema_number: Literal[1] = Field(default=1, alias="schema")
    kind: Literal["medistill bundle"] = "medistill bundle"
    files: dict[Name, FileRecord]
    """Every entry but the manifest and its signature, in sorted order."""
    set: SetRecord
    provenance: SharedProvenance
    privacy: PrivacyRecord | None
    audit: AuditRecord | None
    acknowledged_risk: Use | None
    """Why it was sent without a passing audit, in the sender's words."""
    intended_use: Use
    licence: Name
    """SPDX identifier, or a text."""
    sender: Line
    month: Month | None = None
    """Left out unless the sender wants it told."""

    def as_json(self) -> dict[str, Any]:
        """Return plain values; a month that is not told does not appear."""
        told = super().as_json()
        return told if self.month is not None else {name: told[name] for name in told if name != "month"}

    def to_bytes(self) -> bytes:
        """UTF-8 JSON with sorted keys."""
        return (
            json.dumps(self.as_json(), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
        ).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> BundleManifest:
        """The inverse of `to_bytes`, byte for byte: a key given twice, or any other spelling, is refused.

        Raises:
            ArtifactError: not a manifest, of another schema, or not as this version writes it.
        """
        stored = parse_json(data, MANIFEST, "bundle")
        if stored.get("schema") != BUNDLE_SCHEMA or isinstance(stored["schema"], bool):
            raise ArtifactError(
                f"{MANIFEST} of the bundle has the schema {str(stored.get('schema'))[:20]!r}",
                expected=f"schema {BUNDLE_SCHEMA}",
                do="open it with the version of medistill that wrote it",
            )
        origin = f"{MANIFEST} of the bundle"
        manifest = cls.from_json(stored, origin)
        if manifest.to_bytes() != data:
            raise cls.unusable(
                origin, "it is spelt otherwise than medistill spells it, for instance with a key given twice"
            )
        return manifest

    @classmethod
    def unusable(cls, origin: str, why: str) -> ArtifactError:
        """Return the error that says why it is refused, in characters that can be printed."""
        return super().unusable(origin, printable(why))


def printable(complaint: str) -> str:
    """A complaint that can be printed: a record names its own fields, and may name them anything."""
    return re.sub(r"[^ -~]", "?", complaint)[:300]


def refusal(name: str, why: str) -> ArtifactError:
    """Why a file of a bundle is refused."""
    return ArtifactError(
        f"{name} of the bundle cannot be used: {why}",
        expected="a bundle as `medistill share` wrote it",
        do="do not use the bundle; have it sent again",
    )
