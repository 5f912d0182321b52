"""Labels: ``labels.csv``, a line an image, for those who read a set without medistill."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.label_kind import LabelKind
from medistill.sharing.previews import preview_name

LABELS = "labels.csv"
COLUMNS = ("index", "file", "class", "weight", "stage")
COLUMN_OF: dict[LabelKind, str] = {"probabilities": "probability", "values": "value"}
"""What soft labels are -> the first word of a column of them."""


def soft_column(class_name: str, kind: LabelKind) -> str:
    """Column with the probability, or the value, of a class, in a set with soft labels of classes."""
    return f"{COLUMN_OF[kind]} {class_name}"


def soft_classes(distilled: DistilledSet) -> Iterator[tuple[int, str]]:
    """Number and name of each class that has a column of soft labels: all or none. Target vectors, which are of no
    class and a thousand numbers an image, have none: they lie in ``images.safetensors`` alone."""
    if distilled.soft_labels is not None and not distilled.by_targets:
        yield from enumerate(distilled.class_names)


def labels_csv(distilled: DistilledSet) -> bytes:
    """UTF-8 with a heading: index, preview, class, weight in the loss, stage, and soft labels of classes where there
    are any.

    Numbers have the fewest digits that give the same float32 again.
    """
    text = io.StringIO()
    table, soft = csv.writer(text, lineterminator="\n"), distilled.soft_labels
    columns = [soft_column(name, distilled.label_kind) for _, name in soft_classes(distilled)]
    table.writerow([*COLUMNS, *columns])
    for k, label in enumerate(distilled.labels):
        fixed = [k, preview_name(k), distilled.class_names[label], str(distilled.weights[k]), int(distilled.stage[k])]
        table.writerow([*fixed, *(map(str, soft[k]) if soft is not None and columns else [])])
    return text.getvalue().encode()
