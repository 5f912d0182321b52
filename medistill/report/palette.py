"""Palette: the report's inks. Figures are drawn in marks, which the style sheet colours for light and for dark."""

from __future__ import annotations

from typing import Any

from medistill.report.arm_style import ARM_STYLES

INK = "#010203"
MUTED = "#010204"
FAINT = "#010205"
ACCENT = "#010206"
MARGIN = "#010207"
PAPER = "#01020d"
INK_NAMES: dict[str, str] = {
    INK: "ink",
    MUTED: "muted",
    FAINT: "faint",
    ACCENT: "distilled",
    MARGIN: "mark",
    PAPER: "paper",
    **{style.mark: style.name for style in ARM_STYLES.values()},
}
"""Mark -> custom property of the style sheet. A mark is no colour: no other element of a figure uses it."""

CLASS_LINES: tuple[tuple[str, Any], ...] = (
    ("o", "solid"),
    ("s", (0, (6, 2.5))),
    ("^", (0, (1.4, 1.8))),
    ("v", (0, (6, 2, 1.4, 2))),
    ("P", (0, (3, 1.5))),
    ("X", (0, (10, 3))),
)
"""Shapes of points and line styles of classes that share a figure and its ink."""
