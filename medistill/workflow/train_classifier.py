"""Train a classifier: one network on a distilled set, kept with all that its images need."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from medistill.artifacts.classifier import Classifier
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.new_folder import new_folder, refuse_taken
from medistill.evaluate.protocol import distilled_training, scheduled, stored_bytes
from medistill.evaluate.schedule_choice import Candidate
from medistill.networks.flat import FlatParameters
from medistill.networks.registry import NetworkSpec, check_image_size
from medistill.progress import Progress, Silent
from medistill.recipe import Recipe
from medistill.training.device import choose_device
from medistill.training.fresh_network import TrainingSet, train_network
from medistill.training.randomness import generator
from medistill.workflow.environment import versions


def train_classifier(
    distilled: DistilledSet,
    recipe: Recipe,
    *,
    out: str | Path,
    signer: str | None = None,
    schedules: Mapping[str, Candidate] = MappingProxyType({}),
    device: str = "auto",
    progress: Progress = Silent(),
) -> Classifier:
    """Train a classifier on a distilled set as `evaluate` trains the networks of its arm ``distilled``.

    It is the first of those networks: the same seed gives the same weights on the same machine. Nothing is written
    before the training is done.

    Args:
        recipe: network, augmentation and seed; and the schedule where it fixes one (``schedule.choose``), or where none
            is told: ``evaluate.epochs`` and its neighbours.
        out: folder of the classifier, new or empty.
        signer: fingerprint of the trusted key that signed the set (`receive` gives it); None records that the set was
            not verified.
        schedules: network in words -> how its maker trained it on the set (`receive` gives them).

    Raises:
        UsageError: ``out`` holds something already.
        RecipeError: the images are too small for the network.
        DivergedError: the weights left the finite numbers.
    """
    folder, on_device = Path(out), choose_device(device)
    refuse_taken(folder)
    channels, height, width = distilled.images.shape[1:]
    spec = NetworkSpec(recipe.network, channels, height, len(distilled.class_names))
    check_image_size(spec)
    chosen = schedules.get(spec.words) if recipe.schedule.choose == "validation" else None
    training = distilled_training(distilled, recipe.evaluate, on_device)
    if chosen is not None:
        training = replace(training, schedule=scheduled(chosen, len(distilled.labels), recipe.evaluate))
    progress.say(_how_trained(recipe, training, chosen, spec))
    with progress.task(f"Training {spec.words}", training.schedule.epochs) as task:

        def tick(epoch: int, flat: FlatParameters) -> None:
            task.advance()

        rng = generator(recipe.seed, "evaluate", "distilled", 0)
        network, seconds = train_network(training, spec, recipe, rng, on_device, tick)
    classifier = Classifier(
        weights={name: array.cpu().numpy().copy() for name, array in network.state_dict().items()},
        class_names=distilled.class_names,
        shape=(channels, height, width),
        normalisation=distilled.normalisation,
        recipe=_for_any_site(recipe, distilled),
        images=len(distilled.labels),
        bytes=stored_bytes(distilled),
        epochs=training.schedule.epochs,
        seconds=seconds,
        provenance=_provenance(distilled, signer, training, on_device),
    )
    with new_folder(folder) as written:
        classifier.save(written)
    return classifier


def _provenance(
    distilled: DistilledSet, signer: str | None, training: TrainingSet, device: torch.device
) -> dict[str, Any]:
    """Return plain values on the set, who vouches for it, and the training."""
    return {
        "set": distilled.provenance,
        "set_verified": signer is not None,
        **({} if signer is None else {"set_signer": signer}),
        "set_digest": hashlib.sha256(distilled.training_bytes()).hexdigest(),
        "lr": training.schedule.lr,
        "device": device.type,
        "versions": versions(),
    }


def _how_trained(recipe: Recipe, training: TrainingSet, chosen: Candidate | None, spec: NetworkSpec) -> str:
    """Whose schedule is taken, and which."""
    if chosen is not None:
        return f"The network is trained as those of the set's own report were: {chosen.words}."
    fixed = recipe.schedule.choose == "fixed"
    why = "as schedule.choose=fixed asks" if fixed else f"since no report of the set says what suits {spec.words}"
    epochs, lr = training.schedule.epochs, training.schedule.lr
    return f"The network is trained for {epochs} epochs at a learning rate of {lr:.3g}, {why}."


def _for_any_site(recipe: Recipe, distilled: DistilledSet) -> Recipe:
    """The recipe with the set's own classes and image size, and no site of whoever made the set."""
    data = {
        "classes": distilled.class_names,
        "image_size": distilled.images.shape[2],
        "channels": distilled.images.shape[1],
        "sites": (),
        "prefer_sites": (),
        "burnt_in_text": "auto",  # so that nobody needs the reader to test on images of his own
    }
    return recipe.model_copy(update={"data": recipe.data.model_copy(update=data)})
