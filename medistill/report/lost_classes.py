"""Lost classes: those that networks on the distilled images find far less often than networks on all originals."""

from __future__ import annotations

from medistill.evaluate.evaluation import Evaluation
from medistill.report.wording import class_label, counted, percent

FAR = 0.1
"""Share of a class's images from which a fall is far."""

MOST_TOLD = 4
"""Classes that are named; the others are counted."""


def lost_classes(evaluation: Evaluation) -> tuple[str, ...]:
    """A sentence on each class whose share of images that are put there falls by `FAR` or more, the largest fall first.

    A mean over the classes can hide one, and the rare class of a corpus is often the disease.
    """
    distilled, raw = evaluation.arm("distilled"), evaluation.arm("raw")
    if distilled is None or raw is None:
        return ()
    falls = []
    rows = zip(evaluation.class_names, evaluation.class_patients, distilled.confusion, raw.confusion, strict=True)
    for c, (name, patients, mine, theirs) in enumerate(rows):
        if mine and theirs and theirs[c] - mine[c] >= FAR - 1e-9:
            falls.append(
                (
                    theirs[c] - mine[c],
                    f"{class_label(name)} is found far less often: {percent(mine[c], 0)} of its test images, "
                    f"{percent(theirs[c], 0)} by networks trained on all originals "
                    f"({counted(patients, 'test patient')}).",
                )
            )
    sentences = [said for _, said in sorted(falls, key=lambda entry: -entry[0])]
    more = len(sentences) - MOST_TOLD
    rest = f"{counted(more, 'more class', 'more classes')} {'is' if more == 1 else 'are'} found far less often."
    return (*sentences[:MOST_TOLD], *([rest] if more > 0 else []))
