"""Study list: the table of labels for images in a PACS, which names them by their DICOM UIDs."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medistill.data.cells import read_cells
from medistill.data.columns import comparable, usual
from medistill.data.dicomweb import UID
from medistill.errors import DataError

STUDY = ("studyinstanceuid", "study_instance_uid", "study_uid")
INSTANCE = ("sopinstanceuid", "sop_instance_uid", "sop_uid", "instance_uid")
"""Names of the columns, in any case."""


@dataclass(frozen=True)
class Wanted:
    """What a row names: a whole study, an image, or an image by both UIDs; "" where it does not say."""

    study: str
    instance: str


@dataclass(frozen=True)
class StudyList:
    """The table.

    Attributes:
        wanted: what each row names.
        header: names of the other columns, those left out that could name a file.
        cells: the other cells of each row.
    """

    wanted: tuple[Wanted, ...]
    header: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]

    def by_files(self, found: Mapping[Wanted, Sequence[str]]) -> str:
        """The table as CSV with a row a file in place of the UIDs.

        Args:
            found: SOP Instance UIDs of what a row names; nothing where the PACS has none of it.
        """
        written = io.StringIO(newline="")
        rows = csv.writer(written, lineterminator="\n")
        rows.writerow(["file", *self.header])
        for number, (wanted, cells) in enumerate(zip(self.wanted, self.cells, strict=True), start=2):
            files = [file_of(instance) for instance in found.get(wanted, ())] or [f"row {number} of the table"]
            rows.writerows([file, *cells] for file in files)
        return written.getvalue()


def file_of(instance: str) -> str:
    """Name of the file for a SOP Instance UID: a one-way hash."""
    return f"{hashlib.sha256(instance.encode()).hexdigest()[:32]}.dcm"


def read_study_list(table: Path) -> StudyList:
    """Read the table.

    Raises:
        DataError: it cannot be read, has no column of UIDs, or a row names nothing.
    """
    header, rows, _ = read_cells(table)
    lowered = [comparable(name) for name in header]
    study, instance = (
        next((lowered.index(name) for name in names if name in lowered), None) for names in (STUDY, INSTANCE)
    )
    if study is None and instance is None:
        raise DataError(
            f"{table} has no column of UIDs",
            expected="a column StudyInstanceUID or SOPInstanceUID, since images in a PACS have no file names",
            do="add one of them beside the column of classes",
        )
    wanted = []
    for number, row in enumerate(rows, start=2):
        said = Wanted(*("" if column is None else row[column].strip() for column in (study, instance)))
        if not (said.study or said.instance) or any(
            uid and not UID.fullmatch(uid) for uid in (said.study, said.instance)
        ):
            raise DataError(
                f"row {number} of {table} names no study and no image",
                expected="a DICOM UID: numbers with dots between them, 64 characters at most",
                do="correct that row, or take it out",
            )
        wanted.append(said)
    kept = [k for k, name in enumerate(lowered) if k not in (study, instance) and name not in usual("file")]
    return StudyList(tuple(wanted), tuple(header[k] for k in kept), tuple(tuple(row[k] for k in kept) for row in rows))
