"""Which encoder a recipe means that names none for its probe or as its teacher: the only one of this machine."""

from __future__ import annotations

from medistill.encoders.store import encoder_named
from medistill.networks.own import NetworkFactory
from medistill.recipe import Recipe


def with_encoder(recipe: Recipe, network: NetworkFactory | None = None) -> Recipe:
    """The recipe, with the SHA-256 of the only encoder in the cache where it has a probe and names no encoder.

    Every verb that takes a recipe asks this first, so that what is stored names the encoder that was used.

    Args:
        network: the user's own, which stands in place of the recipe's.

    Raises:
        UsageError: there is no encoder, or more than one to choose from.
    """
    if network is not None or recipe.network.name != "probe" or recipe.network.encoder:
        return recipe
    return recipe.model_copy(update={"network": recipe.network.model_copy(update={"encoder": encoder_named("")})})


def with_teacher(recipe: Recipe) -> Recipe:
    """The recipe, with the SHA-256 of the only encoder in the cache where its method is taught by one and names none.

    Every verb that makes a set asks this first, so that the set names its teacher.

    Raises:
        UsageError: there is no encoder, or more than one to choose from.
    """
    if recipe.method.taught_by != "":
        return recipe
    return recipe.model_copy(update={"method": recipe.method.model_copy(update={"teacher": encoder_named("")})})
