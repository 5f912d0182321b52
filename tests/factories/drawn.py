"""What a report draws, section by section, for tests of its figures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from medistill.report.blocks import Beside, Block, Drawing, Figure, Fold
from medistill.report.record import Report
from medistill.report.sections import sections
from medistill.report.svg import inline_svg
from medistill.report.view import ReportView


def drawings(report: Report) -> dict[str, dict[str, str]]:
    """Section -> name of a figure -> the figure as SVG."""
    return {of.anchor: dict(svgs(of.blocks)) for of in sections(ReportView(report))}


def svgs(blocks: Iterable[Block | Drawing]) -> Iterator[tuple[str, str]]:
    """Name and SVG of every figure in blocks, however deep."""
    for block in blocks:
        if isinstance(block, Drawing):
            yield block.name, inline_svg(block.draw(), block.name, block.description)
        elif isinstance(block, Figure):
            yield from svgs(part for part in block.parts if isinstance(part, Drawing))
        elif isinstance(block, Beside | Fold):
            yield from svgs(block.blocks)
