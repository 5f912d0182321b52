"""PAD: datm with experts on easy images first, matched in deep layers."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from medistill.methods.matching.method import TrajectoryMatching
from medistill.recipe.experts import FlatExpertsRecipe, SelectedExpertsRecipe, SelectionRecipe
from medistill.recipe.matching import Deep, GrowingStart, MatchingRecipe
from medistill.recipe.outer_loop import LearnedLabels
from medistill.recipe.section import Fraction


class Selection(SelectionRecipe):
    """Which training images experts see when: easy ones first, and later without the easiest."""

    start_share: Annotated[float, Field(gt=0, le=1)] = 0.75
    drop_first: Fraction = 0.1
    drop_last: Fraction = 0.2


class Settings(LearnedLabels, GrowingStart, Deep, MatchingRecipe):
    """PAD: datm with experts on easy images first, matched in deep layers."""

    OWN: ClassVar[tuple[str, ...]] = (
        "labels",
        "start_growth",
        "depth",
        "selection.start_share",
        "selection.drop_first",
        "selection.drop_last",
    )

    name: Literal["pad"] = "pad"
    labels: Literal["hard", "soft"] = "soft"
    start_growth: Fraction = 0.5
    depth: Fraction = 0.5
    selection: Selection = Selection()
    experts: FlatExpertsRecipe = FlatExpertsRecipe()

    @property
    def followed(self) -> FlatExpertsRecipe:
        chosen = SelectionRecipe(**self.selection.model_dump())
        return SelectedExpertsRecipe(**self.experts.model_dump(), selection=chosen)


class Pad(TrajectoryMatching[Settings]):
    """Prioritised alignment (PAD; Li et al., arXiv:2408.03360)."""

    settings_type = Settings
    display_name = "PAD"
    phrase = "prioritised alignment of trajectories (PAD; Li et al., arXiv:2408.03360)"
    citation = (
        "Li et al., arXiv:2408.03360",
        "Li Z, Guo Z, Zhao W, Zhang T, Cheng ZQ, Khaki S, Zhang K, Sajedi A, Plataniotis KN, Wang K, You Y. Prioritize "
        "alignment in dataset distillation. 2024. arXiv:2408.03360.",
    )


METHOD = Pad()
