"""Confusion: what is taken for what, a matrix for each arm."""

from __future__ import annotations

from collections.abc import Iterator

from medistill.evaluate.evaluation import ArmResult, Evaluation
from medistill.report.arm_style import arm_in_sentence
from medistill.report.blocks import Beside, Block, Downloads, Prose
from medistill.report.section import Section
from medistill.report.table import Column, Row, Shaded, Span, Table, table
from medistill.report.text import Unavailable, Value
from medistill.report.view import ReportView
from medistill.report.wording import class_label, number

ROOMY = 4
"""Classes from which on a matrix is set in small letters."""


def section(view: ReportView) -> Section:
    """The confusion matrices."""
    return Section(
        "confusion",
        "What is taken for what",
        tuple(_blocks(view)),
        contents="Confusion",
        data=(
            table(
                "confusion",
                (Column("arm"), Column("true class"), Column("put into"), Column("share", "number")),
                tuple(_rows(view.evaluation)),
                caption="Share of the test images of each class put into each class, mean over the networks.",
            ),
        ),
    )


def _blocks(view: ReportView) -> Iterator[Block]:
    yield Prose(
        "Of the test images of each class (row), the share in percent that is put into each class (column), mean over "
        "the networks. Right answers are on the diagonal, in bold."
    )
    if view.few_classes:
        yield Beside(tuple(_matrix(arm, view.evaluation.class_names) for arm in view.arms.values()), "matrices")
    else:
        yield Prose(f"With {len(view.evaluation.class_names)} classes, the matrices are too large for a page.")
    yield Downloads(("confusion",))


def _matrix(arm: ArmResult, names: tuple[str, ...]) -> Table:
    return table(
        f"Confusion matrix, {arm_in_sentence(arm.arm)}",
        (Column("True class"), *(Column(class_label(name), "count") for name in names)),
        tuple(
            (class_label(names[c]), *(_shares(row, c) if row else (Span(len(names), Unavailable("no test image")),)))
            for c, row in enumerate(arm.confusion)
        ),
        caption=Value("arm", arm.arm),
        style="confusion many" if len(names) > ROOMY else "confusion",
    )


def _shares(row: tuple[float, ...], true: int) -> tuple[Shaded, ...]:
    return tuple(Shaded(share, number(100 * share, 1), strong=c == true) for c, share in enumerate(row))


def _rows(evaluation: Evaluation) -> Iterator[Row]:
    names = evaluation.class_names
    for arm in evaluation.arms:
        for true, row in zip(names, arm.confusion, strict=True):
            for put, share in zip(names, row or (None,) * len(names), strict=True):
                yield (arm.arm, true, put, share)
