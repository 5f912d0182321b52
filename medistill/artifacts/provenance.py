"""Provenance: what a distilled set says of its own making. No patient's identifier.

What a stranger wrote is taken as it stands: a set may say more than this version knows, or say something in another
kind of value. It keeps both, for it is the same set only with all its words; but nothing is read of it that is not of
the kind that its field names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from medistill.artifacts.encoder_summary import EncoderSummary
from medistill.artifacts.field_kinds import Count, Digest, Fingerprint, Line, Name, Settings, Version, Whole
from medistill.artifacts.patched_summary import PatchedSummary
from medistill.artifacts.quantised_summary import QuantisedSummary
from medistill.artifacts.record import Record
from medistill.artifacts.text_check import TextCheck
from medistill.errors import ArtifactError, first_complaint
from medistill.recipe import Recipe, Unit, validate_recipe

Importance = Literal["leverage", "distance"]
"""How originals were drawn that images began as, where not at random."""


class MergedPart(Record):
    """A set that was united with others into one: where its images are there, and what was promised for them."""

    sender: Line
    set_digest: Digest
    """SHA-256 of its ``images.safetensors``."""
    first: Count
    """Index of its first image in the united set, or among the images that its images are means of."""
    images: Whole
    privacy: Line
    epsilon: float | None
    delta: float | None
    unit: Line | None
    signer: Fingerprint | None = None
    """Fingerprint of the key that vouched for it where it was united; left out where none did."""
    statistics: Digest | None = None
    """SHA-256 of the class statistics that it carried, by which one release is known again whatever images were made of
    it; left out where it carried none."""
    drawn: Importance | None = None
    """How the originals were drawn that its images began as; left out where at random, or where there were none."""
    pruned: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of each class that was left out for its loss before it was made; left out where nothing was."""
    thinned: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the others of each class that was left out for its effect; likewise."""
    audit: Literal["pass", "fail", "not enough evidence", "none"] | None = None
    """How the audit ended that came with it, or that none did; left out where that was not looked at."""

    def as_json(self) -> dict[str, Any]:
        """Return plain values; a signer, statistics, a selection and an audit that there were not do not
        appear."""
        told, optional = super().as_json(), ("signer", "statistics", "drawn", "pruned", "thinned", "audit")
        return {name: told[name] for name in told if name not in optional or told[name] is not None}


class SpentRecord(Record):
    """What the maker's ledger says was spent in all on the same people, this set included."""

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

    @classmethod
    def of(cls, check: TextCheck | None) -> TextCheckRecord:
        """Return what a set says of how text was looked for in its originals; also that it was not."""
        return cls(policy="unchecked") if check is None else cls(policy=check.policy, by=check.by)

    @property
    def check(self) -> TextCheck | None:
        """How text was looked for; None where it was not."""
        if self.policy == "unchecked" or self.by is None:
            return None
        return TextCheck(by=self.by, policy=self.policy)

    @model_validator(mode="after")
    def _by_whom(self) -> TextCheckRecord:
        if (self.policy == "unchecked") == bool(self.by):
            raise ValueError("text was looked for by something, or not at all")
        return self


class SharedProvenance(Record):
    """What of a set's provenance may leave the house; a value that is not known is left out."""

    method: Name | None = None
    recipe: Settings | None = None
    """Settings without the sender's own words: no name, no column of a table, no site."""
    recipe_digest: Digest | None = None
    network: Name | None = None
    encoder: EncoderSummary | None = None
    """The frozen encoder whose features that network, a probe, takes; none where it sees pixels."""
    teacher: EncoderSummary | None = None
    """The frozen encoder whose features the target vectors of the images come from; none where there are none."""
    versions: dict[Name, Version] | None = None
    corpus: Digest | None = None
    """Content hash of the corpus; left out under differential privacy, whose guarantee does not cover it."""
    starts_from: Literal["real", "noise", "quantised", "patches"] | None = None
    quantisation: QuantisedSummary | None = None
    patched: PatchedSummary | None = None
    """What the images are pasted together from; none where they are not."""
    text_check: TextCheckRecord | None = None
    """What looked for text in the originals; none where an earlier version did not say."""
    synthetic_source: bool | None = None
    split_unit: Unit | None = None
    stages: Whole | None = None
    soft_labels: bool | None = None
    privacy: Line | None = None
    """What was, and was not, done for privacy."""
    differential_privacy: dict[Name, int | float | Line] | None = None
    """The guarantee, as `Guarantee` reads it; none where there is none."""
    privacy_spent: SpentRecord | None = None
    statistics: Digest | None = None
    """SHA-256 of the noisy class statistics that travel with the set; none where there are none."""
    sources: tuple[MergedPart, ...] | None = None
    united_images: Whole | None = None
    """Images that the sources have together, where those of the set are means of them by mass; left out where they are
    the images of the sources themselves."""

    def as_json(self) -> dict[str, Any]:
        """Return plain values; what is not known does not appear."""
        known = {name: value for name, value in super().as_json().items() if value is not None}
        if self.quantisation is not None:
            known["quantisation"] = self.quantisation.sparse_json()
        if self.patched is not None:
            known["patched"] = self.patched.sparse_json()
        if self.text_check is not None:
            known["text_check"] = self.text_check.sparse_json()
        return known


