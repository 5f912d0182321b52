"""Distil: match the experts' trajectories with a few synthetic images per class."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medistill.artifacts.atomic import private_folder, write_json
from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.trajectories import Trajectories
from medistill.engine.importance import Importance
from medistill.engine.outer import Fixed, Look, optimise
from medistill.engine.state import State
from medistill.engine.student import Student
from medistill.errors import ArtifactError, UsageError
from medistill.evaluate.metrics import macro_auc
from medistill.evaluate.protocol import TrainingSet, answers, random_rows, small_schedule
from medistill.networks.footprint import micro_batch_size
from medistill.networks.registry import build_network
from medistill.progress import Progress, Silent
from medistill.recipe import Recipe, recipe_differences, validate_recipe
from medistill.training.device import choose_device
from medistill.training.images import LabelledImages
from medistill.training.randomness import generator
from medistill.workflow.environment import versions
from medistill.workflow.experts import network_spec


def distill(
    corpus: Corpus,
    trajectories: Trajectories,
    recipe: Recipe,
    *,
    out: str | Path,
    device: str = "auto",
    resume: bool = False,
    progress: Progress = Silent(),
) -> DistilledSet:
    """Distil into ``out/set``; the state on the way lies in ``out/state``, whole after every checkpoint.

    On a CPU in fp32, with the same number of threads, an interrupted run that is resumed ends in the same bits as one
    that was not.

    Raises:
        DataError: a class has fewer training images than images per class.
        UsageError: ``out`` holds a run already and ``resume`` is off, or it was started under another recipe.
        DivergedError: the optimisation left the finite numbers; the last good state is kept.
    """
    out, place = Path(out), choose_device(device)
    checkpoint, finished = out / "state" / "checkpoint.safetensors", out / "set" / "manifest.json"
    if finished.is_file() and resume:
        done = DistilledSet.load(out / "set")
        _refuse_another_recipe(done, recipe, out)
        progress.say("The distilled set is finished already.")
        return done
    if (checkpoint.is_file() or finished.is_file()) and not resume:
        raise UsageError(
            f"{out} holds a run already",
            expected="a new folder",
            do="add --resume to continue it, or choose another --out",
        )
    spec = network_spec(corpus, recipe)
    labels = torch.arange(len(corpus.class_names)).repeat_interleave(recipe.distill.ipc).to(place)
    pixels = _starting_images(corpus, trajectories, recipe, place)
    state = State.start(pixels, recipe.distill.student_lr, Importance.start(recipe.importance, trajectories, place))
    if checkpoint.is_file():
        threads = state.restore(checkpoint, recipe, trajectories.key)
        progress.say(f"Resumed after outer step {state.iteration}.")
        if place.type == "cpu" and threads != torch.get_num_threads():
            progress.say(
                f"The run was started with {threads} processor threads and goes on with {torch.get_num_threads()}: its "
                "last digits can differ from those of an undisturbed run. OMP_NUM_THREADS sets the number."
            )
    private_folder(checkpoint.parent)
    student = Student(build_network(spec, generator(recipe.seed, "student"), place))
    fixed = Fixed(
        recipe=recipe,
        student=student,
        trajectories=trajectories,
        labels=torch.nn.functional.one_hot(labels, len(corpus.class_names)).float(),
        micro_batch=micro_batch_size(
            student.network, spec.channels, spec.image_size, chosen=recipe.compute.micro_batch
        ),
        validate=_validator(corpus, trajectories, recipe, labels, place),
        save=lambda current: current.save(checkpoint, recipe, trajectories.key),
    )
    optimise(state, fixed, progress)
    distilled = _result(state, labels, corpus, trajectories, recipe, place)
    history = asdict(state.history)
    history["importance_names"] = list(state.importance.names) if state.history.importance else []
    write_json(out / "history.json", {**history, "chosen_step": state.best_step})
    distilled.save(out / "set")
    shutil.rmtree(checkpoint.parent)
    return distilled


def _starting_images(corpus: Corpus, trajectories: Trajectories, recipe: Recipe, place: torch.device) -> Tensor:
    """Normalised (N, C, H, W), class by class: real training images, or noise."""
    rows = random_rows(corpus, [recipe.distill.ipc] * len(corpus.class_names), recipe.seed, -1)
    if recipe.distill.init == "noise":
        shape = (len(rows), *corpus.images.shape[1:])
        return torch.randn(shape, generator=generator(recipe.seed, "noise")).to(place)
    return LabelledImages.of_corpus(corpus, rows, trajectories.normalisation, place).batch(slice(None)).clone()


def _validator(
    corpus: Corpus, trajectories: Trajectories, recipe: Recipe, labels: Tensor, place: torch.device
) -> Callable[[Tensor, float], Look]:
    """Trains fresh networks, the same ones at every look, on given images and scores them on the validation split."""
    spec = network_spec(corpus, recipe)
    shown = LabelledImages.of_split(corpus, "val", trajectories.normalisation, place)
    truth = shown.labels.cpu().numpy()

    def validate(pixels: Tensor, alpha: float) -> Look:
        schedule = small_schedule(recipe.evaluate, lr=alpha, epochs=recipe.distill.validate_epochs)
        training = TrainingSet(LabelledImages.of_floats(pixels, labels), schedule)
        accuracies, aucs = [], []
        for k in range(recipe.distill.validate_networks):
            numbers = generator(recipe.seed, "look", k)
            (told,) = answers(training, [shown], spec, recipe, numbers, place).probabilities
            accuracies.append(float(np.mean(told.argmax(axis=1) == truth)))
            aucs.append(macro_auc(told, truth) or 0.0)
        return Look(float(np.mean(accuracies)), float(np.mean(aucs)))

    return validate


def _result(
    state: State,
    labels: Tensor,
    corpus: Corpus,
    trajectories: Trajectories,
    recipe: Recipe,
    place: torch.device,
) -> DistilledSet:
    count = len(labels)
    train = corpus.rows("train")
    return DistilledSet(
        images=state.best_pixels.detach().cpu().numpy().astype(np.float32),
        labels=labels.cpu().numpy(),
        weights=np.ones(count, np.float32),
        stage=np.zeros(count, np.int64),
        student_lr=state.best_alpha,
        normalisation=trajectories.normalisation,
        class_names=corpus.class_names,
        provenance={
            "method": "MTT" if recipe.importance.direction == "frozen" else "IADD",
            "recipe": recipe.model_dump(mode="json"),
            "recipe_digest": recipe.digest,
            "versions": versions(),
            "device": place.type,
            "corpus": corpus.content,
            "trajectories": trajectories.key,
            "chosen_step": state.best_step,
            "training_images": {
                name: int(np.sum(corpus.labels[train] == c)) for c, name in enumerate(corpus.class_names)
            },
            "training_groups": len(np.unique(corpus.groups[train])),
            "split_unit": corpus.split_unit,
            "synthetic_source": corpus.synthetic,
            "starts_from": recipe.distill.init,
            "privacy": "No formal privacy guarantee was sought in this mode, and no audit was run.",
        },
    )


def _refuse_another_recipe(done: DistilledSet, recipe: Recipe, out: Path) -> None:
    try:
        stored = validate_recipe(done.provenance["recipe"], f"the recipe inside {out / 'set'}")
    except KeyError:
        raise ArtifactError(
            f"{out / 'set' / 'manifest.json'} holds no recipe",
            expected="a set that medistill distilled",
            do="choose another --out",
        ) from None
    differences = recipe_differences(recipe, stored)
    if differences:
        raise UsageError(
            f"the run in {out} was made under another recipe: {'; '.join(differences)}",
            expected="the settings that it was made with",
            do="repeat the first command with --resume, or choose another --out",
        )
