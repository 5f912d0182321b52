"""The family of methods that match the trajectories of experts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from medistill.errors import UsageError
from medistill.methods.base import Distilled, Facts, Method, Needs
from medistill.recipe.matching import MatchingRecipe, whole_matching

if TYPE_CHECKING:
    from medistill.artifacts.trajectories import Trajectories
    from medistill.training.context import Context

Settings = TypeVar("Settings", bound=MatchingRecipe)


class TrajectoryMatching(Method[Settings]):
    """A method of the family: it says what it is called and cites; its settings say what it does."""

    needs: ClassVar[Needs] = "experts"
    family = "trajectory matching"

    def facts(self, settings: Settings | None = None) -> Facts:
        return replace(
            super().facts(settings),
            experts=True,
            outer_steps=True,
            learned_lr=True,
            loss="How far a network trained on the images ends from one trained on the originals.",
        )

    def pieces(self, settings: Settings) -> int:
        """The segments of a step; of matching in which each segment goes on from the one before, or which asks the
        originals as well, one."""
        whole = whole_matching(settings)
        return 1 if whole.kept.threshold or whole.asks_originals else whole.segments

    def begin(self, context: Context, class_ids: Sequence[int]) -> None:
        if context.recipe.method.starts_from == "quantised":
            from medistill.methods.quantising.quantise import quantise

            quantise(context, class_ids)

    def distil(
        self,
        context: Context,
        class_ids: Sequence[int],
        trajectories: Trajectories | None,
        origin: Mapping[str, Any],
    ) -> Distilled:
        from medistill.methods.matching.match import match

        if trajectories is None:
            raise UsageError(
                f"method {context.recipe.method.name} follows experts, and none were given",
                expected="their trajectories",
                do="call train_experts with this corpus and recipe, and give its result",
            )
        return match(context, trajectories, class_ids, origin)
