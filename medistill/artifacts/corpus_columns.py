"""Columns of a corpus: what is known of each of its images, and what is known of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from medistill.artifacts.record import Record
from medistill.artifacts.text_check import TextCheck
from medistill.recipe import Unit


@dataclass(frozen=True)
class Columns:
    """What is known of each image: N values in each column, in the order of the images.

    Attributes:
        labels: index into the names of the classes.
        groups: patients, numbered from 0 without their identifiers; where no patient is known a group is a study, and
            where that is not known either an image.
        sites: index into the names of the sites.
        splits: index into `corpus.SPLITS`.
        views: short texts such as "PA", "AP", "" where not stated.
        sexes: "female", "male", "other", "" where not stated; empty where none is known.
        ages: bands of years such as "18 to 39", "" where not stated; likewise.
        group_units: what the group of each image is, where they differ; else empty, or all alike.
        studies: the study of each image, -1 where none is known; taken up only where groups differ.
    """

    labels: Sequence[int]
    groups: Sequence[int]
    sites: Sequence[int]
    splits: Sequence[int]
    views: Sequence[str]
    sexes: Sequence[str] = ()
    ages: Sequence[str] = ()
    group_units: Sequence[Unit] = ()
    studies: Sequence[int] = ()

    def of_rows(self, rows: Sequence[int]) -> Columns:
        """Return the same of some of the images."""
        kept: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        return Columns(**{name: [values[row] for row in rows] if len(values) else () for name, values in kept.items()})

    def table(self, split_unit: Unit) -> dict[str, Any]:
        """Return what the index of a corpus holds of them; columns in which nothing is known are left out.

        Args:
            split_unit: what a group is; where all are that, neither units nor studies are told.
        """
        differ = any(unit != split_unit for unit in self.group_units)
        stated = (("sexes", self.sexes), ("ages", self.ages))
        return {
            "labels": [int(label) for label in self.labels],
            "groups": [int(group) for group in self.groups],
            "sites": [int(site) for site in self.sites],
            "splits": [int(split) for split in self.splits],
            "views": list(self.views),
            **{name: list(texts) for name, texts in stated if any(texts)},
            **(
                {"group_units": list(self.group_units), "studies": [int(study) for study in self.studies]}
                if differ
                else {}
            ),
        }


class CorpusFacts(Record):
    """What is known of a corpus as a whole."""

    class_names: tuple[str, ...]
    site_names: tuple[str, ...]
    split_unit: Unit
    """What a group is: the weakest, where some are this and some that."""
    split_source: Literal["given", "drawn"]
    """"given" by the user, or "drawn" here."""
    synthetic: bool
    """Every file says that it is synthetic."""
    notes: tuple[str, ...]
    """Facts about the reading that the report must state."""
    text_check: TextCheck | None = None
    """How burnt-in text was looked for; None where it was not."""
