"""Blended: images compared in the eyes of networks between their start and their end, and asked for their classes by
the latter."""

from __future__ import annotations

from collections.abc import Callable

from medistill.engine.objectives.class_term import ClassTerm
from medistill.engine.objectives.compared_features import ComparedFeatures
from medistill.engine.objectives.summed import Summed
from medistill.engine.parameterisations.base import Parameterisation
from medistill.engine.sources.blend import BlendedNetworks, TrainedNetworks
from medistill.methods.comparing.compare import Compared, Sockets
from medistill.methods.comparing.trained_networks import trained_networks
from medistill.recipe.comparing import BlendingRecipe


def blended(
    compared: Compared,
    settings: BlendingRecipe,
    features: Callable[[BlendedNetworks], ComparedFeatures],
    parameterisation: Parameterisation,
) -> Sockets:
    """Train the networks, or read those of an earlier call, and return what such a method puts into the outer loop.

    Args:
        compared: what it is made from.
        settings: of the method.
        features: makes the distance of features from the source of the networks.
        parameterisation: what the images are made of.

    Raises:
        DivergedError: one of the networks left the finite numbers.
    """
    context = compared.context
    ends, digest = trained_networks(context, compared.class_ids, compared.normalisation, settings.trained)
    whose = (context.spec, ends, context.recipe.seed, context.device)
    distance = features(BlendedNetworks(*whose))
    term = ClassTerm(
        networks=TrainedNetworks(*whose),
        augmentation=context.recipe.augmentation,
        classes=context.spec.classes,
        seed=context.recipe.seed,
        weight=settings.class_weight,
    )
    parts = (distance, term) if settings.class_weight else (distance,)
    return Sockets(Summed(parts), parameterisation, compared.classes(), made_from=digest)
