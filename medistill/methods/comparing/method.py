"""The families of methods that compare their images with originals in every outer step."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from medistill.methods.base import Distilled, Facts, Method, Needs
from medistill.recipe.comparing import ComparingRecipe

if TYPE_CHECKING:
    from medistill.artifacts.trajectories import Trajectories
    from medistill.engine.objectives.base import Objective
    from medistill.methods.comparing.compare import Compared, Sockets
    from medistill.training.context import Context

Settings = TypeVar("Settings", bound=ComparingRecipe)


class Comparing(Method[Settings]):
    """A method of such a family: it says what it is called and cites, and gives its objective.

    Attributes:
        loss: what the loss of its outer steps tells, in a sentence.
        steps: what its outer steps do, in sentences of a methods section, in which settings of the method stand as
            ``{iterations}``.
    """

    needs: ClassVar[Needs] = "nothing"
    loss: ClassVar[str]
    steps: ClassVar[str]

    def facts(self, settings: Settings | None = None) -> Facts:
        return replace(super().facts(settings), outer_steps=True, loss=self.loss, steps=self.steps)

    @abstractmethod
    def objective(self, compared: Compared, settings: Settings) -> Objective[Any]:
        """Return what the images are compared with, and how.

        Args:
            compared: what it can be made from.
            settings: of the method.
        """

    def sockets(self, compared: Compared, settings: Settings) -> Sockets:
        """Return all that it puts into the outer loop: its objective, pixels that move by SGD, classes as labels.

        Args:
            compared: what they can be made from.
            settings: of the method.
        """
        from medistill.methods.comparing.compare import Sockets

        return Sockets(self.objective(compared, settings), compared.pixels(), compared.classes())

    def distil(
        self,
        context: Context,
        class_ids: Sequence[int],
        trajectories: Trajectories | None,
        origin: Mapping[str, Any],
    ) -> Distilled:
        from medistill.methods.comparing.compare import compare

        settings = self.settings_of(context.recipe)
        return compare(context, settings, class_ids, origin, lambda compared: self.sockets(compared, settings))
