"""One run of the outer loop, whichever objective it has: resumed where it stopped, scored, and made into a set.

A method says what it puts into the sockets (`OuterPlan`); what is drawn, saved, said and chosen on the way is alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medistill.allocator import keep_freed_memory
from medistill.artifacts.atomic import private_folder
from medistill.artifacts.kept import keep_json
from medistill.artifacts.local_key import local_key
from medistill.artifacts.making import Chain
from medistill.artifacts.normalisation import Normalisation
from medistill.engine.checkpoint import load_checkpoint, save_checkpoint
from medistill.engine.coordinates import Values
from medistill.engine.labels import Labels
from medistill.engine.objectives.base import Objective
from medistill.engine.objectives.encoded import Encoded
from medistill.engine.objectives.tiled import Tiled
from medistill.engine.outer import optimise
from medistill.engine.parameterisations.base import Parameterisation
from medistill.engine.problem import DistillationProblem, OuterSettings, ValidationScore
from medistill.engine.state import State
from medistill.evaluate.metrics import macro_auc
from medistill.evaluate.protocol import small_schedule
from medistill.methods.base import Distilled
from medistill.methods.optimising.origin import checkpoint_origin, refuse_another_run
from medistill.methods.optimising.validation_steps import keep_step
from medistill.networks.footprint import micro_batch_size
from medistill.networks.registry import build_network
from medistill.quantisation.record import Quantisation
from medistill.ranks.ranks import Ranks
from medistill.training.context import Context
from medistill.training.fresh_network import TrainingSet, train_and_predict
from medistill.training.images import LabelledImages
from medistill.training.randomness import generator

NOT_WHOLE = (
    "That checkpoint was written by an earlier version or by another installation of medistill: what happened before "
    "it is not known here, so no audit of the set will pass."
)


@dataclass(frozen=True)
class ValidationSettings:
    """How images are scored on the validation split.

    Attributes:
        networks: fresh networks trained for each score.
        epochs: of each of them.
        keep: whether the images of every score are kept in the run.
    """

    networks: int
    epochs: int
    keep: bool = False


@dataclass(frozen=True)
class OuterPlan:
    """What a method puts into the outer loop.

    Attributes:
        settings: of the loop.
        objective: what the images are compared with; of a probe, what their features are compared with.
        parameterisation: what they are made of, from their start.
        labels: what they are labelled with.
        stage: int64 (N,) the stage in which each image moves.
        student_lr: the learning rate to train on the images with, from the coordinates of the run.
        normalisation: of the images.
        made_from: tells what the run follows from all else that it could; a checkpoint of another is refused.
        validation: how images are scored; None takes the last ones unseen.
        weights: float32 (N,) of the images in the loss of networks trained on them, mean 1; None weighs all alike.
        tiles: of a side of each image, f; objective and networks are shown f^2 images in its place.
    """

    settings: OuterSettings
    objective: Objective[Any]
    parameterisation: Parameterisation
    labels: Labels
    stage: torch.Tensor
    student_lr: Callable[[Values], float]
    normalisation: Normalisation
    made_from: str
    validation: ValidationSettings | None
    weights: torch.Tensor | None = None
    tiles: int = 1


def run_outer_loop(plan: OuterPlan, context: Context, origin: Mapping[str, Any]) -> State:
    """Run the outer loop to its end; the state on the way lies in ``out/state``, whole after every checkpoint.

    Args:
        plan: of the method.
        context: whose folder is that of the run.
        origin: what the set is made from, for the record of its making.

    Returns:
        The last state, which knows the best coordinates and its chain.

    Raises:
        DivergedError: the optimisation left the finite numbers; the last good state is kept.
    """
    recipe, ranks, checkpoint = context.recipe, context.ranks, context.out / "state" / "checkpoint.safetensors"

    def save(current: State) -> None:
        if ranks.leads:
            save_checkpoint(current, checkpoint, checkpoint_origin(recipe, plan.made_from))

    problem = DistillationProblem(
        settings=plan.settings,
        objective=_of_images(plan, context),
        parameterisation=plan.parameterisation,
        labels=plan.labels,
        stage=plan.stage,
        precision=recipe.compute.precision,
        validate=None if plan.validation is None else _validator(plan, plan.validation, context),
        save=save,
        weights=plan.weights,
    )
    state = State.start(problem.coordinates, Chain.start(ranks.first(local_key), origin))
    if ranks.told(checkpoint.is_file):
        _resume(state, checkpoint, plan.made_from, context)
    private_folder(checkpoint.parent)
    keep_freed_memory()
    if not state.micro_batch:
        state.micro_batch = ranks.told(lambda: _micro_batch(plan, context))
    ranks.all_say("resumed")  # before the leader writes another checkpoint
    began = time.perf_counter()
    optimise(state, problem, ranks.in_step(context.progress), alone=ranks.size == 1)
    if ranks.size > 1:
        _say_shares(ranks, time.perf_counter() - began, context)
    return state


def _say_shares(ranks: Ranks, seconds: float, context: Context) -> None:
    """Say what of the outer steps' time went into exchange, and into waiting for the others."""
    context.progress.say(
        f"Of the outer steps' time, exchange between {ranks.size} ranks took {ranks.exchanging / seconds:.1%}, and "
        f"rank {ranks.rank} waited {ranks.waiting / seconds:.1%} for the others."
    )


