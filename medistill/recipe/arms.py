"""Arms: on what the networks of an evaluation are trained, beside each other, one line each.

Whatever deals with arms reads this list: the recipe which controls it may ask for, the evaluation what it trains, the
report and the command line what they call it. An arm of originals is chosen by one of the ways that
`medistill.evaluate.originals_choice` knows; one that is chosen in a new way needs that way there, and its line here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

Images = Literal["all originals", "as many originals", "the set", "the set with hard labels"]


@dataclass(frozen=True)
class Arm:
    """One kind of training images.

    Attributes:
        name: in recipes, records and names of files.
        display_name: in tables and legends.
        description: in a sentence.
        images: which images: the whole training split; as many of its images of each class as the set has, or all where
            there are fewer; the set's own, with its labels as they are or with classes for labels.
        chosen: by which way originals are chosen; empty for the set's own images.
        headline: whether tables that have room for few arms show it.
    """

    name: ArmName
    display_name: str
    description: str
    images: Images
    chosen: str = ""
    headline: bool = False

    @property
    def of_the_set(self) -> bool:
        """Whether its images are the set's own; those of the others are originals."""
        return self.images.startswith("the set")


ARMS = {
    arm.name: arm
    for arm in (
        Arm("raw", "All originals", "all originals", "all originals", "whole split", headline=True),
        Arm(
            "random",
            "Random originals",
            "originals drawn at random, anew for each network",
            "as many originals",
            "at random",
            headline=True,
        ),
        Arm(
            "kmeans",
            "Chosen originals",
            "originals chosen by k-means, nearest to the centres within each class",
            "as many originals",
            "k-means",
        ),
        Arm(
            "leverage",
            "Originals by leverage",
            "originals drawn by their ridge leverage within each class, and weighted by the inverse of their chance",
            "as many originals",
            "leverage",
        ),
        Arm("hard", "Distilled, hard labels", "the distilled images with hard labels", "the set with hard labels"),
        Arm("distilled", "Distilled images", "the distilled images", "the set", headline=True),
    )
}
"""Every arm by its name, in the order in which results are shown."""
OF_THE_SET = tuple(name for name, arm in ARMS.items() if arm.of_the_set)
"""Names of the arms whose images are the set's own."""
CONTROLS = tuple(name for name in ARMS if name not in OF_THE_SET)
"""Names of the arms that the set is compared with: those of originals."""
HEADLINE = ("distilled", *(name for name, arm in ARMS.items() if arm.headline and name != "distilled"))
"""Names of the arms in tables that have room for few, the set first."""

if TYPE_CHECKING:
    ArmName = str
    ControlArm = str
else:
    ArmName = Literal[tuple(ARMS)]
    """Name of an arm, as records and their published schema have it."""
    ControlArm = Literal[CONTROLS]
    """Name of an arm that a recipe may ask for."""
