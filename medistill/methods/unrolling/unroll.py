"""Unroll: students trained on a few synthetic images a class, and their loss on originals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from medistill.artifacts.normalisation import Normalisation
from medistill.engine.coordinates import Adam
from medistill.engine.divergence import SECTION
from medistill.engine.inner_optimisers import Adam as InnerAdam
from medistill.engine.inner_optimisers import InnerOptimiser, MomentumSGD, PlainSGD, Rates
from medistill.engine.labels import HardLabels, Labels, SoftLabels
from medistill.engine.learned_rates import LearnedRates
from medistill.engine.memory import MemoryNeed
from medistill.engine.objectives.unrolled import Unrolled
from medistill.engine.parameterisations.pixels import Pixels
from medistill.engine.pool import Pool
from medistill.engine.sources.originals import Originals
from medistill.engine.sources.walks import ANYWHERE, Walks, WalkSettings
from medistill.engine.sources.windows import WindowRule
from medistill.engine.student import Student
from medistill.methods.base import Distilled
from medistill.methods.optimising.outer_run import OuterPlan, distilled, keep_history, run_outer_loop
from medistill.methods.optimising.problem import one_hot, outer_settings, stages, validation
from medistill.methods.optimising.start import start_digest, starting_images
from medistill.networks.registry import build_network
from medistill.recipe import AugmentationRecipe
from medistill.recipe.unrolling import RealLoss, WalkRecipe
from medistill.training.context import Context
from medistill.training.fitted_normalisation import fitted_normalisation
from medistill.training.fresh_network import augmentation_of
from medistill.training.randomness import generator

CONFIDENCE = 0.9
"""Probability of its own class that a soft label starts with; nearer to 1, softmax passes hardly a gradient."""


def unroll(
    context: Context,
    settings: WalkRecipe,
    windows: WindowRule,
    class_ids: Sequence[int],
    origin: Mapping[str, Any],
) -> Distilled:
    """Make the set on which networks learn best what originals ask; its state lies in ``out/state``.

    Args:
        context: corpus, recipe, network and device, and the folder of the run.
        settings: of the method.
        windows: rule by which it draws the steps that are differentiated.
        class_ids: classes of the corpus that the set is to hold, ascending.
        origin: what it is made from, for the record of its making.
    """
    normalisation = fitted_normalisation(context.corpus, context.recipe, context.progress)
    start, labels, quantisation = starting_images(context, class_ids, normalisation)
    plan = _plan(context, settings, windows, start, labels, normalisation)
    origin = {**origin, "experts": "", "start": start_digest(start)}
    state = run_outer_loop(plan, context, origin)
    keep_history(state, context.out, {})
    return distilled(plan, state, origin, quantisation)


def _plan(
    context: Context,
    settings: WalkRecipe,
    windows: WindowRule,
    start: Tensor,
    labels: Tensor,
    normalisation: Normalisation,
) -> OuterPlan:
    recipe, steps = context.recipe, settings.iterations
    of_stage = -(-steps // settings.stages)  # what moves by stages begins each of them anew
    network = build_network(context.spec, generator(recipe.seed, "student"), context.device)
    student = Student(network, recipe.compute.step, recipe.compute.graphs)
    class_ids = tuple(labels.cpu().unique().tolist())
    objective = real_loss(context, settings, student, normalisation, class_ids, steps, windows)
    return OuterPlan(
        settings=outer_settings(settings),
        objective=objective,
        parameterisation=Pixels(start, moves(settings, settings.image_lr, of_stage)),
        labels=_labels(settings, one_hot(labels, context.spec.classes), of_stage),
        stage=stages(settings, labels),
        student_lr=lambda values: objective.rates.at(values).alpha if settings.learns_lr else recipe.evaluate.lr,
        normalisation=normalisation,
        made_from=context.corpus.content,
        validation=validation(settings, recipe.privacy, labels),
        tiles=settings.tiles,
    )


def real_loss(
    context: Context,
    settings: RealLoss,
    student: Student,
    normalisation: Normalisation,
    class_ids: tuple[int, ...],
    steps: int,
    windows: WindowRule = ANYWHERE,
) -> Unrolled:
    """Return the loss on originals of students that train on the images.

    Args:
        context: of the run.
        settings: of the students.
        student: the network as a function.
        normalisation: of the originals.
        class_ids: classes that originals are drawn from, ascending.
        steps: outer steps of the run.
        windows: how the steps that are differentiated are drawn.
    """
    recipe, spec, device, optimiser = context.recipe, context.spec, context.device, _optimiser(settings)
    moving, augmentation = settings.inner == "momentum", augmentation_of(spec, recipe)
    rates, learned = Rates(settings.student_lr, settings.student_momentum * moving), settings.learn_momentum and moving
    walks = WalkSettings(settings.student_steps, settings.differentiated, settings.batch_syn, settings.pooled)
    return Unrolled(
        student=student,
        walks=Walks(spec, walks, augmentation, recipe.seed, device, windows),
        originals=Originals(
            context.corpus, class_ids, settings.batch_real, normalisation, recipe.seed, device, spec.encoder
        ),
        optimiser=optimiser,
        rates=LearnedRates(rates, moves(settings, settings.student_lr_lr, steps), learned),
        augmentation=augmentation if settings.augment_real else AugmentationRecipe(operations=()),
        classes=spec.classes,
        seed=recipe.seed,
        pool=_pool(settings, student, optimiser, device),
        memory=MemoryNeed(
            "a student step",
            "the parameters of student steps",
            f"lower {SECTION}.{settings.keeps}, since the parameters of so many steps are kept, or {SECTION}.batch_syn",
        ),
    )


def moves(settings: RealLoss, lr: float, steps: int) -> Adam:
    """Return how a coordinate moves along the gradient of the loss on originals, over so many outer steps."""
    return Adam(lr, clip=settings.clip, steps=steps if settings.decay else 0)


def _pool(settings: RealLoss, student: Student, optimiser: InnerOptimiser, device: torch.device) -> Pool | None:
    if not settings.pooled:
        return None
    steps = settings.student_steps
    return Pool(settings.pooled, student.parameters, optimiser.moments, steps, settings.differentiated, device)


def _optimiser(settings: RealLoss) -> InnerOptimiser:
    match settings.inner:
        case "sgd":
            return PlainSGD()
        case "momentum":
            return MomentumSGD(settings.student_weight_decay)
        case "adam":
            return InnerAdam()


def _labels(settings: WalkRecipe, classes: Tensor, steps: int) -> Labels:
    if not settings.learns_labels:
        return HardLabels(classes)
    own = math.log(CONFIDENCE * max(1, classes.shape[1] - 1) / (1 - CONFIDENCE))
    return SoftLabels(classes, own * classes, moves(settings, settings.label_lr, steps))
