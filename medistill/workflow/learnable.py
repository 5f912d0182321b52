"""Learnable: whether a corpus has what networks are trained, chosen and tested on."""

from __future__ import annotations

from medistill.artifacts.corpus import Corpus
from medistill.errors import DataError
from medistill.workflow.file_fates import refusals


def why_unlearnable(corpus: Corpus) -> DataError | None:
    """Why nothing can be learnt on a corpus; None where something can."""
    counts = corpus.counts()
    present = [name for c, name in enumerate(corpus.class_names) if (corpus.labels == c).any()]
    refused = refusals(corpus.manifest)
    if len(present) < 2:
        count = len(corpus.labels)
        return DataError(
            f"only one class was found: {', '.join(present)} ({count} image{'s' * (count != 1)}{refused})",
            expected="at least two classes to tell apart",
            do="add images of another class, or check the folders, the table and --classes",
        )
    for split, of_split in counts.items():
        empty = [name for name, count in of_split.items() if count == 0]
        if empty:
            return DataError(
                f"class {empty[0]} has no images in the {split} split{refused}",
                expected="at least one patient of every class in each of train, val and test",
                do="add patients of that class, correct the given splits, or leave the class out with --classes",
            )
    return None


def refuse_unlearnable(corpus: Corpus) -> None:
    """Refuse a corpus on which nothing can be learnt.

    Raises:
        DataError: it has one class alone, or a class is missing from a split.
    """
    if (error := why_unlearnable(corpus)) is not None:
        raise error
