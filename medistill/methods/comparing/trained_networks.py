"""Trained networks: those in whose eyes images are compared, made of the originals once and kept in the run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.making import array_digest
from medistill.artifacts.normalisation import Normalisation
from medistill.engine.sources.blend import NAME
from medistill.networks.flat import FlatParameters
from medistill.recipe.comparing import TrainedNetworksRecipe
from medistill.training.context import Context
from medistill.training.ensemble import JobRunner, OutputsFile, TrainingJob
from medistill.training.fresh_network import TrainingSet
from medistill.training.images import LabelledImages
from medistill.training.loop import Schedule
from medistill.training.randomness import generator

PARAMETERS = "parameters"
"""Under which a file has those of a network after its training."""


def training_images(context: Context, class_ids: Sequence[int], normalisation: Normalisation) -> LabelledImages:
    """Return the training images of the classes that the set is to hold, as bytes on the device."""
    corpus, device = context.corpus, context.device
    train = corpus.rows("train")
    rows = train[np.isin(corpus.labels[train], list(class_ids))]
    return LabelledImages.of_corpus(corpus, rows, normalisation, device)


def trained_networks(
    context: Context, class_ids: Sequence[int], normalisation: Normalisation, settings: TrainedNetworksRecipe
) -> tuple[Float[Tensor, "M P"], str]:
    """Return the parameters of networks trained on the originals, and their SHA-256; those of an earlier call on the
    same run are read from ``out/state/networks``.

    Network k begins as that of seed and k alone, and learns under the augmentation of the recipe. Of several ranks of
    the context each takes the next network.

    Args:
        context: corpus, recipe, network and device, and the folder of the run.
        class_ids: classes of the corpus whose images they learn, ascending.
        normalisation: of these images.
        settings: how many, and how they are trained.

    Raises:
        DivergedError: one of them left the finite numbers.
    """
    seed, images = context.recipe.seed, training_images(context, class_ids, normalisation)
    schedule = Schedule(
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        lr=settings.lr,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )
    folder, key = private_folder(context.out / "state" / "networks"), _key(context, class_ids, settings)
    runner = JobRunner(
        [
            TrainingJob(
                group="networks",
                number=number,
                display_name=f"network {number + 1} of {settings.count}, which is to see the images",
                epochs=settings.epochs,
                steps=len(images),
                training=lambda: TrainingSet(images, schedule),
                rng=lambda number=number: generator(seed, NAME, number),  # type: ignore[misc]
                outputs=_parameters,
                store=OutputsFile(folder / f"{number:03d}.safetensors", key, "stored network"),
            )
            for number in range(settings.count)
        ],
        context.progress.say,
    )
    runner.run(context, "Training networks")
    ends = np.stack([one.arrays[PARAMETERS] for one in runner.of("networks")])
    return torch.from_numpy(ends), array_digest({PARAMETERS: ends})


def _parameters(network: nn.Module) -> dict[str, np.ndarray]:
    """Return what is kept of a trained network."""
    return {PARAMETERS: FlatParameters(network).values.cpu().numpy()}


def _key(context: Context, class_ids: Sequence[int], settings: TrainedNetworksRecipe) -> str:
    """Return what tells such networks from all others."""
    decisive = context.recipe.model_dump(mode="json", include={"seed", "augmentation", "compute", "data"})
    decisive |= {"trained": settings.model_dump(exclude={"count"}), "network": context.spec.identity()}
    told = [decisive, context.corpus.content, list(class_ids), context.device.type]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
