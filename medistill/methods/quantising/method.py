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

    def distil(
        self,
        context: Context,
        class_ids: Sequence[int],
        trajectories: Trajectories | None,
        origin: Mapping[str, Any],
    ) -> Distilled:
        from medistill.methods.quantising.centroids import centroid_set

        return centroid_set(context, class_ids, origin)
