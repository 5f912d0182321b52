"""Palette: the report's inks. Figures are drawn in marks, which the style sheet colours for light and for dark."""

from __future__ import annotations

from typing import Any

from medistill.evaluate.predictions import Arm

INK = "#010203"
MUTED = "#010204"
FAINT = "#010205"
ACCENT = "#010206"
MARGIN = "#010207"
PAPER = "#01020d"
ARM_INKS: dict[Arm, str] = {
    "distilled": "#010208",
    "raw": "#010209",
    "random": "#01020a",
    "kmeans": "#01020b",
    "hard": "#01020c",
}
"""Marks, not colours: no other element of a figure uses them."""

INK_NAMES: dict[str, str] = {
    INK: "ink",
    MUTED: "muted",
    FAINT: "faint",
    ACCENT: "distilled",
    MARGIN: "mark",
    PAPER: "paper",
    **{ink: arm for arm, ink in ARM_INKS.items()},
}
"""Mark -> custom property of the style sheet. The arms' colours there are of Okabe and Ito's palette (2008)."""

ARM_DASHES: dict[Arm, Any] = {
    "distilled": "solid",
    "raw": (0, (6, 2.5)),
    "random": (0, (1.4, 1.8)),
    "kmeans": (0, (6, 2, 1.4, 2)),
    "hard": (0, (3, 1.5)),
}
"""Line styles, so that the arms differ without colour."""

ARM_MARKERS: dict[Arm, str] = {"distilled": "D", "raw": "s", "random": "o", "kmeans": "^", "hard": "v"}
"""Shapes of points, likewise."""

CLASS_LINES: tuple[tuple[str, Any], ...] = (
    ("o", "solid"),
    ("s", (0, (6, 2.5))),
    ("^", (0, (1.4, 1.8))),
    ("v", (0, (6, 2, 1.4, 2))),
    ("P", (0, (3, 1.5))),
    ("X", (0, (10, 3))),
)
"""Shapes of points and line styles of classes that share a figure and its ink."""

BANDED: tuple[Arm, ...] = ("raw", "distilled")
"""Arms whose curves have their intervals drawn; those of all would hide each other."""
