"""The family of methods whose images are rendered for a frozen encoder."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from medistill.methods.base import Distilled, Facts, Method, Needs
from medistill.recipe.rendering import ComparedRecipe, RenderingRecipe

if TYPE_CHECKING:
    from torch import Tensor

    from medistill.artifacts.normalisation import Normalisation
    from medistill.artifacts.trajectories import Trajectories
    from medistill.engine.objectives.base import Objective
    from medistill.methods.rendering.matched import Compared
    from medistill.training.context import Context

Settings = TypeVar("Settings", bound=RenderingRecipe)
ComparedSettings = TypeVar("ComparedSettings", bound=ComparedRecipe)


class Rendering(Method[Settings]):
    """A method of the family: it says what it is called and cites, and what its images' features are brought to.

    Attributes:
        loss: what the loss of its outer steps tells, in a sentence.
        compared: what came of an outer step, as the end of "the images were then changed so that ...".
    """

    needs: ClassVar[Needs] = "nothing"
    family = "rendering from features"
    loss: ClassVar[str]
    compared: ClassVar[str]

    def facts(self, settings: Settings | None = None) -> Facts:
        shifted = "shifted by up to {jitter} of their side and " if settings is not None and settings.jitter else ""
        smooth = ", and so that their total variation fell (weight {smoothness})"
        return replace(
            super().facts(settings),
            outer_steps=True,
            loss=self.loss,
            steps="No network was trained to make them: the network is a linear probe on a frozen encoder, in whose "
            "features they were made. Each image is a pyramid of {levels} levels of grey values, which began as noise "
            f"about even grey. In each outer step ({{iterations}} in all) the images were {shifted}shown to the "
            f"encoder; they were then changed so that {self.compared}"
            f"{smooth if settings is None or settings.smoothness else ''}.",
        )

    def start(self, context: Context, class_ids: Sequence[int], count: int, normalisation: Normalisation) -> Tensor:
        from medistill.methods.rendering.render import started

        return started(context, self.settings_of(context.recipe), count, normalisation)


class ComparedRendering(Rendering[ComparedSettings]):
    """A method of the family whose images' features are compared with those of originals: it gives its objective."""

    @abstractmethod
    def objective(self, compared: Compared, context: Context, settings: ComparedSettings) -> Objective[Any]:
        """Return how features of images are compared with those of originals.

        Args:
            compared: what it compares with.
            context: of the run.
            settings: of the method.
        """

    def distil(
        self,
        context: Context,
        class_ids: Sequence[int],
        trajectories: Trajectories | None,
        origin: Mapping[str, Any],
    ) -> Distilled:
        from medistill.methods.rendering.matched import matched

        settings = self.settings_of(context.recipe)
        return matched(
            context, settings, class_ids, origin, lambda compared: self.objective(compared, context, settings)
        )
