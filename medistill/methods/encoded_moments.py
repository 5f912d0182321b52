"""Encoded moments: images with the mean and the main directions of each class in the features of a frozen encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from medistill.methods.base import Distilled
from medistill.methods.rendering.method import Rendering
from medistill.recipe.rendering import RenderingRecipe
from medistill.recipe.section import Count, Positive

if TYPE_CHECKING:
    from medistill.artifacts.trajectories import Trajectories
    from medistill.training.context import Context


class Settings(RenderingRecipe):
    """Encoded moments: images with the mean and the main directions of each class in the features of an encoder."""

    name: Literal["encoded-moments"] = "encoded-moments"
    covariance: Literal["class", "pooled"] = "pooled"
    """Whose directions are taken: those in which a class spreads, or in which all spread about their own means."""
    reach: Positive = 1.0
    """Times the deviation along a direction that the images show; at 1 they have the covariance of originals."""
    min_patients: Count = 20
    """Fewest patients (images, where no patient is known) who make a mean or a direction, each counted by what is
    theirs of it, so that one who is far from all others makes none."""


class EncodedMoments(Rendering[Settings]):
    """Mean and covariance of each class, rendered."""

    settings_type = Settings
    display_name = "encoded-moments"
    phrase = "rendering of points with the mean and the covariance of a class (sigma points; Julier and Uhlmann 1997)"
    citation = (
        "Julier and Uhlmann 1997",
        "Julier SJ, Uhlmann JK. New extension of the Kalman filter to nonlinear systems. Signal Processing, Sensor "
        "Fusion, and Target Recognition VI, SPIE 1997. doi:10.1117/12.280797.",
    )
    loss = "How far the features of the images are from the points that they were rendered from."
    compared = (
        "the features of each came closer to its point: the mean of its class, {reach} times further along one of the "
        "main directions ({covariance} covariance) than the deviation there, to one side or the other"
    )

    def distil(
        self,
        context: Context,
        class_ids: Sequence[int],
        trajectories: Trajectories | None,
        origin: Mapping[str, Any],
    ) -> Distilled:
        from medistill.methods.rendering.moments import rendered_moments

        settings = self.settings_of(context.recipe)
        return rendered_moments(
            context,
            settings,
            covariance=settings.covariance,
            reach=settings.reach,
            min_patients=settings.min_patients,
            class_ids=class_ids,
            origin=origin,
        )


METHOD = EncodedMoments()
