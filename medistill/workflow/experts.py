"""Train experts on the raw training split and keep their trajectories."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.cache import cache_root
from medistill.artifacts.corpus import Corpus
from medistill.artifacts.normalisation import Normalisation
from medistill.artifacts.trajectories import Trajectories, open_trajectories
from medistill.errors import DivergedError
from medistill.networks.flat import FlatParameters
from medistill.networks.footprint import micro_batch_size
from medistill.networks.registry import NetworkSpec, build_network
from medistill.progress import Progress, Silent
from medistill.recipe import Recipe
from medistill.training.device import choose_device, precision
from medistill.training.images import LabelledImages
from medistill.training.loop import Schedule, train
from medistill.training.randomness import generator


def network_spec(corpus: Corpus, recipe: Recipe) -> NetworkSpec:
    """The network that a recipe means for a corpus."""
    return NetworkSpec(recipe.network, corpus.images.shape[1], corpus.images.shape[2], len(corpus.class_names))


def train_experts(
    corpus: Corpus, recipe: Recipe, *, device: str = "auto", progress: Progress = Silent()
) -> Trajectories:
    """Train the experts that are not there yet.

    Snapshot 0 is the start, snapshot e the parameters after e epochs of SGD. Each expert is written whole or not at
    all, and draws its random numbers from the seed and its own number: one that was interrupted is trained again to the
    same bits.

    Raises:
        DivergedError: an expert's parameters left the finite numbers.
    """
    place = choose_device(device)
    spec = network_spec(corpus, recipe)
    normalisation = Normalisation.of(corpus.images[corpus.rows("train")])
    network = build_network(spec, generator(recipe.seed, "expert", 0))
    flat = FlatParameters(network)
    micro_batch = micro_batch_size(network.to(place), spec.channels, spec.image_size, chosen=recipe.compute.micro_batch)
    decisive: dict[str, Any] = {
        "seed": recipe.seed,
        "corpus": corpus.content,
        "network": recipe.network.model_dump(mode="json"),
        "augmentation": recipe.augmentation.model_dump(mode="json"),
        "experts": recipe.experts.model_dump(mode="json", exclude={"count"}),
        "precision": recipe.compute.precision,
        "normalisation": normalisation.as_json(),
        "micro_batch": micro_batch,
        "device": place.type,
    }
    trajectories = open_trajectories(
        private_folder(cache_root() / "trajectories"),
        {
            "key": hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest(),
            "count": recipe.experts.count,
            "epochs": recipe.experts.epochs,
            "names": list(flat.names),
            "shapes": [list(shape) for shape in flat.shapes],
            "normalisation": normalisation.as_json(),
            "made_with": decisive,
        },
    )
    missing = [expert for expert in range(recipe.experts.count) if not trajectories.has(expert)]
    total = recipe.experts.count * recipe.experts.epochs
    if not missing:
        progress.say(f"The {recipe.experts.count} experts are in the cache already.")
        return trajectories
    data = LabelledImages.of_split(corpus, "train", normalisation, place)
    schedule = Schedule(
        recipe.experts.epochs,
        recipe.experts.batch_size,
        recipe.experts.lr,
        recipe.experts.momentum,
        recipe.experts.weight_decay,
    )
    with (
        progress.task("Training experts", total, done=total - len(missing) * recipe.experts.epochs) as task,
        precision(recipe.compute.precision, place),
    ):
        for expert in missing:
            numbers = generator(recipe.seed, "expert", expert)
            network = build_network(spec, numbers, place)
            snapshots = np.empty((recipe.experts.epochs + 1, trajectories.parameters), np.float32)
            snapshots[0] = FlatParameters(network).values.cpu().numpy()

            def keep(epoch: int, flat: FlatParameters, snapshots: np.ndarray = snapshots, expert: int = expert) -> None:
                snapshots[epoch] = flat.values.cpu().numpy()
                if not np.isfinite(snapshots[epoch]).all():
                    raise DivergedError(
                        f"expert {expert} diverged in epoch {epoch} at experts.lr = {recipe.experts.lr}",
                        expected="finite parameters",
                        do="lower experts.lr by a factor of 3",
                    )
                if epoch == recipe.experts.epochs:
                    trajectories.save_expert(expert, snapshots)
                task.advance(figures=f"expert {expert + 1} of {recipe.experts.count}")

            train(network, data, schedule, recipe.augmentation, numbers, micro_batch=micro_batch, after_epoch=keep)
    return trajectories
