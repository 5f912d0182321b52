"""The schedule by which experts are trained."""

from __future__ import annotations

from medistill.recipe.experts import FlatExpertsRecipe
from medistill.training.loop import Schedule


def expert_schedule(settings: FlatExpertsRecipe) -> Schedule:
    """Return how long and how fast."""
    return Schedule(
        settings.epochs,
        settings.batch_size,
        settings.lr,
        settings.momentum,
        settings.weight_decay,
        sharpness=settings.sharpness,
        surrogate_gap=settings.surrogate_gap,
    )
