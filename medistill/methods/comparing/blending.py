"""The family of methods that compare images in the eyes of networks between their start and their end."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, TypeVar

from medistill.methods.comparing.method import Comparing
from medistill.recipe.comparing import BlendingRecipe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medistill.engine.objectives.base import Objective
    from medistill.engine.objectives.compared_features import ComparedFeatures
    from medistill.engine.parameterisations.base import Parameterisation
    from medistill.engine.sources.blend import BlendedNetworks
    from medistill.methods.comparing.compare import Compared, Sockets
    from medistill.training.context import Context

Settings = TypeVar("Settings", bound=BlendingRecipe)


def blending_steps(compared: str) -> str:
    """Say what the outer steps of such a method do.

    Args:
        compared: what they bring closer, as the end of "so that ...".
    """
    return (
        "Networks were trained on the originals of the training split first. In each outer step ({iterations} in all) "
        "one whose parameters lie between its start and its end, at random, was shown the distilled images and up to "
        "{batch_real} originals of each class, augmented alike; the distilled images were then changed so that "
        f"{compared}, and so that the network at its end took them for their classes."
    )


class Blending(Comparing[Settings]):
    """A method of it: it says what it is called and cites, and gives the distance of features."""

    family = "distribution matching"

    @abstractmethod
    def features(self, compared: Compared, settings: Settings, networks: BlendedNetworks) -> ComparedFeatures:
        """Return the distance of features.

        Args:
            compared: what it can be made from.
            settings: of the method.
            networks: source of the networks in whose eyes they are compared.
        """

    def train_together(self, context: Context, class_ids: Sequence[int]) -> None:
        """Train the networks in whose eyes images are compared."""
        from medistill.methods.comparing.trained_networks import trained_networks
        from medistill.training.fitted_normalisation import fitted_normalisation

        normalisation = fitted_normalisation(context.corpus, context.recipe, context.progress)
        trained_networks(context, class_ids, normalisation, self.settings_of(context.recipe).trained)

    def parameterisation(self, compared: Compared, settings: Settings) -> Parameterisation:
        """Return what the images are made of: pixels that move by SGD."""
        return compared.pixels()

    def objective(self, compared: Compared, settings: Settings) -> Objective[Any]:
        return self.sockets(compared, settings).objective

    def sockets(self, compared: Compared, settings: Settings) -> Sockets:
        from medistill.methods.comparing.blended import blended

        return blended(
            compared,
            settings,
            lambda networks: self.features(compared, settings, networks),
            self.parameterisation(compared, settings),
        )
