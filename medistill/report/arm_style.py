"""Arm style: how an arm is called and drawn. The style sheet, the keys of tables and every figure follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from medistill.evaluate.predictions import Arm
from medistill.report.wording import listed

KEY_SCALE = 1.5
"""Length of a dash in the key of a table, in units of its length in a figure, where it is one of line widths."""
MARKER_PATHS: Mapping[str, str] = {
    "D": "M6 0l6 6-6 6-6-6z",
    "s": "M1 1h10v10H1z",
    "o": "M6 .5a5.5 5.5 0 1 1 0 11a5.5 5.5 0 1 1 0-11z",
    "^": "M6 0l6 11H0z",
    "v": "M6 12L0 1h12z",
}
"""matplotlib's name of a point -> the same as a path in a box of 12 by 12."""


@dataclass(frozen=True)
class ArmStyle:
    """How an arm is called and drawn.

    Attributes:
        name: the arm.
        display_name: what a reader is shown.
        mark: stands for its colour in figures until the page colours them; no other element uses it.
        light: its colour on a light page. The colours are of Okabe and Ito's palette (2008).
        dark: its colour on a dark page.
        dash: lengths of dashes and gaps in line widths, so that arms differ without colour; empty for a solid line.
        marker: matplotlib's name of its point, likewise.
    """

    name: Arm
    display_name: str
    mark: str
    light: str
    dark: str
    dash: tuple[float, ...]
    marker: str

    @property
    def line(self) -> str | tuple[int, tuple[float, ...]]:
        """The dashes as matplotlib takes them."""
        return (0, self.dash) if self.dash else "solid"

    @property
    def key_dash(self) -> str:
        """The dashes of its key in a table, as an SVG takes them; empty for a solid line."""
        return " ".join(f"{KEY_SCALE * length:g}" for length in self.dash)

    @property
    def path(self) -> str:
        """Its point, as an SVG takes it."""
        return MARKER_PATHS[self.marker]


ARM_STYLES: dict[Arm, ArmStyle] = {
    style.name: style
    for style in (
        ArmStyle("distilled", "Distilled images", "#010208", "#0072b2", "#56b4e9", (), "D"),
        ArmStyle("raw", "All originals", "#010209", "#2b2f33", "#dfe3e6", (6, 2.5), "s"),
        ArmStyle("random", "Random originals", "#01020a", "#c25400", "#e69f00", (1.4, 1.8), "o"),
        ArmStyle("kmeans", "Chosen originals", "#01020b", "#00795b", "#35c39a", (6, 2, 1.4, 2), "^"),
        ArmStyle("hard", "Distilled, hard labels", "#01020c", "#a04d86", "#d78bb8", (3, 1.5), "v"),
    )
}
"""Arm -> its style, in the order in which arms are shown."""
BANDED: tuple[Arm, ...] = ("raw", "distilled")
"""Arms whose curves have their intervals drawn; those of all would hide each other."""


def arm_name(arm: Arm) -> str:
    """What a reader is shown for an arm."""
    return ARM_STYLES[arm].display_name


def arm_in_sentence(arm: Arm) -> str:
    """The same within a sentence."""
    return ARM_STYLES[arm].display_name.lower()


def listed_by_arm(texts: Mapping[Arm, str]) -> str:
    """What is said of each arm, in a sentence, in the order in which arms are shown."""
    return listed([f"{arm_in_sentence(arm)} {texts[arm]}" for arm in ARM_STYLES if arm in texts])


def arm_colours(scheme: str) -> str:
    """The arms' colours as custom properties of a style sheet, for the "light" or the "dark" page."""
    return " ".join(
        f"--{style.name}: {style.light if scheme == 'light' else style.dark};" for style in ARM_STYLES.values()
    )
