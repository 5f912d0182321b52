"""Distil: match the experts' trajectories with a few synthetic images per class."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

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
from medistill.networks.flat import FlatParameters
from medistill.networks.footprint import micro_batch_size
from medistill.networks.own import NetworkFactory
from medistill.networks.registry import NetworkSpec, build_network
from medistill.privacy.accounting import Guarantee
from medistill.progress import Progress, Silent
from medistill.recipe import Recipe, refuse_another_recipe, validate_recipe
from medistill.training.allocator import keep_freed_memory
from medistill.training.device import choose_device, precision
from medistill.training.images import LabelledImages
from medistill.training.loop import predict_logits
from medistill.training.randomness import generator
from medistill.training.stages import image_stages
from medistill.workflow.environment import versions
from medistill.workflow.experts import network_spec, refuse_other_experts
from medistill.workflow.looks import keep_look
from medistill.workflow.micro_batch import student_micro_batch

NOISE_CONFIDENCE = 0.9
"""Probability of its own class that an image from noise starts with; nearer to 1, softmax passes hardly a gradient."""


def distill(
    corpus: Corpus,
    trajectories: Trajectories,
    recipe: Recipe,
    *,
    out: str | Path,
    classes: Sequence[str] | None = None,
    network: NetworkFactory | None = None,
    device: str = "auto",
    resume: bool = False,
    progress: Progress = Silent(),
) -> DistilledSet:
    """Distil into ``out/set``; the state on the way lies in ``out/state``, whole after every checkpoint.

    On a CPU in fp32, with the same number of threads, an interrupted run that is resumed ends in the same bits as one
    that was not.

    Args:
        classes: classes of the corpus that the set is to hold; None takes all. The others keep their outputs in every
            network, so that sets of several sites, each without some classes, can be united. Of one class the images of
            the last outer step are taken: there is no validation figure to choose by.
        network: the user's own, where the experts were trained with it (see `train_experts`).

    Raises:
        ArtifactError: the experts are of another corpus, network, normalisation or recipe, or some are missing.
        DataError: a class has fewer training images than images per class.
        UsageError: ``out`` holds a run already and ``resume`` is off, or it was started under another recipe.
        DivergedError: the optimisation left the finite numbers; the last good state is kept.
    """
    out, place = Path(out), choose_device(device)
    spec = network_spec(corpus, recipe, network)
    refuse_other_experts(trajectories, corpus, recipe, network)
    checkpoint, finished = out / "state" / "checkpoint.safetensors", out / "set" / "manifest.json"
    if finished.is_file() and resume:
        done = DistilledSet.load(out / "set")
        _refuse_another_recipe(done, recipe, spec, out)
        progress.say("The distilled set is finished already.")
        return done
    if (checkpoint.is_file() or finished.is_file()) and not resume:
        raise UsageError(
            f"{out} holds a run already",
            expected="a new folder",
            do="add --resume to continue it, or choose another --out",
        )
    held = [c for c, name in enumerate(corpus.class_names) if classes is None or name in classes]
    labels = torch.tensor(held).repeat_interleave(recipe.distill.ipc).to(place)
    pixels = _starting_images(corpus, held, trajectories, recipe, place)
    state = State.start(
        pixels,
        recipe.distill.student_lr,
        Importance.start(recipe.importance, trajectories, place),
        _starting_logits(pixels, labels, trajectories, recipe, spec) if recipe.distill.labels == "soft" else None,
    )
    made_from = _experts_digest(trajectories) if recipe.privacy.mode == "dp" else trajectories.key
    if checkpoint.is_file():
        threads = state.restore(checkpoint, recipe, made_from)
        progress.say(f"Resumed after outer step {state.iteration}.")
        if place.type == "cpu" and threads != torch.get_num_threads():
            progress.say(
                f"The run was started with {threads} processor threads and goes on with {torch.get_num_threads()}: its "
                "last digits can differ from those of an undisturbed run. OMP_NUM_THREADS sets the number."
            )
    private_folder(checkpoint.parent)
    keep_freed_memory()
    student = Student(build_network(spec, generator(recipe.seed, "student"), place), recipe.compute.step)
    unseen = len(held) < 2 or (recipe.privacy.mode == "dp" and recipe.privacy.choose == "off")
    validate = None if unseen else _validator(corpus, trajectories, recipe, spec, place)
    fixed = Fixed(
        recipe=recipe,
        student=student,
        trajectories=trajectories,
        labels=torch.nn.functional.one_hot(labels, len(corpus.class_names)).float(),
        stage=image_stages(len(held), recipe.distill.ipc, recipe.distill.stages).to(place),
        micro_batch=state.micro_batch
        or student_micro_batch(student, spec, recipe, recipe.distill.batch_syn or len(labels)),
        validate=_keeping(out, state, validate) if validate and recipe.distill.keep_looks else validate,
        save=lambda current: current.save(checkpoint, recipe, made_from),
    )
    optimise(state, fixed, progress)
    distilled = _result(state, fixed, corpus, spec, place)
    history = asdict(state.history)
    history["importance_names"] = list(state.importance.names) if state.history.importance else []
    write_json(out / "history.json", {**history, "chosen_step": state.best_step})
    distilled.save(out / "set")
    shutil.rmtree(checkpoint.parent)
    return distilled


def _experts_digest(trajectories: Trajectories) -> str:
    """SHA-256 over the experts themselves.

    Under differential privacy the store's key does not tell them apart: trained again they are others. Images that had
    followed both would have spent the budget twice.
    """
    digest = hashlib.sha256(trajectories.key.encode())
    for expert in range(trajectories.count):
        digest.update(trajectories.snapshot(expert, trajectories.epochs).tobytes())
    return digest.hexdigest()


def _starting_images(
    corpus: Corpus, held: Sequence[int], trajectories: Trajectories, recipe: Recipe, place: torch.device
) -> Tensor:
    """Normalised (N, C, H, W), class by class of those that the set is to hold: real training images, or noise."""
    per_class = [recipe.distill.ipc if c in held else 0 for c in range(len(corpus.class_names))]
    if recipe.distill.init == "noise":
        shape = (sum(per_class), *corpus.images.shape[1:])
        return torch.randn(shape, generator=generator(recipe.seed, "noise")).to(place)
    rows = random_rows(corpus, per_class, recipe.seed, -1)
    return LabelledImages.of_corpus(corpus, rows, trajectories.normalisation, place).batch(slice(None)).clone()


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
    micro_batch = micro_batch_size(network, spec.channels, spec.image_size, chosen=recipe.compute.micro_batch)
    with precision(recipe.compute.precision, pixels.device):
        return predict_logits(network, LabelledImages.of_floats(pixels, labels), micro_batch=micro_batch)


def _validator(
    corpus: Corpus, trajectories: Trajectories, recipe: Recipe, spec: NetworkSpec, place: torch.device
) -> Callable[[LabelledImages, float], Look]:
    """Trains fresh networks, the same ones at every look, on given images and scores them on the validation split."""
    shown = LabelledImages.of_split(corpus, "val", trajectories.normalisation, place)
    truth = shown.labels.cpu().numpy()

    def validate(images: LabelledImages, alpha: float) -> Look:
        schedule = small_schedule(recipe.evaluate, lr=alpha, epochs=recipe.distill.validate_epochs)
        training = TrainingSet(images, schedule)
        accuracies, aucs = [], []
        for k in range(recipe.distill.validate_networks):
            numbers = generator(recipe.seed, "look", k)
            (told,) = answers(training, [shown], spec, recipe, numbers, place).probabilities
            accuracies.append(float(np.mean(told.argmax(axis=1) == truth)))
            aucs.append(macro_auc(told, truth) or 0.0)
        return Look(float(np.mean(accuracies)), float(np.mean(aucs)))

    return validate


def _keeping(
    out: Path, state: State, validate: Callable[[LabelledImages, float], Look]
) -> Callable[[LabelledImages, float], Look]:
    """The same, but the images of every look are kept in the run."""

    def keep_and_validate(images: LabelledImages, alpha: float) -> Look:
        keep_look(out, state.iteration, images, alpha)
        return validate(images, alpha)

    return keep_and_validate


def _result(state: State, fixed: Fixed, corpus: Corpus, spec: NetworkSpec, place: torch.device) -> DistilledSet:
    recipe, trajectories = fixed.recipe, fixed.trajectories
    soft = None if state.best_logits is None else state.best_logits.softmax(dim=1).cpu().numpy()
    guarantee = Guarantee.of(recipe)
    plain = recipe.method == "iadd" and recipe.importance.direction == "frozen"
    return DistilledSet(
        images=state.best_pixels.detach().cpu().numpy().astype(np.float32),
        labels=fixed.labels.argmax(dim=1).cpu().numpy(),
        weights=np.ones(len(fixed.labels), np.float32),
        stage=fixed.stage.cpu().numpy(),
        student_lr=state.best_alpha,
        normalisation=trajectories.normalisation,
        class_names=corpus.class_names,
        provenance={
            "method": "MTT" if plain else recipe.method.upper(),
            "recipe": recipe.model_dump(mode="json"),
            "recipe_digest": recipe.digest,
            "network": spec.name,
            "versions": versions(),
            "device": place.type,
            "corpus": corpus.content,
            "trajectories": trajectories.key,
            "chosen_step": state.best_step,
            "micro_batch": state.micro_batch,
            **({} if guarantee is not None else _counts(corpus)),
            "split_unit": corpus.split_unit,
            "synthetic_source": corpus.synthetic,
            "starts_from": recipe.distill.init,
            "stages": recipe.distill.stages,
            "soft_labels": recipe.distill.labels == "soft",
            **_privacy(recipe, guarantee),
        },
        soft_labels=soft,
    )


def _counts(corpus: Corpus) -> dict[str, Any]:
    """How much the set was distilled from, which under differential privacy it does not tell."""
    train = corpus.rows("train")
    return {
        "training_images": {name: int(np.sum(corpus.labels[train] == c)) for c, name in enumerate(corpus.class_names)},
        "training_groups": len(np.unique(corpus.groups[train])),
    }


def _privacy(recipe: Recipe, guarantee: Guarantee | None) -> dict[str, Any]:
    """What was done for privacy, in words, and the guarantee where there is one."""
    if guarantee is not None:
        return {"privacy": guarantee.sentence, "differential_privacy": guarantee.as_json()}
    whitened = " The set carries the mean and the whitening matrix of its training images." if recipe.data.zca else ""
    return {"privacy": f"No formal privacy guarantee was sought in this mode.{whitened}"}


def _refuse_another_recipe(done: DistilledSet, recipe: Recipe, spec: NetworkSpec, out: Path) -> None:
    try:
        stored = validate_recipe(done.provenance["recipe"], f"the recipe inside {out / 'set'}")
    except KeyError:
        raise ArtifactError(
            f"{out / 'set' / 'manifest.json'} holds no recipe",
            expected="a set that medistill distilled",
            do="choose another --out",
        ) from None
    refuse_another_recipe(recipe, stored, out)
    made_with = done.provenance.get("network", stored.network.name)
    if made_with != spec.name:
        raise UsageError(
            f"the run in {out} was made with the network {made_with}",
            expected=spec.name,
            do="give the network that it was made with, or choose another --out",
        )
