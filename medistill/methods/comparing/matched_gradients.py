"""Matched gradients: from a recipe's gradient matching to the engine's."""

from __future__ import annotations

from torch import Tensor

from medistill.artifacts.channels import per_channel
from medistill.artifacts.normalisation import Normalisation
from medistill.engine.coordinates import MomentumSGD
from medistill.engine.grey import GreySGD
from medistill.engine.inner_optimisers import MomentumSGD as NetworkMomentum
from medistill.engine.inner_optimisers import Rates
from medistill.engine.loops import Loops
from medistill.engine.objectives.gradient import GradientMatching
from medistill.engine.parameterisations.pixels import Pixels
from medistill.engine.sources.passes import ImagePasses, OriginalPasses
from medistill.methods.comparing.compare import Compared
from medistill.recipe import AugmentationRecipe
from medistill.recipe.gradients import GradientRecipe, LoopedGradientRecipe, RealGradientRecipe
from medistill.training.fresh_network import augmentation_of


def matched_gradients(
    compared: Compared, settings: GradientRecipe, *, summed: bool, convolutions: bool
) -> GradientMatching:
    """Return the objective of a method of the family.

    Args:
        compared: what it is made from.
        settings: of the method.
        summed: sum the gradients over the classes before they are compared.
        convolutions: compare the kernels of convolutions alone.
    """
    context = compared.context
    drawn = augmentation_of(context.spec, context.recipe)
    augmentation = drawn if settings.augment else AugmentationRecipe(operations=())
    return GradientMatching(
        loops=_loops(compared, settings, augmentation),
        originals=compared.originals,
        augmentation=augmentation,
        classes=context.spec.classes,
        seed=context.recipe.seed,
        device=context.device,
        distance=settings.distance,
        convolutions=convolutions,
        summed=summed,
    )


def grey_pixels(settings: GradientRecipe, start: Tensor, normalisation: Normalisation) -> Pixels:
    """Return images whose grey values move by SGD and stay between black and white.

    Args:
        settings: of the method.
        start: (N, C, H, W) the images before the first step, normalised.
        normalisation: of the images, without whitening.
    """
    mean, std = (per_channel(of, start) for of in (normalisation.mean, normalisation.std))
    return Pixels(start, GreySGD(MomentumSGD(settings.image_lr, settings.momentum), mean, std))


def _loops(compared: Compared, settings: GradientRecipe, augmentation: AugmentationRecipe) -> Loops:
    context = compared.context
    spec, seed, device = context.spec, context.recipe.seed, context.device
    networks = compared.fresh
    if isinstance(settings, LoopedGradientRecipe):
        passes = ImagePasses(settings.network_epochs, settings.network_batch, augmentation, seed)
        return Loops(networks, settings.loops, passes, rates=Rates(settings.network_lr))
    if isinstance(settings, RealGradientRecipe):
        return Loops(
            networks,
            settings.loops,
            OriginalPasses(
                context.corpus,
                compared.class_ids,
                settings.network_images,
                settings.network_batch,
                augmentation,
                compared.normalisation,
                spec.classes,
                seed,
                device,
                spec.encoder,
            ),
            NetworkMomentum(settings.network_weight_decay),
            Rates(settings.network_lr, settings.network_momentum),
        )
    return Loops(networks)
