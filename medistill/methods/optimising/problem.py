"""From a recipe's outer loop to the engine: what every method with outer steps tells it alike."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from medistill.engine.coordinates import MomentumSGD
from medistill.engine.parameterisations.pixels import Pixels
from medistill.engine.problem import OuterSettings
from medistill.methods.optimising.outer_run import ValidationSettings
from medistill.recipe import OuterLoopRecipe, PrivacyRecipe, SharpSteps
from medistill.training.stages import image_stages


def outer_settings(settings: OuterLoopRecipe) -> OuterSettings:
    """Return how long the outer loop runs and what it does on the way."""
    return OuterSettings(
        iterations=settings.iterations,
        stages=settings.stage_count,
        sharpness=settings.sharpness if isinstance(settings, SharpSteps) else 0.0,
        ema=settings.ema,
        validate_every=settings.validate_every,
        checkpoint_every=settings.checkpoint_every,
    )


def pixels(settings: OuterLoopRecipe, start: Tensor) -> Pixels:
    """Return images that move by their pixels, from ``start`` (N, C, H, W)."""
    return Pixels(start, MomentumSGD(settings.image_lr, settings.momentum))


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Return the class of each image as probabilities of 0 and 1, float32 (N, classes)."""
    return F.one_hot(labels, classes).float()


def stages(settings: OuterLoopRecipe, labels: Tensor) -> Tensor:
    """Return the stage in which each image moves, int64 (N,); ``labels`` (N,) lie class by class."""
    return image_stages(_counts(labels).tolist(), settings.stage_count).to(labels.device)


def validation(settings: OuterLoopRecipe, privacy: PrivacyRecipe, labels: Tensor) -> ValidationSettings | None:
    """Return how images are scored on the validation split; None where it is not to be looked at.

    Of one class there is no figure to choose by; under differential privacy to choose would have to be paid for.
    """
    if len(_counts(labels)) < 2 or (privacy.mode == "dp" and privacy.choose == "off"):
        return None
    return ValidationSettings(settings.validate_networks, settings.validate_epochs, settings.keep_looks)


def _counts(labels: Tensor) -> Tensor:
    """Return how many images each class has that has any."""
    counts = torch.bincount(labels)
    return counts[counts > 0]
