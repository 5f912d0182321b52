"""Looks: the images at every look of a run, kept so that a benchmark can tell the best test accuracy among them.

Papers on trajectory matching report that maximum. Here the validation split alone chooses the set, and the maximum is
only told: it was picked on the test images that it is measured on.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.kept import keep_json, keep_tensors, read_checked, read_checked_json
from medistill.errors import ArtifactError, DivergedError
from medistill.evaluate.protocol import Arms, answers
from medistill.networks.registry import NetworkSpec
from medistill.progress import Progress, every_epoch_but_last
from medistill.recipe import Recipe
from medistill.training.images import LabelledImages
from medistill.training.randomness import generator

FOLDER = "looks"
FOUND = "accuracy.json"


def keep_look(run: Path, step: int, images: LabelledImages, alpha: float) -> None:
    """Write the images of the look after outer step ``step``, as they would be evaluated."""
    soft = {} if images.soft_labels is None else {"soft_labels": images.soft_labels.cpu().numpy()}
    stage = torch.zeros_like(images.labels) if images.stage is None else images.stage
    tensors = {
        "images": images.pixels.cpu().numpy(),
        "labels": images.labels.cpu().numpy(),
        "stage": stage.cpu().numpy(),
        "student_lr": np.array([alpha], np.float64),
        **soft,
    }
    keep_tensors(private_folder(run / FOLDER) / f"{step:06d}.safetensors", tensors, {})


def best_look(
    run: Path,
    distilled: DistilledSet,
    chosen: tuple[float, ...],
    corpus: Corpus,
    recipe: Recipe,
    spec: NetworkSpec,
    device: torch.device,
    progress: Progress,
) -> tuple[int, float] | None:
    """The look with the best mean test accuracy, and that accuracy from 0 to 1; None where no looks were kept.

    As many fresh networks are trained on the images of every look as the evaluation trains on the set, with the same
    random numbers. Each accuracy is kept when it is there, and not computed again. Looks at earlier stages, at fewer
    images than the set has, do not take part, nor do those on which a network leaves the finite numbers.

    Args:
        chosen: accuracy of each network of the evaluation, which stand for the chosen look; empty tests that look too.

    Raises:
        ArtifactError: the images of a look are damaged.
    """
    looks = {step: look for step, path in _paths(run).items() if (look := _as_set(path, distilled)) is not None}
    if not looks:
        return None
    found = _Found(run / FOLDER / FOUND, _key(looks, corpus, recipe, spec, device))
    chosen_step = distilled.provenance.chosen_step
    if chosen and chosen_step in looks:
        found.accuracy[chosen_step] = list(chosen)
    networks, epochs = recipe.evaluate.networks, recipe.evaluate.epochs
    left = [(step, k) for step in looks for k in range(len(found.of(step)), networks)]
    test = LabelledImages.of_split(corpus, "test", distilled.normalisation, device)
    truth = test.labels.cpu().numpy()
    total = len(looks) * networks * epochs
    diverged = set()
    with progress.task("Testing every look", total, done=total - len(left) * epochs) as task:
        for step, k in left:
            if step in diverged:
                continue
            words = f"look {step}, network {k + 1} of {networks}"
            tick = every_epoch_but_last(task, epochs, 1, words)
            training = Arms(looks[step], corpus, recipe, device).training_set("distilled", k)
            numbers = generator(recipe.seed, "evaluate", "distilled", k)
            try:
                (told,) = answers(training, [test], spec, recipe, numbers, device, tick).probabilities
            except DivergedError as error:
                diverged.add(step)
                progress.say(f"Look {step} takes no part in the maximum: {error.seen}.")
                continue
            found.add(step, float(np.mean(told.argmax(axis=1) == truth)))
            task.advance(figures=words)
    means = {step: float(np.mean(found.of(step)[:networks])) for step in looks if step not in diverged}
    if not means:
        return None
    best = max(means, key=lambda step: means[step])
    return best, means[best]


class _Found:
    """Test accuracies of the networks of every look, on disk and here."""

    def __init__(self, path: Path, key: str) -> None:
        self.path, self.key = path, key
        stored = _stored(path)
        known = stored.get("accuracy", {}) if stored.get("key") == key else {}
        self.accuracy: dict[int, list[float]] = {int(step): list(values) for step, values in known.items()}

    def of(self, step: int) -> list[float]:
        """What is known of a look."""
        return self.accuracy.get(step, [])

    def add(self, step: int, accuracy: float) -> None:
        """Keep the accuracy of one more network."""
        self.accuracy.setdefault(step, []).append(accuracy)
        told = {str(of): values for of, values in sorted(self.accuracy.items())}
        keep_json(self.path, {"key": self.key, "accuracy": told}, private=True)


def _stored(path: Path) -> dict[str, Any]:
    """What was found before; what is damaged, or of a version without checksums, is found again."""
    try:
        return read_checked_json(path, "accuracy of the looks") if path.is_file() else {}
    except ArtifactError:
        return {}


def _paths(run: Path) -> dict[int, Path]:
    files = sorted((run / FOLDER).glob("*.safetensors"))
    return {int(path.stem): path for path in files if path.stem.isdecimal()}


def _as_set(path: Path, distilled: DistilledSet) -> DistilledSet | None:
    """The set with the images of a look in place of its own; None for a look at fewer images."""
    tensors, _ = read_checked(path, "images of a look")
    try:
        if len(tensors["labels"]) != len(distilled.labels):
            return None
        return replace(
            distilled,
            images=tensors["images"],
            labels=tensors["labels"],
            stage=tensors["stage"],
            student_lr=float(tensors["student_lr"][0]),
            soft_labels=tensors.get("soft_labels"),
        )
    except KeyError as error:
        raise ArtifactError(
            f"{path} holds no {error}",
            expected="the images of a look as this version of medistill writes them",
            do="remove that folder: the maximum is then not told",
        ) from None


def _key(
    looks: dict[int, DistilledSet], corpus: Corpus, recipe: Recipe, spec: NetworkSpec, device: torch.device
) -> str:
    """What decides the accuracies besides a network's number."""
    settings = recipe.model_dump(mode="json", include={"seed", "augmentation", "compute"})
    settings["evaluate"] = recipe.evaluate.model_dump(
        mode="json", include={"epochs", "batch_size", "momentum", "weight_decay"}
    )
    decisive = [settings, spec.identity(), corpus.content, device.type]
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode())
    for look in looks.values():
        digest.update(look.training_bytes())
    return digest.hexdigest()
