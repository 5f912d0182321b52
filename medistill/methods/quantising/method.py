"""The family of methods whose images are the centroids of a quantised corpus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from medistill.methods.base import Distilled, Facts, Method, Needs
from medistill.recipe.centroids import QuantisingRecipe

if TYPE_CHECKING:
    from medistill.artifacts.trajectories import Trajectories
    from medistill.training.context import Context

Settings = TypeVar("Settings", bound=QuantisingRecipe)


class Quantising(Method[Settings]):
    """A method of the family: it says what it is called and cites; its settings say what it does."""

    needs: ClassVar[Needs] = "nothing"
    family = "quantisation"

    def facts(self, settings: Settings | None = None) -> Facts:
        return replace(super().facts(settings), centroids=True)

    def train_together(self, context: Context, class_ids: Sequence[int]) -> None:
        """Train the teachers, after the leader has made the centroids: what cannot be quantised is refused first."""
        if not self.settings_of(context.recipe).learns_labels:
            return
        from medistill.methods.quantising.centroids import teaching_of
        from medistill.methods.quantising.quantise import quantise
        from medistill.methods.quantising.teacher import train_teachers
        from medistill.training.fitted_normalisation import fitted_normalisation

        context.ranks.lead(lambda: quantise(context, class_ids))
        seen = fitted_normalisation(context.corpus, context.recipe, context.progress)
        train_teachers(seen, context, teaching_of(context.recipe))

    def distil(
        self,
        context: Context,
        class_ids: Sequence[int],
        trajectories: Trajectories | None,
        origin: Mapping[str, Any],
    ) -> Distilled:
        from medistill.methods.quantising.centroids import centroid_set

        return centroid_set(context, class_ids, origin)
