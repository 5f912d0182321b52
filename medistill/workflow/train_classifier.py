"""Train a classifier: one network on a distilled set, kept with all that its images need."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import torch

from medistill.artifacts.classifier import Classifier, ClassifierProvenance
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.new_folder import new_folder, refuse_taken
from medistill.evaluate.protocol import distilled_training, stored_bytes, told_way, trained_by
from medistill.evaluate.schedule_choice import Way
from medistill.networks.flat import FlatParameters
from medistill.networks.registry import NetworkSpec, check_image_size, spec_of
from medistill.privacy.accounting import Guarantee
from medistill.progress import Progress, Silent
from medistill.recipe import Recipe
from medistill.training.device import choose_device
from medistill.training.fresh_network import TrainingSet, suited, train_network
from medistill.training.penalty import Penalty
from medistill.training.randomness import generator
from medistill.workflow.encoder_choice import with_encoder
from medistill.workflow.encoder_here import other_network, require_encoder
from medistill.workflow.environment import versions
from medistill.workflow.provenance import encoder_summary


def train_classifier(
    distilled: DistilledSet,
    recipe: Recipe,
    *,
    out: str | Path,
    signer: str | None = None,
    schedules: Mapping[str, Way] = MappingProxyType({}),
    device: str = "auto",
    progress: Progress = Silent(),
) -> Classifier:
    """Train a classifier on a distilled set as `evaluate` trains the networks of its arm ``distilled``.

    It is the first of those networks: the same seed gives the same weights on the same machine. Nothing is written
    before the training is done. On a set with a guarantee of differential privacy the way that its maker chose by
    validation patients is not taken, unless he declared them public: so what the guarantee covers, the set, is all that
    the classifier is made of.

    Args:
        recipe: network, augmentation and seed; and the schedule where it fixes one (``schedule.choose``), or where none
            is told: ``evaluate.epochs`` and its neighbours.
        out: folder of the classifier, new or empty.
        signer: fingerprint of the trusted key that signed the set (`receive` gives it); None records that the set was
            not verified.
        schedules: network in words -> how its maker trained it on the set (`receive` gives them).

    Raises:
        UsageError: ``out`` holds something already, or the encoder of the set is not on this machine.
        RecipeError: the images are too small for the network.
        DivergedError: the weights left the finite numbers.
    """
    folder, on_device = Path(out), choose_device(device)
    refuse_taken(folder)
    recipe = with_encoder(recipe)
    channels, height, width = distilled.images.shape[1:]
    require_encoder(distilled.provenance, recipe)
    spec = spec_of(recipe.network, channels, height, len(distilled.class_names))
    check_image_size(spec)
    guarantee = Guarantee.of_set(distilled.provenance)
    secret = guarantee is not None and not guarantee.validation_is_public
    chosen = told_way(schedules, spec) if recipe.schedule.choose == "validation" and not secret else None
    training = distilled_training(distilled, recipe.evaluate, on_device)
    how = suited(training.schedule, spec, recipe)
    if chosen is not None:
        how = trained_by(chosen, distilled.shown, recipe.evaluate)
    training = replace(training, schedule=how)
    if note := other_network(distilled.provenance, spec):
        progress.say(note)
    progress.say(_how_trained(recipe, training, chosen, spec, secret=secret))
    with progress.task(f"Training {spec.words}", how.epochs) as task:

        def tick(epoch: int, flat: FlatParameters) -> None:
            task.advance()

        rng = generator(recipe.seed, "evaluate", "distilled", 0)
        network, seconds = train_network(training, spec, recipe, rng, on_device, tick)
    classifier = Classifier(
        weights={name: array.cpu().numpy().copy() for name, array in network.state_dict().items()},
        class_names=distilled.class_names,
        shape=(channels, height, width),
        normalisation=distilled.normalisation,
        recipe=for_any_site(recipe, distilled, "" if spec.encoder is None else spec.encoder.sha256),
        images=distilled.shown,
        bytes=stored_bytes(distilled),
        epochs=training.schedule.epochs,
        seconds=seconds,
        provenance=_provenance(distilled, signer, training, spec, on_device),
    )
    with new_folder(folder) as written:
        classifier.save(written)
    return classifier


def _provenance(
    distilled: DistilledSet, signer: str | None, training: TrainingSet, spec: NetworkSpec, device: torch.device
) -> ClassifierProvenance:
    """Return what is said of the set, of who vouches for it, and of the training."""
    how = training.schedule
    return ClassifierProvenance(
        set=distilled.provenance,
        set_verified=signer is not None,
        set_signer=signer,
        set_digest=hashlib.sha256(distilled.training_bytes()).hexdigest(),
        first=distilled.cut_to,
        lr=None if isinstance(how, Penalty) else how.lr,
        penalty=how.penalty if isinstance(how, Penalty) else None,
        encoder=None if spec.encoder is None else encoder_summary(spec.encoder),
        device=device.type,
        versions=versions(),
    )


def _how_trained(recipe: Recipe, training: TrainingSet, chosen: Way | None, spec: NetworkSpec, *, secret: bool) -> str:
    """Whose schedule is taken, and which."""
    if chosen is not None:
        return f"The network is trained as those of the set's own report were: {chosen.words}."
    fixed = recipe.schedule.choose == "fixed"
    why = "as schedule.choose=fixed asks" if fixed else f"since no report of the set says what suits {spec.words}"
    if secret and not fixed:
        why = "since what its maker's validation patients chose is not covered by the set's differential privacy"
    how = training.schedule
    if isinstance(how, Penalty):
        return f"The probe is fitted under {how.words} (schedule.penalty), {why}."
    return f"The network is trained for {how.epochs} epochs at a learning rate of {how.lr:.3g}, {why}."


def for_any_site(recipe: Recipe, distilled: DistilledSet, encoder: str) -> Recipe:
    """The recipe with the set's own classes and image size, the encoder (SHA-256) that was used, and no site of whoever
    made the set."""
    data = {
        "classes": distilled.class_names,
        "image_size": distilled.images.shape[2],
        "channels": distilled.images.shape[1],
        "sites": (),
        "prefer_sites": (),
        "burnt_in_text": "auto",  # so that nobody needs the reader to test on images of his own
    }
    return recipe.model_copy(
        update={
            "data": recipe.data.model_copy(update=data),
            "network": recipe.network.model_copy(update={"encoder": encoder}),
        }
    )
