"""Render: images optimised until a frozen encoder sees given features in them, by the one outer loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from medistill.artifacts.making import array_digest
from medistill.artifacts.normalisation import Normalisation
from medistill.encoders.encoder import Encoder
from medistill.engine.coordinates import Adam, UpdateRule, Waiting
from medistill.engine.labels import GivenLabels, HardLabels
from medistill.engine.objectives.base import Objective
from medistill.engine.objectives.encoded import Encoded
from medistill.engine.objectives.feature_targets import FeatureTargets
from medistill.engine.objectives.smooth import Smooth
from medistill.engine.parameterisations.base import Parameterisation
from medistill.engine.parameterisations.pyramid import Pyramid, sides
from medistill.errors import RecipeError
from medistill.methods.base import Distilled
from medistill.methods.optimising.outer_run import OuterPlan, distilled, keep_history, run_outer_loop
from medistill.methods.optimising.problem import one_hot, outer_settings, stages, validation
from medistill.methods.optimising.start import start_digest
from medistill.methods.rendering.encoder import encoder_of
from medistill.quantisation.record import Quantisation
from medistill.recipe import AugmentationRecipe
from medistill.recipe.rendering import RenderingRecipe
from medistill.training.context import Context
from medistill.training.randomness import generator


def render(
    context: Context,
    settings: RenderingRecipe,
    targets: Tensor,
    matrix: Tensor | None,
    labels: Tensor,
    origin: Mapping[str, Any],
    *,
    normalisation: Normalisation,
    soft_labels: Tensor | None = None,
    weights: Tensor | None = None,
    quantisation: Quantisation | None = None,
    look: bool = True,
) -> Distilled:
    """Optimise images until their features are the targets.

    Args:
        context: recipe, network and device, and the folder of the run; its network is a probe.
        settings: of the images and of how they move.
        targets: (N, K), one for each image, class by class.
        matrix: (D, K) that features are multiplied by before they are compared; None compares them as they are, K = D.
        labels: int64 (N,), the class of each image.
        origin: what the set is made from, for the record of its making.
        normalisation: of the images.
        soft_labels: (N, classes) probabilities to train on; None takes the classes.
        weights: (N,) of the images in the loss of networks trained on them, mean 1; None weighs all alike.
        quantisation: of what centroids the targets are; None where they are none.
        look: whether the validation split chooses the outer step. False never touches the corpus, neither its images
            nor what was made of them: what the images are then follows from the arguments and the seed alone.

    Raises:
        RecipeError: the network is no probe, or targets, matrix and encoder do not fit each other.
        DivergedError: the optimisation left the finite numbers; the last good state is kept.
    """
    encoder, device = encoder_of(context), context.device
    targets, matrix = targets.to(device), None if matrix is None else matrix.to(device)
    labels = labels.to(device)
    _refuse_misfits(targets, matrix, labels, encoder)
    plan = rendering_plan(
        context,
        settings,
        FeatureTargets(targets.float(), None if matrix is None else matrix.float()),
        labels,
        normalisation,
        made_from=_digest(targets, matrix, labels, soft_labels, weights),
        soft_labels=None if soft_labels is None else soft_labels.to(device).float(),
        weights=None if weights is None else weights.to(device).float(),
        look=look,
    )
    return rendered(plan, context, origin, quantisation)


def rendering_plan(
    context: Context,
    settings: RenderingRecipe,
    objective: Objective[Any],
    labels: Tensor,
    normalisation: Normalisation,
    *,
    made_from: str,
    soft_labels: Tensor | None = None,
    weights: Tensor | None = None,
    look: bool = True,
) -> OuterPlan:
    """Return what rendering puts into the outer loop, for any objective of features.

    Args:
        context: as for `render`, and so are the others that it has too.
        objective: of features (N, D), which it sees in the place of pixels.
        made_from: tells what the run follows from all else that it could.
    """
    recipe, encoder = context.recipe, encoder_of(context)
    classes = one_hot(labels, context.spec.classes)
    seen = Encoded(objective, encoder.to(context.device), normalisation, _views(settings), recipe.seed)
    return OuterPlan(
        settings=outer_settings(settings),
        objective=Smooth(seen, settings.smoothness, normalisation),
        parameterisation=_pyramid(context, settings, len(labels), normalisation),
        labels=HardLabels(classes) if soft_labels is None else GivenLabels(classes, soft_labels),
        stage=stages(settings, labels),
        student_lr=lambda learned: recipe.evaluate.lr,
        normalisation=normalisation,
        made_from=made_from,
        validation=validation(settings, recipe.privacy, labels) if look else None,
        weights=weights,
    )


def rendered(
    plan: OuterPlan, context: Context, origin: Mapping[str, Any], quantisation: Quantisation | None = None
) -> Distilled:
    """Run the outer loop of a plan, and return what it made.

    Args:
        plan: as `rendering_plan` gives it.
        context: of the run.
        origin: what the set is made from, for the record of its making.
        quantisation: of what centroids the targets are; None where they are none.
    """
    origin = {**origin, "experts": "", "start": start_digest(_begun(plan.parameterisation))}
    state = run_outer_loop(plan, context, origin)
    keep_history(state, context.out, {})
    return distilled(plan, state, origin, quantisation)


def started(context: Context, settings: RenderingRecipe, count: int, normalisation: Normalisation) -> Tensor:
    """Return the images of a run before its first outer step, (N, C, H, W).

    Args:
        context: as for `render`, and so is ``settings``.
        count: images, N.
        normalisation: of them.
    """
    return _begun(_pyramid(context, settings, count, normalisation))


def _begun(parameterisation: Parameterisation) -> Tensor:
    return parameterisation.render({name: one.start for name, one in parameterisation.coordinates().items()})


def _views(settings: RenderingRecipe) -> AugmentationRecipe:
    """Return how images are shifted before the encoder sees them."""
    return AugmentationRecipe(operations=("crop",) if settings.jitter else (), mode="all", crop=settings.jitter)


def _pyramid(context: Context, settings: RenderingRecipe, count: int, normalisation: Normalisation) -> Pyramid:
    """Return the images at their start: even grey with a little noise on every level."""
    spec, rng, start = context.spec, generator(context.recipe.seed, "noise"), []
    for side in sides(spec.image_size, settings.levels):
        noise = torch.randn(count, spec.channels, side, side, generator=rng)
        start.append((settings.start_noise * noise).to(context.device))
    return Pyramid(start, _rules(settings), normalisation)


def _rules(settings: RenderingRecipe) -> list[UpdateRule]:
    """Return how each level moves, the finest first; it begins the later the finer it is, where they wait."""
    rules: list[UpdateRule] = []
    for level in range(settings.levels):
        waits = int(
            settings.unlocked * settings.iterations * (settings.levels - 1 - level) / max(1, settings.levels - 1)
        )
        adam = Adam(settings.image_lr, steps=settings.iterations - waits)
        rules.append(Waiting(adam, waits) if waits else adam)
    return rules


def _digest(
    targets: Tensor, matrix: Tensor | None, labels: Tensor, soft_labels: Tensor | None, weights: Tensor | None
) -> str:
    """Return what tells these targets from others."""
    given = {"targets": targets, "matrix": matrix, "labels": labels, "soft_labels": soft_labels, "weights": weights}
    return array_digest({name: one.detach().cpu().numpy() for name, one in given.items() if one is not None})


def _refuse_misfits(targets: Tensor, matrix: Tensor | None, labels: Tensor, encoder: Encoder) -> None:
    compared = encoder.dimension if matrix is None else matrix.shape[1]
    fits = targets.shape == (len(labels), compared) and (matrix is None or len(matrix) == encoder.dimension)
    if not fits:
        by = "" if matrix is None else f" and a matrix {tuple(matrix.shape)}"
        raise RecipeError(
            f"targets {tuple(targets.shape)}{by} for {len(labels)} images and {encoder.dimension} features of the "
            f"encoder {encoder.display_name}",
            expected="a target for each image, of as many numbers as the space has that they are compared in",
            do="use targets that were made with this very encoder",
        )
    finite = bool(torch.isfinite(targets).all()) and (matrix is None or bool(torch.isfinite(matrix).all()))
    if not finite:
        raise RecipeError(
            "targets or a matrix with NaN or infinite values",
            expected="finite numbers",
            do="make them again from features that are finite",
        )
