"""Named figures: the estimates of a record, each with its name in words."""

from __future__ import annotations

from collections.abc import Iterator

from medistill.evaluate.intervals import Estimate


def figures_of(record: object, *names: str) -> Iterator[tuple[str, Estimate]]:
    """The named estimates of a record, with words for their names."""
    for name in names:
        yield in_words(name), getattr(record, name)


def in_words(name: str) -> str:
    """What the name of a figure in a record says: "macro AUC"."""
    return name.replace("_", " ").replace("auc", "AUC").replace("ppv", "PPV").replace("npv", "NPV").replace("f1", "F1")