class Provenance(SharedProvenance):
    """All that a set says of its making, as far as this version knows it.

    Names are as they were given here, and settings whole; `SharedProvenance` bounds what a bundle may hold of them.
    """

    model_config = ConfigDict(extra="ignore")

    method: str | None = None
    recipe: dict[str, Any] | None = None
    """Every setting."""
    recipe_digest: str | None = None
    network: str | None = None
    versions: dict[str, str] | None = None
    corpus: str | None = None
    """Content hash of the corpus."""
    privacy: str | None = None
    device: str | None = None
    """"cpu" or "cuda"."""
    training_images: dict[str, int] | None = None
    """Class -> images that it was distilled from; not told under differential privacy."""
    training_groups: int | None = None
    """How many patients (or studies, or images) these are of; not told likewise."""
    pruned: dict[str, int] | None = None
    """Class -> training images that were left out for their loss or effect; none where none were; not told likewise."""
    pruned_to: str | None = None
    """Content of the corpus without these, by which it is known again; likewise."""
    trajectories: str | None = None
    """Key of the experts."""
    chosen_step: int | None = None
    """Outer step whose images were kept."""
    micro_batch: int | None = None
    label_maps: tuple[dict[str, str], ...] | None = None
    """Of a united set, for each set that it was united from: class there -> class here."""
    resized_from: tuple[int | None, ...] | None = None
    """Likewise: height and width that images had before, in pixels; None where they have it still."""
    source_normalisations: tuple[dict[str, Any], ...] | None = None
    """Likewise."""
    source_learning_rates: tuple[float, ...] | None = None
    """Likewise."""

    _stated: dict[str, Any] = PrivateAttr(default_factory=dict)
    _malformed: dict[str, str] = PrivateAttr(default_factory=dict)

    def model_post_init(self, context: Any, /) -> None:
        """Take what this record was made with for all that the set says."""
        self._stated = SharedProvenance.as_json(self)

    @classmethod
    def read(cls, stated: Mapping[str, Any]) -> Self:
        """Return what a manifest says; a value that is not of its field's kind is kept, but not read."""
        known, malformed = {name: stated[name] for name in stated if name in cls.model_fields}, {}
        for name in list(known):
            try:
                cls.model_validate_json(json.dumps({name: known[name]}))
            except ValidationError as error:
                malformed[name] = first_complaint(error)
            except (ValueError, TypeError, RecursionError) as error:
                malformed[name] = f"{name}: it has no place in JSON ({type(error).__name__})"
        found = cls.model_validate_json(json.dumps({name: known[name] for name in known if name not in malformed}))
        found._stated, found._malformed = dict(stated), malformed
        return found

    def as_json(self) -> dict[str, Any]:
        """Return all that the set says, as plain values."""
        return dict(self._stated)

    def replaced(self, **changes: Any) -> Self:
        """Return the same with other values in these fields; None takes one away."""
        told = {**self._stated, **SharedProvenance.as_json(Provenance(**changes))}
        return type(self).read({name: told[name] for name in told if name not in changes or changes[name] is not None})

    def made_with(self, where: str) -> Recipe:
        """Return the recipe that the set was made with; ``where`` names the set in messages.

        Raises:
            ArtifactError: the set holds none.
            RecipeError: it is of a version with other settings.
        """
        if self.recipe is None:
            raise ArtifactError(
                f"{where} does not say which recipe it was made with",
                expected="a set that medistill distilled",
                do="distil it again, or have it sent again",
            )
        return validate_recipe(self.recipe, f"the recipe inside {where}")

    def states(self, name: str) -> bool:
        """Return whether the set says anything under this name, in whatever kind of value."""
        return bool(self._stated.get(name))

    def refuse_malformed(self, origin: str, *names: str) -> None:
        """Refuse a set that says one of these things in another kind of value; ``origin`` names the set.

        Raises:
            ArtifactError: it names the field.
        """
        if wrong := [self._malformed[name] for name in names if name in self._malformed]:
            raise ArtifactError(
                f"{origin} cannot be used: {wrong[0]}",
                expected="a set that medistill distilled",
                do="repeat the run's command with another --out",
            )


def _read(value: object) -> object:
    return Provenance.read(value) if isinstance(value, Mapping) else value


StatedProvenance = Annotated[Provenance, BeforeValidator(_read)]
"""A provenance within another record, read as `Provenance.read` does."""
