"""From a recipe's outer loop to the engine: what every method with outer steps tells it alike."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from medistill.engine.coordinates import MomentumSGD
from medistill.engine.parameterisations.pixels import Pixels
from medistill.engine.problem import OuterSettings
from medistill.errors import DataError
from medistill.methods.optimising.outer_run import ValidationSettings
from medistill.recipe import Nested, OuterStepsRecipe, PrivacyRecipe, SharpSteps
from medistill.training.stages import image_stages


def outer_settings(settings: OuterStepsRecipe) -> OuterSettings:
    """Return how long the outer loop runs and what it does on the way."""
    return OuterSettings(
        iterations=settings.iterations,
        stages=settings.stage_count,
        former=settings.former_lr if isinstance(settings, Nested) else 0.0,
        together=isinstance(settings, Nested),
        sharpness=settings.sharpness if isinstance(settings, SharpSteps) else 0.0,
        ema=settings.ema,
        validate_every=settings.validate_every,
        checkpoint_every=settings.checkpoint_every,
    )


def pixels(lr: float, momentum: float, start: Tensor) -> Pixels:
    """Return images that move by their pixels, by SGD with momentum, from ``start`` (N, C, H, W)."""
    return Pixels(start, MomentumSGD(lr, momentum))


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Return the class of each image as probabilities of 0 and 1, float32 (N, classes)."""
    return F.one_hot(labels, classes).float()


def stages(settings: OuterStepsRecipe, labels: Tensor) -> Tensor:
    """Return the stage in which each image moves, int64 (N,); ``labels`` (N,) lie class by class.

    Raises:
        DataError: the first images of each class are to be a set, and a class has none for each stage.
    """
    counts = _counts(labels)
    fewest = min(counts)
    if isinstance(settings, Nested) and fewest < settings.stages:
        raise DataError(
            f"a class has {fewest} images for {settings.stages} stages, since it has no more centroids",
            expected="an image of each class in every stage",
            do=f"lower method.stages to {fewest}, or set method.init = real or noise",
        )
    return image_stages(counts, settings.stage_count).to(labels.device)


def validation(settings: OuterStepsRecipe, privacy: PrivacyRecipe, labels: Tensor) -> ValidationSettings | None:
    """Return how images are scored on the validation split; None where it is not to be looked at.

    Of one class there is no figure to choose by; under differential privacy to choose would have to be paid for.
    """
    if len(_counts(labels)) < 2 or (privacy.mode == "dp" and privacy.choose == "off"):
        return None
    return ValidationSettings(settings.validate_networks, settings.validate_epochs, settings.keep_looks)


def _counts(labels: Tensor) -> list[int]:
    """Return how many images each class has that has any."""
    return [count for count in torch.bincount(labels.cpu()).tolist() if count]
