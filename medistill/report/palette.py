"""Palette: the report's inks. Figures are drawn in marks, which the style sheet colours for light and for dark."""

from __future__ import annotations

from typing import Any

from medistill.evaluate.predictions import Arm

INK = "#010203"
MUTED = "#010204"
FAINT = "#010205"
ACCENT = "#010206"
MARGIN = "#010207"
ARM_INKS: dict[Arm, str] = {"distilled": "#010208", "raw": "#010209", "random": "#01020a"}
"""Marks, not colours: no other element of a figure uses them."""

INK_NAMES: dict[str, str] = {
    INK: "ink",
    MUTED: "muted",
    FAINT: "faint",
    ACCENT: "distilled",
    MARGIN: "mark",
    ARM_INKS["distilled"]: "distilled",
    ARM_INKS["raw"]: "raw",
    ARM_INKS["random"]: "random",
}
"""Mark -> custom property of the style sheet. The arms' colours there are of Okabe and Ito's palette (2008)."""

ARM_DASHES: dict[Arm, Any] = {"distilled": "solid", "raw": (0, (6, 2.5)), "random": (0, (1.4, 1.8))}
"""Line styles, so that the arms differ without colour."""
