"""Match: follow the experts' trajectories with a few synthetic images per class."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.making import Making, making
from medistill.artifacts.trajectories import Trajectories
from medistill.engine.objectives.trajectory import student_lr
from medistill.engine.student import Student
from medistill.networks.flat import FlatParameters
from medistill.networks.registry import NetworkSpec, build_network
from medistill.recipe import Recipe, whole_matching
from medistill.training.context import Context
from medistill.training.fresh_network import logits
from medistill.training.images import LabelledImages
from medistill.training.randomness import generator
from medistill.training.stages import image_stages
from medistill.workflow.outer_run import OuterPlan, ValidationSettings, keep_history, run_outer_loop, set_of
from medistill.workflow.problem import image_labels, outer_settings, pixels, trajectory_matching
from medistill.workflow.provenance import provenance
from medistill.workflow.spending import Use, spend
from medistill.workflow.starting_images import start_digest, starting_images

NOISE_CONFIDENCE = 0.9
"""Probability of its own class that an image from noise starts with; nearer to 1, softmax passes hardly a gradient."""


def match(
    context: Context, trajectories: Trajectories, *, class_ids: Sequence[int], origin: Mapping[str, Any], use: Use
) -> tuple[DistilledSet, Making]:
    """Make the set that follows the experts best.

    Args:
        context: whose folder is that of the run.
        trajectories: the experts.
        class_ids: classes of the corpus that the set is to hold, ascending.
        origin: what it is made from, for the record of its making.
        use: as for `train_experts`.

    Returns:
        The set, and the sealed record of how it was made.

    Raises:
        DataError: a class has fewer training images than it needs (`Recipe.fewest_images`), or cannot be quantised as
            it should.
        DivergedError: the optimisation left the finite numbers; the last good state is kept.
    """
    corpus, recipe, out, device = context.corpus, context.recipe, context.out, context.device
    start, labels, quantisation = starting_images(
        corpus, class_ids, trajectories.normalisation, recipe, out, device, context.progress
    )
    plan, groups = _plan(context, trajectories, start, labels)
    origin = {**origin, "experts": plan.made_from, "start": start_digest(start)}
    state = run_outer_loop(plan, context, origin)
    # In the ledger already, but for experts from elsewhere.
    spent = spend(corpus, recipe, trajectories, (), context.progress, use=use)
    made = provenance(corpus, recipe, context.spec, device, quantisation, spent).replaced(trajectories=trajectories.key)
    distilled = set_of(plan, state, corpus.class_names, made)
    weighed = bool(state.history.figures.get("importance"))
    keep_history(state, out, {"importance": [], "importance_names": list(groups) if weighed else []})
    assert state.chain is not None  # noqa: S101  (it began with one)
    return distilled, making(state.chain, origin, distilled)


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
    private, settings = recipe.privacy.mode == "dp", whole_matching(recipe.method)
    student = Student(build_network(spec, generator(recipe.seed, "student"), device), recipe.compute.step)
    first = _starting_logits(start, labels, trajectories, recipe, spec) if recipe.method.learns_labels else None
    counts = torch.bincount(labels)
    unseen = int((counts > 0).sum()) < 2 or (private and recipe.privacy.choose == "off")
    objective = trajectory_matching(recipe, student, trajectories, device)
    scored = ValidationSettings(settings.validate_networks, settings.validate_epochs, settings.keep_looks)
    plan = OuterPlan(
        settings=outer_settings(recipe),
        objective=objective,
        parameterisation=pixels(recipe, start),
        labels=image_labels(recipe, F.one_hot(labels, len(context.corpus.class_names)).float(), first),
        stage=image_stages(counts[counts > 0].tolist(), recipe.method.stage_count).to(device),
        student_lr=student_lr,
        normalisation=trajectories.normalisation,
        made_from=_experts_digest(trajectories) if private else trajectories.key,
        validation=None if unseen else scored,
    )
    return plan, objective.groups.names


def _experts_digest(trajectories: Trajectories) -> str:
    """SHA-256 over the experts themselves.

    Under differential privacy the store's key does not tell them apart: trained again they are others. Images that had
    followed both would have spent the budget twice.
    """
    digest = hashlib.sha256(trajectories.key.encode())
    for expert in range(trajectories.count):
        digest.update(trajectories.snapshot(expert, trajectories.epochs).tobytes())
    return digest.hexdigest()


def _starting_logits(
    pixels: Tensor, labels: Tensor, trajectories: Trajectories, recipe: Recipe, spec: NetworkSpec
) -> Tensor:
    """Return the logits (N, classes) that soft labels start from: those of expert 0 at its end, right or wrong.

    Noise has no right answer: there each image starts with probability `NOISE_CONFIDENCE` for the class that it is made
    for and the rest shared evenly.
    """
    if recipe.method.starts_from == "noise":
        own = NOISE_CONFIDENCE * max(1, spec.classes - 1) / (1 - NOISE_CONFIDENCE)
        return math.log(own) * F.one_hot(labels, spec.classes).float()
    network = build_network(spec, generator(recipe.seed, "student"), pixels.device)
    FlatParameters(network).load(torch.from_numpy(trajectories.snapshot(0, trajectories.epochs)))
    return logits(network, LabelledImages.of_floats(pixels, labels), spec, recipe, pixels.device)