def distilled(
    plan: OuterPlan, state: State, origin: Mapping[str, Any], quantisation: Quantisation | None = None
) -> Distilled:
    """Return what the best coordinates of a run make.

    Args:
        plan: of the run.
        state: its last.
        origin: as for `run_outer_loop`.
        quantisation: of what centroids the images are, or began as; None where they are none.
    """
    labels = plan.labels
    assert state.chain is not None  # noqa: S101  (it began with one)
    return Distilled(
        images=plan.parameterisation.render(state.best).detach().cpu().numpy().astype(np.float32),
        labels=labels.classes.argmax(dim=1).cpu().numpy(),
        weights=np.ones(len(labels.classes), np.float32) if plan.weights is None else plan.weights.cpu().numpy(),
        stage=(0 * plan.stage if plan.settings.together else plan.stage).cpu().numpy(),
        student_lr=plan.student_lr(state.best),
        normalisation=plan.normalisation,
        soft_labels=labels.render(state.best).cpu().numpy() if labels.soft else None,
        label_kind=labels.kind,
        chain=state.chain,
        origin=origin,
        quantisation=quantisation,
        known={"chosen_step": state.best_step, "micro_batch": state.micro_batch},
        tiles=plan.tiles,
    )


def keep_history(state: State, out: Path, more: Mapping[str, Any]) -> None:
    """Write ``history.json``; ``more`` is what a method adds, and stands where the objective noted no figure."""
    history = state.history
    told = {
        "loss": history.loss,
        **more,
        **history.figures,
        "looks": history.validation_steps,
        "stage": history.stage,
        "accuracy": history.accuracy,
        "auc": history.auc,
        "chosen_step": state.best_step,
    }
    keep_json(out / "history.json", told)


def _of_images(plan: OuterPlan, context: Context) -> Objective[Any]:
    """Return the objective of a plan as one of stored images: where the network is a probe, through its encoder, and
    where they are cut into tiles, by these."""
    encoder, recipe, objective = context.spec.encoder, context.recipe, plan.objective
    if encoder is not None and not objective.sees_pixels:
        on_device = encoder.to(context.device)
        objective = Encoded(objective, on_device, plan.normalisation, recipe.augmentation, recipe.seed)
    return objective if plan.tiles == 1 else Tiled(objective, plan.tiles)


def _resume(state: State, checkpoint: Path, made_from: str, context: Context) -> None:
    """Continue from a checkpoint, and say what may differ from an undisturbed run."""
    threads = load_checkpoint(state, checkpoint, refuse_another_run(checkpoint, context.recipe, made_from))
    context.progress.say(f"Resumed after outer step {state.iteration}.")
    if state.chain is not None and not state.chain.whole:
        context.progress.say(NOT_WHOLE)
    if context.device.type == "cpu" and threads != torch.get_num_threads():
        context.progress.say(
            f"The run was started with {threads} processor threads and goes on with {torch.get_num_threads()}: its "
            "last digits can differ from those of an undisturbed run. OMP_NUM_THREADS sets the number."
        )


def _micro_batch(plan: OuterPlan, context: Context) -> int:
    """Return how many images pass a network at once, from those of a step of all."""
    recipe, spec = context.recipe, context.spec
    network = build_network(spec, generator(recipe.seed, "student"), context.device)
    whole, chosen = plan.objective.batch_size(len(plan.stage) * plan.tiles**2), recipe.compute.micro_batch
    return micro_batch_size(network, spec.shape, chosen=chosen, whole=whole)


def _validator(
    plan: OuterPlan, validation: ValidationSettings, context: Context
) -> Callable[[LabelledImages, Values, int], ValidationScore]:
    """Return what trains fresh networks, the same ones at every score, and scores images on the validation split."""
    recipe, ranks = context.recipe, context.ranks
    shown = LabelledImages.of_split(context.corpus, "val", plan.normalisation, context.device)
    truth = shown.labels.cpu().numpy()

    def validate(images: LabelledImages, values: Values, iteration: int) -> ValidationScore:
        """Score the images of an outer step, and keep them where that is asked for."""
        images, student_lr = images.normalised_by(plan.normalisation), plan.student_lr(values)
        if validation.keep and ranks.leads:
            keep_step(context.out, iteration, images, student_lr)
        schedule = small_schedule(recipe.evaluate, lr=student_lr, epochs=validation.epochs)
        training = TrainingSet(images.cut(plan.tiles), schedule)
        mine = []
        for k in ranks.share(validation.networks):
            rng = generator(recipe.seed, "look", k)
            predicted = train_and_predict(training, shown, context.spec, recipe, rng, context.device)
            mine.append((float(np.mean(predicted.argmax(axis=1) == truth)), macro_auc(predicted, truth) or 0.0))
        accuracies, aucs = zip(*ranks.in_order(mine, validation.networks), strict=True)
        return ValidationScore(float(np.mean(accuracies)), float(np.mean(aucs)))

    return validate
