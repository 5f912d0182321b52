"""Summaries: what the report says of the distilled set and of the corpus, in counts and words alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from medistill.artifacts.corpus import Split
from medistill.artifacts.encoder_summary import EncoderSummary
from medistill.artifacts.patched_summary import PatchedSummary
from medistill.artifacts.quantised_summary import QuantisedSummary
from medistill.errors import first_complaint
from medistill.methods.base import Facts
from medistill.methods.registry import facts_of
from medistill.privacy.accounting import Guarantee
from medistill.privacy.spent import Spent
from medistill.recipe import Unit

Summary = TypeVar("Summary", "CorpusSummary", "SetSummary")


@dataclass(frozen=True)
class PartSummary:
    """A set that was united with others into one, by which of the originals it was made from.

    Attributes:
        first: index of its first image in the united set.
        images: how many images it has.
        drawn: how the originals were drawn that it began as; empty where at random, or where it did not begin as any.
        pruned: share of each class that was left out for its loss; 0 where nothing was.
        thinned: share of the others that was left out for its effect; likewise.
    """

    first: int
    images: int
    drawn: Literal["leverage", "distance", ""] = ""
    pruned: float = 0.0
    thinned: float = 0.0


@dataclass(frozen=True)
class SetSummary:
    """The distilled set.

    Attributes:
        images: how many images it has.
        ipc: images per class, of the largest class.
        shape: of one image, (channels, height, width).
        student_lr: the learning rate to train with.
        method: name of the method in capitals, as "IADD"; empty where not known.
        starts_from: "real", "noise", "quantised" (means of several patients' images) or "patches" (parts of them);
            empty where not known.
        chosen_step: the outer step whose images were kept; None where not known, or where there is none.
        training_images: class -> real images that it was distilled from.
        training_groups: how many patients (or studies, or images) these are of; None where not known.
        split_unit: "patient", "study" or "image"; empty where not known.
        synthetic_source: whether the source was synthetic itself; None where not known.
        privacy: what was, and was not, done for privacy.
        files: file -> SHA-256.
        guarantee: its differential privacy; None where it has none.
        spent: what was spent in all on the same people, as far as its maker knows; None where it does not say.
        uneven: some class has fewer images than ``ipc``.
        quantised: the centroids that its images are, or began as; None where there are none or it does not say.
        patched: the patches that its images are; None where there are none or it does not say.
        encoder: the frozen encoder whose features its network takes; None where that sees pixels.
        teacher: the frozen encoder whose features its target vectors come from; None where it has none.
        tiles: parts of each side of a stored image, each enlarged to a whole image to train on.
        pruned: class -> training images that were left out for their loss or effect; empty where none were.
        parts: the sets that it was united from; empty where it was not.
    """

    images: int
    ipc: int
    shape: tuple[int, ...]
    student_lr: float
    method: str
    starts_from: str
    chosen_step: int | None
    training_images: Mapping[str, int]
    training_groups: int | None
    split_unit: Unit | Literal[""]
    synthetic_source: bool | None
    privacy: str
    files: Mapping[str, str]
    guarantee: Guarantee | None = None
    spent: Spent | None = None
    uneven: bool = False
    quantised: QuantisedSummary | None = None
    patched: PatchedSummary | None = None
    encoder: EncoderSummary | None = None
    tiles: int = 1
    pruned: Mapping[str, int] = field(default_factory=dict)
    teacher: EncoderSummary | None = None
    parts: tuple[PartSummary, ...] = ()

    @property
    def shown(self) -> int:
        """Images that networks are trained on: those that are stored, or all their tiles."""
        return self.images * self.tiles**2

    def checked(self) -> SetSummary:
        """The same, where every field is of its kind and every name one that is known.

        Raises:
            ValueError: it names the field.
        """
        return _checked(self)

    @property
    def facts(self) -> Facts:
        """What is said of its method."""
        return facts_of(self.method)


@dataclass(frozen=True)
class CorpusSummary:
    """The corpus, as `Corpus` describes it, in counts alone.

    Attributes:
        sites: names of the sites.
        counts: split -> class -> images.
        counts_by_site: site -> class -> images.
        patients: split -> patients (or studies, or images, where ``split_unit`` says so).
        found: files found.
        refused: category -> files refused for it.
        split_unit: "patient", "study" or "image"; the weakest, where not all images are alike in it.
        split_source: "given" or "drawn".
        synthetic: every file says that it is synthetic.
        notes: facts about the reading.
        text_by: what looked for burnt-in text; empty where it was not looked for.
        text_policy: "mask" or "quarantine"; empty where it was not looked for.
        text_masked: images in which text was masked.
    """

    sites: tuple[str, ...]
    counts: Mapping[Split, Mapping[str, int]]
    counts_by_site: Mapping[str, Mapping[str, int]]
    patients: Mapping[Split, int]
    found: int
    refused: Mapping[str, int]
    split_unit: Unit
    split_source: Literal["given", "drawn"]
    synthetic: bool
    notes: tuple[str, ...]
    text_by: str = ""
    text_policy: str = ""
    text_masked: int = 0

    def checked(self) -> CorpusSummary:
        """The same, where every field is of its kind and every name one that is known.

        Raises:
            ValueError: it names the field.
        """
        checked = _checked(self)
        if lacking := [split for split in checked.counts if split not in checked.patients]:
            raise ValueError(f"patients: there is no number for {', '.join(lacking)}")
        return checked

    @property
    def classes_of_one_site(self) -> tuple[str, ...]:
        """Classes that come from a single one of several sites: a network can tell them by the site alone."""
        if len(self.counts_by_site) < 2:
            return ()
        names = next(iter(self.counts_by_site.values()))
        return tuple(
            name for name in names if sum(of_site.get(name, 0) > 0 for of_site in self.counts_by_site.values()) == 1
        )

    @property
    def sites_of_one_class(self) -> tuple[str, ...]:
        """Those of several sites that have images of a single one of several classes."""
        if len(self.counts_by_site) < 2 or any(len(of_site) < 2 for of_site in self.counts_by_site.values()):
            return ()
        return tuple(
            site for site, of_site in self.counts_by_site.items() if sum(images > 0 for images in of_site.values()) == 1
        )

    @property
    def accepted(self) -> int:
        """Images in the corpus."""
        return sum(sum(of_split.values()) for of_split in self.counts.values())


def _checked(summary: Summary) -> Summary:
    try:
        return TypeAdapter(type(summary)).validate_python(asdict(summary))
    except ValidationError as error:
        raise ValueError(first_complaint(error)) from None
