"""The best checkpoint: the best mean test accuracy over all validation steps of a run, as papers report it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.kept import keep_json, read_checked_json
from medistill.errors import ArtifactError, DivergedError
from medistill.evaluate.arms import Arms
from medistill.methods.optimising.validation_steps import FOLDER, kept_steps
from medistill.training.context import Context
from medistill.training.ensemble import JobRunner, Outputs, TrainingJob
from medistill.training.fresh_network import TrainingSet, probabilities
from medistill.training.images import LabelledImages
from medistill.training.randomness import generator

ACCURACIES = "accuracy.json"


def best_checkpoint(distilled: DistilledSet, known: tuple[float, ...], context: Context) -> tuple[int, float] | None:
    """Return the step with the best mean test accuracy, and that from 0 to 1; None where no steps were kept.

    As many fresh networks are trained on the images of every step as the evaluation trains on the set, with the same
    random numbers. Each accuracy is kept when it is there, and not computed again. Steps of earlier stages, at fewer
    images than the set has, do not take part, nor do those on which a network leaves the finite numbers.

    Args:
        distilled: the set of the run.
        known: accuracy of each network of the evaluation, which stand for the chosen step; empty tests that step too.
        context: corpus, recipe, network and device; its folder is the run's.

    Raises:
        ArtifactError: the images of a step are damaged.
    """
    sets = kept_steps(context.out, distilled)
    if not sets:
        return None
    accuracies = _Accuracies(context.out / FOLDER / ACCURACIES, _key(sets, context))
    chosen_step = distilled.provenance.chosen_step
    if known and chosen_step in sets:
        accuracies.of_step[chosen_step] = list(known)
    runner = JobRunner(_jobs(sets, accuracies, context), context.progress.say)

    def leave_out(job: TrainingJob, error: DivergedError) -> None:
        context.progress.say(f"Look {job.group} takes no part in the maximum: {error.seen}.")

    runner.run(context, "Testing every look", leave_out=leave_out)
    means = {
        step: float(np.mean([one.arrays["accuracy"] for one in runner.of(str(step))]))
        for step in sets
        if str(step) not in runner.diverged
    }
    if not means:
        return None
    best = max(means, key=lambda step: means[step])
    return best, means[best]


def _jobs(sets: Mapping[int, DistilledSet], accuracies: _Accuracies, context: Context) -> list[TrainingJob]:
    recipe, some = context.recipe, next(iter(sets.values()))
    test = LabelledImages.of_split(context.corpus, "test", some.normalisation, context.device)
    truth = test.labels.cpu().numpy()

    def accuracy(network: nn.Module) -> dict[str, np.ndarray]:
        predicted = probabilities(network, test, context.spec, recipe, context.device)
        share = np.mean(predicted.argmax(axis=1) == truth) if np.isfinite(predicted).all() else np.nan
        return {"accuracy": np.array(share)}

    def arms_of(step: int) -> Arms:
        return Arms(sets[step], context.corpus, recipe, context.device, encoder=context.spec.encoder)

    def job(step: int, number: int) -> TrainingJob:
        def training() -> TrainingSet:
            return arms_of(step).training_set("distilled", number)

        return TrainingJob(
            group=str(step),
            number=number,
            display_name=f"look {step}, network {number + 1} of {recipe.evaluate.networks}",
            epochs=recipe.evaluate.epochs,
            steps=1,
            training=training,
            rng=lambda: generator(recipe.seed, "evaluate", "distilled", number),
            outputs=accuracy,
            store=_Accuracy(accuracies, step, number),
        )

    return [job(step, number) for step in sets for number in range(arms_of(step).networks("distilled"))]


class _Accuracies:
    """Test accuracies of the networks of every step, on disk and here.

    Attributes:
        of_step: step -> accuracy of each of its networks, in order.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path, self.key = path, key
        stored = _stored(path)
        kept = stored.get("accuracy", {}) if stored.get("key") == key else {}
        self.of_step: dict[int, list[float]] = {int(step): list(values) for step, values in kept.items()}

    def write(self) -> None:
        """Keep what is known."""
        values = {str(step): values for step, values in sorted(self.of_step.items())}
        keep_json(self.path, {"key": self.key, "accuracy": values}, private=True)


@dataclass(frozen=True)
class _Accuracy:
    """Where the accuracy of one network lies: in the file of all."""

    accuracies: _Accuracies
    step: int
    number: int

    def load(self, say: Callable[[str], None]) -> Outputs | None:
        """Return what is known of this network."""
        known = self.accuracies.of_step.get(self.step, [])
        return Outputs({"accuracy": np.array(known[self.number])}, 0.0) if self.number < len(known) else None

    def save(self, outputs: Outputs) -> None:
        """Add this network, the next of its step."""
        self.accuracies.of_step.setdefault(self.step, []).append(float(outputs.arrays["accuracy"]))
        self.accuracies.write()


def _stored(path: Path) -> dict[str, Any]:
    """Return what was found before; what is damaged, or of a version without checksums, is found again."""
    try:
        return read_checked_json(path, "accuracy of the looks") if path.is_file() else {}
    except ArtifactError:
        return {}


def _key(sets: Mapping[int, DistilledSet], context: Context) -> str:
    """Return what decides the accuracies besides a network's number."""
    recipe = context.recipe
    settings = recipe.model_dump(mode="json", include={"seed", "augmentation", "compute"})
    settings["evaluate"] = recipe.evaluate.model_dump(
        mode="json", include={"epochs", "batch_size", "momentum", "weight_decay"}
    )
    if context.spec.encoder is not None:
        settings["penalty"] = recipe.schedule.penalty
    decisive = [settings, context.spec.identity(), context.corpus.content, context.device.type]
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode())
    for of_step in sets.values():
        digest.update(of_step.training_bytes())
    return digest.hexdigest()
