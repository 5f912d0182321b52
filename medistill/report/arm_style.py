"""Arm style: how an arm is called and drawn. The style sheet, the keys of tables and every figure follow from it.

What an arm is called stands with the arm (`medistill.recipe.arms`). One that has no look of its own here takes the next
of those that nobody has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import cycle

from medistill.recipe.arms import ARMS, HEADLINE, ArmName
from medistill.report.wording import listed

KEY_SCALE = 1.5
"""Length of a dash in the key of a table, in units of its length in a figure, where it is one of line widths."""
MARKER_PATHS: Mapping[str, str] = {
    "D": "M6 0l6 6-6 6-6-6z",
    "s": "M1 1h10v10H1z",
    "o": "M6 .5a5.5 5.5 0 1 1 0 11a5.5 5.5 0 1 1 0-11z",
    "^": "M6 0l6 11H0z",
    "v": "M6 12L0 1h12z",
    "<": "M0 6l11-6v12z",
    "P": "M4 0h4v4h4v4H8v4H4V8H0V4h4z",
    "X": "M3 0l3 3 3-3 3 3-3 3 3 3-3 3-3-3-3 3-3-3 3-3-3-3z",
}
"""matplotlib's name of a point -> the same as a path in a box of 12 by 12."""
_MARKS = 0x010210
"""First of the marks that stand for colours of arms; no other element of a figure uses these."""


@dataclass(frozen=True)
class Look:
    """How something is drawn, so that it differs from others with and without colour.

    Attributes:
        light: its colour on a light page.
        dark: its colour on a dark page.
        dash: lengths of dashes and gaps in line widths; empty for a solid line.
        marker: matplotlib's name of its point.
    """

    light: str
    dark: str
    dash: tuple[float, ...]
    marker: str


LOOKS: Mapping[ArmName, Look] = {
    "distilled": Look("#0072b2", "#56b4e9", (), "D"),
    "raw": Look("#2b2f33", "#dfe3e6", (6, 2.5), "s"),
    "random": Look("#c25400", "#e69f00", (1.4, 1.8), "o"),
    "kmeans": Look("#00795b", "#35c39a", (6, 2, 1.4, 2), "^"),
    "leverage": Look("#8a1c1c", "#ff9d8f", (4, 1.2, 1.2, 1.2), "<"),
    "hard": Look("#a04d86", "#d78bb8", (3, 1.5), "v"),
}
"""Arm -> its look. The colours are of Okabe and Ito's palette (2008), but for leverage, for which none was left."""
SPARE = (
    Look("#6b5b00", "#d9c84a", (8, 1.5, 1.4, 1.5, 1.4, 1.5), "P"),
    Look("#6a3fb0", "#b99aff", (10, 3), "X"),
)
"""For arms that `LOOKS` does not have."""


@dataclass(frozen=True)
class ArmStyle:
    """How an arm is called and drawn.

    Attributes:
        name: the arm.
        display_name: what a reader is shown.
        mark: stands for its colour in figures until the page colours them.
        look: how it is drawn.
    """

    name: ArmName
    display_name: str
    mark: str
    look: Look

    @property
    def line(self) -> str | tuple[int, tuple[float, ...]]:
        """The dashes as matplotlib takes them."""
        return (0, self.look.dash) if self.look.dash else "solid"

    @property
    def marker(self) -> str:
        """The point as matplotlib takes it."""
        return self.look.marker

    @property
    def key_dash(self) -> str:
        """The dashes of its key in a table, as an SVG takes them; empty for a solid line."""
        return " ".join(f"{KEY_SCALE * length:g}" for length in self.look.dash)

    @property
    def path(self) -> str:
        """Its point, as an SVG takes it."""
        return MARKER_PATHS[self.look.marker]


def styles_of(display_names: Mapping[ArmName, str]) -> Iterator[ArmStyle]:
    """A style for each arm, in this order; one that has no look takes a spare one, while there are some."""
    spare = cycle(SPARE)
    for k, (name, display_name) in enumerate(display_names.items()):
        yield ArmStyle(name, display_name, f"#{_MARKS + k:06x}", LOOKS.get(name) or next(spare))


ARM_STYLES: dict[ArmName, ArmStyle] = {
    style.name: style
    for style in styles_of({name: ARMS[name].display_name for name in dict.fromkeys((*HEADLINE, *ARMS))})
}
"""Arm -> its style, in the order in which arms are shown."""
BANDED: tuple[ArmName, ...] = ("raw", "distilled")
"""Arms whose curves have their intervals drawn; those of all would hide each other."""


def arm_name(arm: ArmName) -> str:
    """What a reader is shown for an arm."""
    return ARM_STYLES[arm].display_name


def arm_in_sentence(arm: ArmName) -> str:
    """The same within a sentence."""
    return ARM_STYLES[arm].display_name.lower()


def listed_by_arm(texts: Mapping[ArmName, str]) -> str:
    """What is said of each arm, in a sentence, in the order in which arms are shown."""
    return listed([f"{arm_in_sentence(arm)} {texts[arm]}" for arm in ARM_STYLES if arm in texts])


def arm_colours(scheme: str) -> str:
    """The arms' colours as custom properties of a style sheet, for the "light" or the "dark" page."""
    return " ".join(f"--{style.name}: {getattr(style.look, scheme)};" for style in ARM_STYLES.values())
