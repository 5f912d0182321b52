"""The picture of the page on choosing a method: `python docs/charts.py` writes it anew into docs/assets.

Its figures are the rows of the ledger's table of every method at one budget, so that none is written twice. Like the
pictures of docs/maps.py it is as wide as a telephone, takes its colours from the page, and says in words what it shows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from maps import ASSETS, ROOT, svg, text

LEDGER = ROOT / "docs" / "benchmarks" / "index.md"
SECTION, TABLE = "## The families at an equal budget", "**COVID or not within raddb, 10 images a class**"
ALL_ORIGINALS = re.compile(r"all [\d,]+ originals: (\.\d+)")
LEFT, RIGHT, STEP, TOP = 136, 296, 19, 58
"""Where the axis begins and ends, how far rows are apart, and where the first one is."""
LOW, HIGH, TICKS = 0.52, 1.0, (0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        name: of the method, or of the originals that were chosen.
        area: macro AUC.
        low: of its 95 % interval.
        high: likewise.
        seconds: of the processor that making took; None where nothing was made.
    """

    name: str
    area: float
    low: float
    high: float
    seconds: int | None


def rows() -> tuple[list[Row], float]:
    """The rows of the table, the best first, and what all originals give."""
    section = LEDGER.read_text(encoding="utf-8").split(SECTION, 1)[1].split(TABLE, 1)[1]
    said, _, table = section.partition("\n\n")
    found = []
    for line in table.split("\n\n", 1)[0].splitlines()[2:]:
        name, _, area, _, seconds = (cell.strip() for cell in line.strip("|").split("|")[:5])
        numbers = re.fullmatch(r"([\d.]+) \(([\d.]+) to ([\d.]+)\)", area)
        if numbers is None:
            raise SystemExit(f"{LEDGER}: the area of {name} reads {area!r}.")
        found.append(Row(name.replace("`", ""), *map(float, numbers.groups()), int(seconds) if seconds else None))
    everything = ALL_ORIGINALS.search(said)
    if everything is None:
        raise SystemExit(f"{LEDGER}: the head of the table does not say what all originals give: {said!r}.")
    return sorted(found, key=lambda row: -row.area), float(everything[1])


def pictures() -> dict[str, str]:
    """Name of each picture -> its SVG."""
    return {"methods.svg": draw_methods(*rows())}


def draw_methods(shown: Sequence[Row], everything: float) -> str:
    """A dot and its interval for each method, beside the seconds that it took.

    Args:
        shown: from top to bottom.
        everything: macro AUC of all originals.
    """
    bottom = TOP + STEP * len(shown)
    parts = [text(LEFT, 14, "macro AUC, 95 % interval", "verb"), text(RIGHT + 12, 14, "made in", "verb")]
    parts += [text(across(tick) - 9, 34, f"{tick:.1f}") for tick in TICKS]
    parts += [_line(across(tick), 38, across(tick), bottom, "way faint") for tick in TICKS]
    parts += [_line(across(everything), 38, across(everything), bottom, "way dotted")]
    for k, row in enumerate(shown):
        y = TOP + STEP * k
        parts += [text(2, y + 4, row.name), _line(across(row.low), y, across(row.high), y, "way")]
        parts += [f'<circle class="head" cx="{across(row.area):g}" cy="{y:g}" r="4"/>']
        parts += [] if row.seconds is None else [text(RIGHT + 12, y + 4, f"{row.seconds} s")]
    parts += [text(LEFT, bottom + 14, f"dotted: all originals, {everything:.3f}", "verb")]
    said = "; ".join(f"{row.name} {row.area:.3f} ({row.low:.3f} to {row.high:.3f})" for row in shown)
    title = "Every method in 90 processor seconds: ten images a class, COVID or not"
    return svg("methods", bottom + 22, title, f"All originals {everything:.3f}. {said}.", parts)


def across(area: float) -> float:
    """Where an area lies on the axis."""
    return round(LEFT + (RIGHT - LEFT) * (area - LOW) / (HIGH - LOW), 1)


def _line(x0: float, y0: float, x1: float, y1: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x0:g}" y1="{y0:g}" x2="{x1:g}" y2="{y1:g}"/>'


if __name__ == "__main__":
    for name, picture in pictures().items():
        (ASSETS / name).write_text(picture, encoding="utf-8")
