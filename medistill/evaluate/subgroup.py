"""A subgroup: the test images that share a trait, and what each arm is worth on them."""

from __future__ import annotations

from dataclasses import dataclass

from medistill.artifacts.corpus import Trait
from medistill.evaluate.intervals import Estimate
from medistill.recipe.arms import ArmName


@dataclass(frozen=True)
class SubgroupArm:
    """One arm in a subgroup.

    Attributes:
        arm: the arm.
        accuracy: share of the subgroup's test images put in their class.
        macro_auc: mean area under the ROC curve over the classes that have one in the subgroup.
    """

    arm: ArmName
    accuracy: Estimate
    macro_auc: Estimate


@dataclass(frozen=True)
class Subgroup:
    """The test images that share a trait.

    Attributes:
        trait: "site", "view", "sex" or "age".
        name: its value, as "PA"; "not stated" where nothing says it.
        images: test images; None where the cell is too small to be shown.
        patients: test patients; None likewise.
        classes: the classes that have an area under the ROC curve here.
        arms: one entry an arm; empty where suppressed.
        difference: distilled minus raw in ``macro_auc``.
        reason: why nothing is shown; else empty.
    """

    trait: Trait
    name: str
    images: int | None
    patients: int | None
    classes: tuple[str, ...]
    arms: tuple[SubgroupArm, ...]
    difference: Estimate
    reason: str
