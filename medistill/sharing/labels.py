"""Labels: ``labels.csv``, a line an image, for those who read a set without medistill."""

from __future__ import annotations

import csv
import io

from medistill.artifacts.distilled_set import DistilledSet
from medistill.sharing.previews import preview_name

LABELS = "labels.csv"
COLUMNS = ("index", "file", "class", "weight", "stage")


def soft_column(class_name: str) -> str:
    """Column with the probability of a class, in a set with soft labels."""
    return f"probability {class_name}"


def labels_csv(distilled: DistilledSet) -> bytes:
    """UTF-8 with a heading: index, preview, class, weight in the loss, stage, and probabilities where there are any.

    Numbers have the fewest digits that give the same float32 again.
    """
    text = io.StringIO()
    table, soft = csv.writer(text, lineterminator="\n"), distilled.soft_labels
    table.writerow([*COLUMNS, *([] if soft is None else map(soft_column, distilled.class_names))])
    for k, label in enumerate(distilled.labels):
        fixed = [k, preview_name(k), distilled.class_names[label], str(distilled.weights[k]), int(distilled.stage[k])]
        table.writerow([*fixed, *([] if soft is None else map(str, soft[k]))])
    return text.getvalue().encode()
