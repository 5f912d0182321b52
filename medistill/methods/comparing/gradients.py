"""The family of methods that compare the gradients of a network on the images with those on originals."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, TypeVar

from medistill.methods.comparing.method import Comparing
from medistill.recipe.gradients import GradientRecipe

if TYPE_CHECKING:
    from medistill.engine.objectives.gradient import GradientMatching
    from medistill.methods.comparing.compare import Compared

Settings = TypeVar("Settings", bound=GradientRecipe)

COMPARED = (
    "In each outer step ({iterations} in all) a network was shown the distilled images and up to {batch_real} "
    "originals of each class; the distilled images were then changed so that the gradients of their cross-entropy in "
    "the network's weights came closer to those of the originals."
)

LOOPED = (
    "A network was compared with for {loops} outer steps, between which it trained for {network_epochs} passes on the "
    "distilled images, and was then replaced by one with fresh random parameters."
)


class GradientFamily(Comparing[Settings]):
    """A method of that family.

    Attributes:
        summed: gradients are summed over the classes before they are compared.
        convolutions: kernels of convolutions alone are compared.
    """

    family = "gradient matching"
    loss = "How far the gradients of a network on the images are from those on originals."
    summed: ClassVar[bool] = False
    convolutions: ClassVar[bool] = False

    def objective(self, compared: Compared, settings: Settings) -> GradientMatching:
        from medistill.methods.comparing.matched_gradients import matched_gradients

        return matched_gradients(compared, settings, summed=self.summed, convolutions=self.convolutions)
