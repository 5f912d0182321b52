"""Match: follow the experts' trajectories with a few synthetic images per class."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.kept import keep_json
from medistill.artifacts.local_key import local_key
from medistill.artifacts.making import Chain
from medistill.artifacts.normalisation import Normalisation
from medistill.artifacts.trajectories import Trajectories
from medistill.engine.checkpoint import load_checkpoint, save_checkpoint
from medistill.engine.coordinates import Values
from medistill.engine.objectives.trajectory import student_lr
from medistill.engine.outer import optimise
from medistill.engine.problem import DistillationProblem, ValidationScore
from medistill.engine.state import History, State
from medistill.engine.student import Student
from medistill.evaluate.metrics import macro_auc
from medistill.evaluate.protocol import small_schedule
from medistill.methods.base import Distilled
from medistill.methods.matching.problem import (
    checkpoint_origin,
    image_labels,
    outer_settings,
    pixels,
    refuse_another_run,
    trajectory_matching,
)
from medistill.methods.matching.start import start_digest, starting_images, starting_logits
from medistill.methods.matching.validation_steps import keep_step
from medistill.networks.footprint import micro_batch_size
from medistill.networks.registry import build_network
from medistill.recipe import whole_matching
from medistill.training.allocator import keep_freed_memory
from medistill.training.context import Context
from medistill.training.fresh_network import TrainingSet, train_and_predict
from medistill.training.images import LabelledImages
from medistill.training.randomness import generator
from medistill.training.stages import image_stages

NOT_WHOLE = (
    "That checkpoint was written by an earlier version or by another installation of medistill: what happened before "
    "it is not known here, so no audit of the set will pass."
)


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
    corpus, recipe, spec, device, out = context.corpus, context.recipe, context.spec, context.device, context.out
    settings, checkpoint = whole_matching(recipe.method), out / "state" / "checkpoint.safetensors"
    start, labels, quantisation = starting_images(
        corpus, class_ids, trajectories.normalisation, recipe, out, device, context.progress
    )
    made_from = _experts_digest(trajectories) if recipe.privacy.mode == "dp" else trajectories.key
    origin = {**origin, "experts": made_from, "start": start_digest(start)}
    student = Student(build_network(spec, generator(recipe.seed, "student"), device), recipe.compute.step)
    logits = starting_logits(start, labels, trajectories, recipe, spec) if recipe.method.learns_labels else None
    unseen = len(class_ids) < 2 or (recipe.privacy.mode == "dp" and recipe.privacy.choose == "off")
    objective = trajectory_matching(recipe, student, trajectories, device)
    problem = DistillationProblem(
        settings=outer_settings(recipe),
        objective=objective,
        parameterisation=pixels(recipe, start),
        labels=image_labels(recipe, torch.nn.functional.one_hot(labels, len(corpus.class_names)).float(), logits),
        stage=image_stages(torch.bincount(labels)[list(class_ids)].tolist(), recipe.method.stage_count).to(device),
        precision=recipe.compute.precision,
        validate=None if unseen else _validator(context, trajectories.normalisation),
        save=lambda current: save_checkpoint(current, checkpoint, checkpoint_origin(recipe, made_from)),
    )
    state = State.start(problem.coordinates, Chain.start(local_key(), origin))
    if checkpoint.is_file():
        _resume(state, checkpoint, context, made_from)
    private_folder(checkpoint.parent)
    keep_freed_memory()
    if not state.micro_batch:
        whole, chosen = settings.batch_syn or len(labels), recipe.compute.micro_batch
        state.micro_batch = micro_batch_size(
            student.network, spec.channels, spec.image_size, chosen=chosen, whole=whole
        )
    if problem.validate is not None and settings.keep_looks:
        problem = replace(problem, validate=_keeping(out, state, problem.validate))
    optimise(state, problem, context.progress)
    history = _history(state.history, objective.groups.names)
    keep_json(out / "history.json", {**history, "chosen_step": state.best_step})
    assert state.chain is not None  # noqa: S101  (it began with one)
    return Distilled(
        **_result(state, problem),
        normalisation=trajectories.normalisation,
        chain=state.chain,
        origin=origin,
        quantisation=quantisation,
        known={"trajectories": trajectories.key, "chosen_step": state.best_step, "micro_batch": state.micro_batch},
    )


def _resume(state: State, checkpoint: Path, context: Context, made_from: str) -> None:
    """Continue from a checkpoint, and say what may differ from an undisturbed run."""
    progress = context.progress
    threads = load_checkpoint(state, checkpoint, refuse_another_run(checkpoint, context.recipe, made_from))
    progress.say(f"Resumed after outer step {state.iteration}.")
    if state.chain is not None and not state.chain.whole:
        progress.say(NOT_WHOLE)
    if context.device.type == "cpu" and threads != torch.get_num_threads():
        progress.say(
            f"The run was started with {threads} processor threads and goes on with {torch.get_num_threads()}: its "
            "last digits can differ from those of an undisturbed run. OMP_NUM_THREADS sets the number."
        )


def _history(history: History, groups: Sequence[str]) -> dict[str, Any]:
    """What ``history.json`` says of the steps, under the names that it has always had."""
    return {
        "loss": history.loss,
        "importance": [],
        **history.figures,
        "importance_names": list(groups) if history.figures.get("importance") else [],
        "looks": history.validation_steps,
        "stage": history.stage,
        "accuracy": history.accuracy,
        "auc": history.auc,
    }


def _experts_digest(trajectories: Trajectories) -> str:
    """SHA-256 over the experts themselves.

    Under differential privacy the store's key does not tell them apart: trained again they are others. Images that had
    followed both would have spent the budget twice.
    """
    digest = hashlib.sha256(trajectories.key.encode())
    for expert in range(trajectories.count):
        digest.update(trajectories.snapshot(expert, trajectories.epochs).tobytes())
    return digest.hexdigest()


def _validator(context: Context, normalisation: Normalisation) -> Callable[[LabelledImages, Values], ValidationScore]:
    """Train fresh networks, the same ones at every score, on given images and score them on the validation split."""
    recipe, spec, device = context.recipe, context.spec, context.device
    shown = LabelledImages.of_split(context.corpus, "val", normalisation, device)
    truth, settings = shown.labels.cpu().numpy(), whole_matching(recipe.method)

    def validate(images: LabelledImages, values: Values) -> ValidationScore:
        schedule = small_schedule(recipe.evaluate, lr=student_lr(values), epochs=settings.validate_epochs)
        training = TrainingSet(images, schedule)
        accuracies, aucs = [], []
        for k in range(settings.validate_networks):
            rng = generator(recipe.seed, "look", k)
            predicted = train_and_predict(training, shown, spec, recipe, rng, device)
            accuracies.append(float(np.mean(predicted.argmax(axis=1) == truth)))
            aucs.append(macro_auc(predicted, truth) or 0.0)
        return ValidationScore(float(np.mean(accuracies)), float(np.mean(aucs)))

    return validate


def _keeping(
    out: Path, state: State, validate: Callable[[LabelledImages, Values], ValidationScore]
) -> Callable[[LabelledImages, Values], ValidationScore]:
    """The same, but the images of every score are kept in the run."""

    def keep_and_validate(images: LabelledImages, values: Values) -> ValidationScore:
        keep_step(out, state.iteration, images, student_lr(values))
        return validate(images, values)

    return keep_and_validate


def _result(state: State, problem: DistillationProblem) -> dict[str, Any]:
    """What the best state gives: the fields of a `Distilled` that hold arrays, and the learning rate."""
    labels = problem.labels
    return {
        "images": problem.parameterisation.render(state.best).detach().cpu().numpy().astype(np.float32),
        "labels": labels.classes.argmax(dim=1).cpu().numpy(),
        "weights": np.ones(len(labels.classes), np.float32),
        "stage": problem.stage.cpu().numpy(),
        "student_lr": student_lr(state.best),
        "soft_labels": labels.render(state.best).cpu().numpy() if labels.soft else None,
    }
