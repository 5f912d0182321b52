"""BundleManifest: what a bundle says of itself, in a form in which the same statement has one spelling."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from medistill.artifacts.atomic import parse_json
from medistill.artifacts.field_kinds import (
    ClassName,
    Count,
    Digest,
    Fingerprint,
    Line,
    Month,
    Name,
    Settings,
    Use,
    Version,
    Whole,
)
from medistill.artifacts.record import Record
from medistill.errors import ArtifactError, first_complaint
from medistill.privacy.criterion import Verdict
from medistill.recipe import Unit, Weighting

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


class Source(Record):
    """A set that was united with others into this one: where its images are and what was promised for them."""

    sender: Line
    set_digest: Digest
    """SHA-256 of its ``images.safetensors``."""
    first: Count
    """Index of its first image here."""
    images: Whole
    privacy: Line
    epsilon: float | None
    delta: float | None
    unit: Line | None
    signer: Fingerprint | None = None
    """Fingerprint of the key that vouched for it where it was united; left out where none did."""

    def as_json(self) -> dict[str, Any]:
        """Plain values; a signer that there was not does not appear."""
        plain = self.model_dump(mode="json")
        return plain if self.signer is not None else {key: plain[key] for key in plain if key != "signer"}


class QuantisationRecord(Record):
    """What a recipient should know of images that are, or began as, means of patients' images in a latent space."""

    encoder: Literal["pca", "autoencoder", "brought"] | None = None
    dimension: Whole | None = None
    """Numbers in a code."""
    min_cluster_size: Whole
    """Fewest patients whose mean an image was allowed to be."""
    smallest_cluster: Whole
    """Fewest whose mean one is."""
    weights: Weighting | None = None
    """What the images weigh by; none where they were changed afterwards, and weigh alike."""
    labels: Literal["hard", "soft"] | None = None
    temperature: Annotated[float, Field(gt=0)] | None = None
    """Of the soft labels, where teachers gave them."""
    teachers: Whole | None = None
    """Networks that gave them, trained on the patients."""
    decoder: Digest | None = None
    """SHA-256 of an encoder-decoder that was brought, not trained on these patients."""
    licence: Line | None = None
    """Its licence."""


class SpentRecord(Record):
    """What the sender's ledger says was spent in all on the same people, this set included."""

    releases: Whole
    epsilon: Annotated[float, Field(gt=0)] | None
    """None where nothing can be stated of all together."""
    delta: Annotated[float, Field(gt=0)]
    others_epsilon: Annotated[float, Field(ge=0)] | None
    """Of all but this one."""
    others_delta: Annotated[float, Field(ge=0)]
    unit: Unit | Literal[""]


class TextCheckRecord(Record):
    """What was done before the set was made about text that is burnt into the originals."""

    policy: Literal["unchecked", "mask", "quarantine"]
    by: Line | None = None
    """What looked for it, with versions; none where nothing did."""

    @model_validator(mode="after")
    def _by_whom(self) -> TextCheckRecord:
        if (self.policy == "unchecked") == bool(self.by):
            raise ValueError("text was looked for by something, or not at all")
        return self


class Provenance(Record):
    """What of the set's provenance leaves the house; a value that is not known is left out."""

    method: Name | None = None
    recipe: Settings | None = None
    """Settings without the sender's own words: no name, no column of a table, no site."""
    recipe_digest: Digest | None = None
    network: Name | None = None
    versions: dict[Name, Version] | None = None
    corpus: Digest | None = None
    """Content hash of the corpus; left out under differential privacy, whose guarantee does not cover it."""
    starts_from: Literal["real", "noise", "quantised"] | None = None
    quantisation: QuantisationRecord | None = None
    text_check: TextCheckRecord | None = None
    """What looked for text in the originals; none where an earlier version did not say."""
    synthetic_source: bool | None = None
    split_unit: Unit | None = None
    stages: Whole | None = None
    soft_labels: bool | None = None
    privacy: Line | None = None
    differential_privacy: dict[Name, int | float | Line] | None = None
    privacy_spent: SpentRecord | None = None
    sources: tuple[Source, ...] | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain values; what is not known does not appear."""
        plain = {key: value for key, value in self.model_dump(mode="json").items() if value is not None}
        if self.sources is not None:
            plain["sources"] = [source.as_json() for source in self.sources]
        for part in ("quantisation", "text_check"):
            if part in plain:
                plain[part] = {key: value for key, value in plain[part].items() if value is not None}
        return plain


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

    files: dict[Name, FileRecord]
    """Every entry but the manifest and its signature, in sorted order."""
    set: SetRecord
    provenance: Provenance
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
        """Plain values; what is left out does not appear."""
        plain = self.model_dump(mode="json")
        plain["provenance"] = self.provenance.as_json()
        if self.month is None:
            del plain["month"]
        return {"schema": BUNDLE_SCHEMA, "kind": "medistill bundle", **plain}

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
        known = {key: value for key, value in stored.items() if key not in ("schema", "kind")}
        try:
            manifest = cls.model_validate_json(json.dumps(known))
            same = manifest.to_bytes() == data
        except ValidationError as error:
            raise unusable(printable(first_complaint(error))) from None
        except (ValueError, RecursionError) as error:
            raise unusable(f"a value of it has no place in JSON ({type(error).__name__})") from None
        if not same:
            raise unusable("it is spelt otherwise than medistill spells it, for instance with a key given twice")
        return manifest


def unusable(why: str) -> ArtifactError:
    """Why a manifest is refused."""
    return ArtifactError(
        f"{MANIFEST} of the bundle cannot be used: {why}",
        expected="a manifest as `medistill share` writes it",
        do="have the bundle sent again",
    )


def printable(complaint: str) -> str:
    """A complaint that can be printed: a record names its own fields, and may name them anything."""
    return re.sub(r"[^ -~]", "?", complaint)[:300]
