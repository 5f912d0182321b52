"""Match: follow the experts' trajectories with a few synthetic images per class."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from medistill.artifacts.trajectories import Trajectories
from medistill.engine.objectives.trajectory import student_lr
from medistill.engine.student import Student
from medistill.methods.base import Distilled
from medistill.methods.matching.problem import image_labels, trajectory_matching
from medistill.methods.matching.starting_logits import starting_logits
from medistill.methods.optimising.outer_run import OuterPlan, distilled, keep_history, run_outer_loop
from medistill.methods.optimising.problem import one_hot, outer_settings, pixels, stages, validation
from medistill.methods.optimising.start import start_digest, starting_images
from medistill.networks.registry import build_network
from medistill.recipe import whole_matching
from medistill.training.context import Context
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
    start, labels, quantisation = starting_images(context, class_ids, trajectories.normalisation)
    plan, groups = _plan(context, trajectories, start, labels)
    origin = {**origin, "experts": plan.made_from, "start": start_digest(start)}
    state = run_outer_loop(plan, context, origin)
    weighed = bool(state.history.figures.get("importance"))
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
    student = Student(build_network(spec, generator(recipe.seed, "student"), device), recipe.compute.step)
    logits = starting_logits(start, labels, trajectories, recipe, spec) if recipe.method.learns_labels else None
    objective = trajectory_matching(recipe, student, trajectories, device)
    plan = OuterPlan(
        settings=outer_settings(settings),
        objective=objective,
        parameterisation=pixels(settings, start),
        labels=image_labels(recipe, one_hot(labels, spec.classes), logits),
        stage=stages(settings, labels),
        student_lr=student_lr,
        normalisation=trajectories.normalisation,
        made_from=_experts_digest(trajectories) if recipe.privacy.mode == "dp" else trajectories.key,
        validation=validation(settings, recipe.privacy, labels),
    )
    return plan, objective.groups.names


def _experts_digest(trajectories: Trajectories) -> str:
    """Return the SHA-256 over the experts themselves.

    Under differential privacy the store's key does not tell them apart: trained again they are others. Images that had
    followed both would have spent the budget twice.
    """
    digest = hashlib.sha256(trajectories.key.encode())
    for expert in range(trajectories.count):
        digest.update(trajectories.snapshot(expert, trajectories.epochs).tobytes())
    return digest.hexdigest()
