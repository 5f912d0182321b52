"""Match: follow the experts' trajectories with a few synthetic images per class."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.kept import keep_json
from medistill.artifacts.local_key import local_key
from medistill.artifacts.making import Chain, Making, array_digest, making
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
from medistill.evaluate.protocol import random_rows, small_schedule
from medistill.evaluate.representatives import rows_by_class
from medistill.networks.flat import FlatParameters
from medistill.networks.registry import NetworkSpec, build_network
from medistill.progress import Progress
from medistill.quantisation.record import Quantisation
from medistill.recipe import Recipe
from medistill.training.allocator import keep_freed_memory
from medistill.training.fresh_network import TrainingSet, logits, train_and_predict
from medistill.training.images import LabelledImages
from medistill.training.randomness import generator
from medistill.training.stages import image_stages
from medistill.workflow.micro_batch import student_micro_batch
from medistill.workflow.problem import (
    checkpoint_origin,
    image_labels,
    outer_settings,
    pixels,
    refuse_another_run,
    trajectory_matching,
)
from medistill.workflow.provenance import provenance
from medistill.workflow.quantise import quantise
from medistill.workflow.spending import Use, spend
from medistill.workflow.validation_steps import keep_step

NOISE_CONFIDENCE = 0.9
"""Probability of its own class that an image from noise starts with; nearer to 1, softmax passes hardly a gradient."""

NOT_WHOLE = (
    "That checkpoint was written by an earlier version or by another installation of medistill: what happened before "
    "it is not known here, so no audit of the set will pass."
)


def match(
    corpus: Corpus,
    trajectories: Trajectories,
    recipe: Recipe,
    *,
    out: Path,
    held: Sequence[int],
    spec: NetworkSpec,
    place: torch.device,
    origin: Mapping[str, Any],
    use: Use,
    progress: Progress,
) -> tuple[DistilledSet, Making]:
    """The set that follows the experts best; the state on the way lies in ``out/state``, whole after every checkpoint.

    Args:
        held: classes of the corpus that the set is to hold, ascending.
        origin: what it is made from, for the record of its making.
        use: as for `train_experts`.

    Returns:
        The set, and the sealed record of how it was made.

    Raises:
        DataError: a class has fewer training images than it needs (`Recipe.fewest_images`), or cannot be quantised as
            it should.
        DivergedError: the optimisation left the finite numbers; the last good state is kept.
    """
    checkpoint = out / "state" / "checkpoint.safetensors"
    start, labels, quantisation = starting_images(
        corpus, held, trajectories.normalisation, recipe, out, place, progress
    )
    made_from = _experts_digest(trajectories) if recipe.privacy.mode == "dp" else trajectories.key
    origin = {**origin, "experts": made_from, "start": start_digest(start)}
    student = Student(build_network(spec, generator(recipe.seed, "student"), place), recipe.compute.step)
    logits = _starting_logits(start, labels, trajectories, recipe, spec) if recipe.distill.labels == "soft" else None
    unseen = len(held) < 2 or (recipe.privacy.mode == "dp" and recipe.privacy.choose == "off")
    objective = trajectory_matching(recipe, student, trajectories, place)
    problem = DistillationProblem(
        settings=outer_settings(recipe),
        objective=objective,
        parameterisation=pixels(recipe, start),
        labels=image_labels(recipe, torch.nn.functional.one_hot(labels, len(corpus.class_names)).float(), logits),
        stage=image_stages(torch.bincount(labels)[list(held)].tolist(), recipe.distill.stages).to(place),
        precision=recipe.compute.precision,
        validate=None if unseen else _validator(corpus, trajectories, recipe, spec, place),
        save=lambda current: save_checkpoint(current, checkpoint, checkpoint_origin(recipe, made_from)),
    )
    state = State.start(problem.coordinates, Chain.start(local_key(), origin))
    if checkpoint.is_file():
        _resume(state, checkpoint, recipe, made_from, place, progress)
    private_folder(checkpoint.parent)
    keep_freed_memory()
    if not state.micro_batch:
        state.micro_batch = student_micro_batch(student, spec, recipe, recipe.distill.batch_syn or len(labels))
    if problem.validate is not None and recipe.distill.keep_looks:
        problem = replace(problem, validate=_keeping(out, state, problem.validate))
    optimise(state, problem, progress)
    # In the ledger already, but for experts from elsewhere.
    spent = spend(corpus, recipe, trajectories, (), progress, use=use)
    made = provenance(corpus, recipe, spec, place, quantisation, spent)
    made |= {"trajectories": trajectories.key, "chosen_step": state.best_step, "micro_batch": state.micro_batch}
    distilled = _result(state, problem, trajectories.normalisation, corpus.class_names, made)
    names = objective.groups.names
    keep_json(out / "history.json", {**_history(state.history, names), "chosen_step": state.best_step})
    assert state.chain is not None  # noqa: S101  (it began with one)
    return distilled, making(state.chain, origin, distilled)


def _resume(
    state: State, checkpoint: Path, recipe: Recipe, made_from: str, place: torch.device, progress: Progress
) -> None:
    """Continue from a checkpoint, and say what may differ from an undisturbed run."""
    threads = load_checkpoint(state, checkpoint, refuse_another_run(checkpoint, recipe, made_from))
    progress.say(f"Resumed after outer step {state.iteration}.")
    if state.chain is not None and not state.chain.whole:
        progress.say(NOT_WHOLE)
    if place.type == "cpu" and threads != torch.get_num_threads():
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


def start_digest(pixels: Tensor) -> str:
    """Of the images before the first outer step."""
    return array_digest({"pixels": pixels.detach().cpu().numpy()})


def _experts_digest(trajectories: Trajectories) -> str:
    """SHA-256 over the experts themselves.

    Under differential privacy the store's key does not tell them apart: trained again they are others. Images that had
    followed both would have spent the budget twice.
    """
    digest = hashlib.sha256(trajectories.key.encode())
    for expert in range(trajectories.count):
        digest.update(trajectories.snapshot(expert, trajectories.epochs).tobytes())
    return digest.hexdigest()


def starting_images(
    corpus: Corpus,
    held: Sequence[int],
    normalisation: Normalisation,
    recipe: Recipe,
    out: Path,
    place: torch.device,
    progress: Progress,
) -> tuple[Tensor, Tensor, Quantisation | None]:
    """Normalised (N, C, H, W), class by class of those that the set is to hold, and their labels (N,).

    They are real training images, noise, or decoded centroids, of which alone a class can have fewer than asked for.
    """
    fewest = [recipe.fewest_images if c in held else 0 for c in range(len(corpus.class_names))]
    rows_by_class(corpus, fewest, beside="to be made")
    labels = torch.tensor(held).repeat_interleave(recipe.distill.ipc).to(place)
    if recipe.distill.init == "noise":
        shape = (len(labels), *corpus.images.shape[1:])
        return torch.randn(shape, generator=generator(recipe.seed, "noise")).to(place), labels, None
    if recipe.distill.init == "quantised":
        centroids = quantise(corpus, recipe, held, out=out, place=place, progress=progress)
        images = centroids.images(normalisation)
        return torch.from_numpy(images).to(place), torch.from_numpy(centroids.labels).to(place), centroids.record
    per_class = [recipe.distill.ipc if c in held else 0 for c in range(len(corpus.class_names))]
    rows = random_rows(corpus, per_class, recipe.seed, -1)
    real = LabelledImages.of_corpus(corpus, rows, normalisation, place).batch(slice(None)).clone()
    return real, labels, None


def _starting_logits(
    pixels: Tensor, labels: Tensor, trajectories: Trajectories, recipe: Recipe, spec: NetworkSpec
) -> Tensor:
    """Logits (N, classes) that soft labels start from: what expert 0 answers at its end, whether right or wrong.

    Noise has no right answer: there each image starts with probability `NOISE_CONFIDENCE` for the class that it is made
    for and the rest shared evenly.
    """
    if recipe.distill.init == "noise":
        own = NOISE_CONFIDENCE * max(1, spec.classes - 1) / (1 - NOISE_CONFIDENCE)
        return math.log(own) * torch.nn.functional.one_hot(labels, spec.classes).float()
    network = build_network(spec, generator(recipe.seed, "student"), pixels.device)
    FlatParameters(network).load(torch.from_numpy(trajectories.snapshot(0, trajectories.epochs)))
    return logits(network, LabelledImages.of_floats(pixels, labels), spec, recipe, pixels.device)


def _validator(
    corpus: Corpus, trajectories: Trajectories, recipe: Recipe, spec: NetworkSpec, place: torch.device
) -> Callable[[LabelledImages, Values], ValidationScore]:
    """Trains fresh networks, the same ones at every score, on given images and scores them on the validation split."""
    shown = LabelledImages.of_split(corpus, "val", trajectories.normalisation, place)
    truth = shown.labels.cpu().numpy()

    def validate(images: LabelledImages, values: Values) -> ValidationScore:
        schedule = small_schedule(recipe.evaluate, lr=student_lr(values), epochs=recipe.distill.validate_epochs)
        training = TrainingSet(images, schedule)
        accuracies, aucs = [], []
        for k in range(recipe.distill.validate_networks):
            rng = generator(recipe.seed, "look", k)
            predicted = train_and_predict(training, shown, spec, recipe, rng, place)
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


def _result(
    state: State,
    problem: DistillationProblem,
    normalisation: Normalisation,
    class_names: tuple[str, ...],
    made: dict[str, Any],
) -> DistilledSet:
    labels = problem.labels
    return DistilledSet(
        images=problem.parameterisation.render(state.best).detach().cpu().numpy().astype(np.float32),
        labels=labels.classes.argmax(dim=1).cpu().numpy(),
        weights=np.ones(len(labels.classes), np.float32),
        stage=problem.stage.cpu().numpy(),
        student_lr=student_lr(state.best),
        normalisation=normalisation,
        class_names=class_names,
        provenance=made,
        soft_labels=labels.render(state.best).cpu().numpy() if labels.soft else None,
    )
