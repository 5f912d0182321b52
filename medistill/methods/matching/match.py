"""Match: follow the experts' trajectories with a few synthetic images per class."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from medistill.artifacts.tiles import of_each
from medistill.artifacts.trajectories import Trajectories
from medistill.engine.coordinates import Values
from medistill.engine.objectives.combined import Combined, Shares
from medistill.engine.objectives.stagewise import Stagewise
from medistill.engine.objectives.trajectory import TrajectoryMatching, student_lr
from medistill.engine.sources.windows import RandomWindows
from medistill.engine.student import Student
from medistill.errors import UsageError
from medistill.methods.base import Distilled
from medistill.methods.matching.problem import image_labels, moving_pixels, trajectory_matching
from medistill.methods.matching.stage_experts import StageExperts
from medistill.methods.matching.starting_logits import starting_logits
from medistill.methods.optimising.outer_run import OuterPlan, distilled, keep_history, run_outer_loop
from medistill.methods.optimising.problem import one_hot, outer_settings, stages, validation
from medistill.methods.optimising.start import start_digest, starting_images
from medistill.methods.unrolling.unroll import real_loss
from medistill.networks.registry import build_network
from medistill.recipe import Recipe, whole_matching
from medistill.recipe.unrolling import RealRecipe
from medistill.training.context import Context
from medistill.training.fresh_network import augmentation_of
from medistill.training.randomness import generator


def match(
    context: Context, trajectories: Trajectories, class_ids: Sequence[int], origin: Mapping[str, Any]
) -> Distilled:
    """Make the set that follows the experts best; its state lies in ``out/state``, whole after every checkpoint.

    Args:
        context: corpus, recipe, network and device, and the folder of the run.
        trajectories: the experts.
        class_ids: classes of the corpus that the set is to hold, ascending.
        origin: what it is made from, for the record of its making.

    Raises:
        DataError: a class has fewer training images than it needs (`Recipe.fewest_images`), or cannot be quantised as
            it should.
        DivergedError: the optimisation left the finite numbers; the last good state is kept.
    """
    start, labels, quantisation = context.ranks.first(
        lambda: starting_images(context, class_ids, trajectories.normalisation)
    )
    plan, groups = _plan(context, trajectories, start, labels)
    origin = {**origin, "experts": plan.made_from, "start": start_digest(start)}
    state = run_outer_loop(plan, context, origin)
    weighed = bool(state.history.figures.get("importance"))
    if context.ranks.leads:
        keep_history(state, context.out, {"importance": [], "importance_names": list(groups) if weighed else []})
    made = distilled(plan, state, origin)
    return replace(made, quantisation=quantisation, known={**made.known, "trajectories": trajectories.key})


def _plan(
    context: Context, trajectories: Trajectories, start: Tensor, labels: Tensor
) -> tuple[OuterPlan, Sequence[str]]:
    """Return what trajectory matching puts into the loop, and the names of the groups of W.

    Args:
        context: of the run.
        trajectories: the experts.
        start: (N, C, H, W) the images before the first step.
        labels: (N,) the class that each is made for.
    """
    recipe, spec, device = context.recipe, context.spec, context.device
    settings = whole_matching(recipe.method)
    real = settings.real
    network = build_network(spec, generator(recipe.seed, "student"), device)
    student = Student(network, recipe.compute.step, recipe.compute.graphs)
    logits = starting_logits(start, labels, trajectories, recipe, spec) if recipe.method.learns_labels else None
    matching = trajectory_matching(
        recipe, student, trajectories, augmentation_of(spec, recipe), device, ranks=context.ranks
    )
    objective: TrajectoryMatching | Combined | Stagewise = matching
    if settings.new_experts:
        _refuse_features(context)
        shown = of_each(stages(settings, labels), settings.tiles).to(device)
        objective = Stagewise(matching, shown, StageExperts(context, trajectories))
    if settings.asks_originals:
        class_ids, shares = tuple(labels.cpu().unique().tolist()), Shares(real.weight, real.begins, settings.iterations)
        windows = RandomWindows(0 if settings.importance.direction == "usefulness" else shares.first)
        normalisation, steps = trajectories.normalisation, settings.iterations
        originals = real_loss(context, real, student, normalisation, class_ids, steps, windows)
        objective = Combined(matching, originals, shares)
    plan = OuterPlan(
        settings=outer_settings(settings),
        objective=objective,
        parameterisation=moving_pixels(settings, start),
        labels=image_labels(settings, one_hot(labels, spec.classes), logits),
        stage=stages(settings, labels),
        student_lr=_rate(objective, real, recipe),
        normalisation=trajectories.normalisation,
        made_from=_experts_digest(trajectories) if recipe.privacy.mode == "dp" else trajectories.key,
        validation=validation(settings, recipe.privacy, labels),
        tiles=settings.tiles,
    )
    return plan, matching.groups.names


def _refuse_features(context: Context) -> None:
    """Refuse a probe, which sees other features of the images so far at every step.

    Raises:
        UsageError: the network is one.
    """
    if context.spec.encoder is not None:
        raise UsageError(
            "experts of a stage's own learn the images of former stages, and a probe is shown features",
            expected="a network that takes pixels",
            do="set method.new_experts=false, or choose another --network",
        )


def _rate(
    objective: TrajectoryMatching | Combined | Stagewise, real: RealRecipe, recipe: Recipe
) -> Callable[[Values], float]:
    """Return the learning rate to train on the images with, from the coordinates of the run."""
    if not isinstance(objective, Combined):
        return student_lr
    if real.learns_lr:
        return objective.student_lr
    return lambda learned: recipe.evaluate.lr if objective.by_real(learned) else student_lr(learned)


def _experts_digest(trajectories: Trajectories) -> str:
    """Return the SHA-256 over the experts themselves.

    Under differential privacy the store's key does not tell them apart: trained again they are others. Images that had
    followed both would have spent the budget twice.
    """
    digest = hashlib.sha256(trajectories.key.encode())
    for expert in range(trajectories.count):
        digest.update(trajectories.snapshot(expert, trajectories.epochs).tobytes())
    return digest.hexdigest()
