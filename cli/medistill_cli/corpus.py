"""The corpus that a command works on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medistill.artifacts.corpus import Corpus
    from medistill.data.selection import Purpose
    from medistill.progress import Progress
    from medistill.recipe import Recipe

ADDRESS = re.compile(r"dicomweb\+(https?):/+(.*)")
"""What --data is where it names a DICOMweb service. A path makes one slash of the two."""


def read_corpus(
    data: Path | None, labels: Path | None, recipe: Recipe, progress: Progress, purpose: Purpose = "learn"
) -> Corpus:
    """Read what --data and --labels name, to learn from it or to test on it; without --data the built-in corpus."""
    from medistill.workflow.built_in_corpus import built_in_corpus
    from medistill.workflow.prepare import prepare

    folder, labels = on_disk(data, labels, progress)
    read = built_in_corpus(progress) if folder is None else folder
    return prepare(read, recipe, labels=labels, purpose=purpose, progress=progress)


def folder_of(data: Path | None, labels: Path | None, progress: Progress) -> Path:
    """Where the files lie that `read_corpus` has read."""
    from medistill.workflow.built_in_corpus import built_in_corpus

    folder, _ = on_disk(data, labels, progress)
    return built_in_corpus(progress) if folder is None else folder


def on_disk(data: Path | None, labels: Path | None, progress: Progress) -> tuple[Path | None, Path | None]:
    """The folder and the table: as they are, or fetched where --data is ``dicomweb+https://...``."""
    address = ADDRESS.fullmatch(str(data))
    if address is None:
        return data, labels
    from medistill.errors import UsageError
    from medistill.workflow.pull import pull

    if labels is None:
        raise UsageError(
            "--data names a PACS, and there is no --labels",
            expected="a table with a column StudyInstanceUID or SOPInstanceUID, and one for the class",
            do="add --labels table.csv: it says which images are fetched, and their classes",
        )
    pulled = pull(f"{address[1]}://{address[2]}", labels, progress=progress)
    return pulled.folder, pulled.labels
