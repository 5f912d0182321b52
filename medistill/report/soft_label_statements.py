"""What soft labels say of patients whose label was made wrong, in words: asked and found, or why it was not asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from medistill.privacy.membership import LabelTest, SoftLabels, Source
from medistill.report.blocks import Block, Prose
from medistill.report.table import Column, Row, table
from medistill.report.text import Missing

LABELLERS: Mapping[Source, str] = {
    "distilled": "Soft labels of the shadows",
    "raw": "Networks that learnt from all originals",
}
"""Who says what of the canaries."""
HOW = (
    "The soft labels of each shadow are asked about every canary: how much more they say its wrong class than its own, "
    "over all images, of each class those near the canary first, beside what they say near other patients. If they "
    "carry no patient's label, those of shadows that hold the canary say it no more than those of shadows that do not. "
    "The chance is exact: that of coins. Beside it stand networks that learnt the wrong labels by heart."
)


def soft_label_blocks(found: SoftLabels) -> Iterator[Block]:
    """The test and its control, or why there is none."""
    if found.reason:
        yield Prose(f"Whether the soft labels repeat wrong ones was not asked, because {found.reason}.")
        return
    yield Prose(HOW)
    yield table(
        "Soft labels near canaries",
        (
            Column("Who says the wrong class"),
            Column("Canaries", "count"),
            Column("Shadows", "count"),
            Column("Shadows with and without told apart", "number"),
            Column("Chance of as well", "number"),
        ),
        tuple(map(_row, found.tests)),
    )


def _row(test: LabelTest) -> Row:
    return (
        LABELLERS.get(test.source, test.source),
        test.canaries,
        test.shadows,
        Missing("every shadow held every canary, or none did") if test.told_apart is None else test.told_apart,
        Missing("all say the same") if test.chance is None else test.chance,
    )
