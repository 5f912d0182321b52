"""Teachers: networks trained on the training split, whose answers become the soft labels of images.

They are trained on patients' images and stay in the run: only what they answer leaves.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.corpus import Corpus
from medistill.artifacts.kept import keep_tensors, read_kept
from medistill.artifacts.normalisation import Normalisation
from medistill.errors import DivergedError
from medistill.evaluate.protocol import TrainingSet, logits, raw_schedule, trained_network
from medistill.networks.flat import FlatParameters
from medistill.networks.registry import NetworkSpec, build_network
from medistill.progress import Progress, every_epoch_but_last
from medistill.recipe import Recipe, quantisation_of
from medistill.training.images import LabelledImages
from medistill.training.randomness import generator
from medistill.workflow.evaluate import what_decides

FOLDER = "teacher"


def soft_labels(
    images: np.ndarray,
    corpus: Corpus,
    recipe: Recipe,
    normalisation: Normalisation,
    spec: NetworkSpec,
    *,
    out: Path,
    place: torch.device,
    progress: Progress,
) -> np.ndarray:
    """Probabilities float32 (N, classes): the mean over the teachers of softmax(logits / temperature).

    Each teacher is trained as a network of the evaluation is on all originals, with numbers of its own, and kept in
    ``out/teacher``; one that is there is not trained again.

    Args:
        images: normalised float32 (N, C, H, W).

    Raises:
        DivergedError: a teacher left the finite numbers.
    """
    settings, folder = recipe.evaluate, private_folder(out / FOLDER)
    key = hashlib.sha256(what_decides(corpus, recipe, spec, place) + repr(normalisation.as_json()).encode()).hexdigest()
    paths = [folder / f"teacher_{number:02d}.safetensors" for number in range(quantisation_of(recipe.method).teachers)]
    kept = [read_kept(path, key, "a teacher", progress.say) for path in paths]
    missing = [number for number, found in enumerate(kept) if found is None]
    shown = LabelledImages.of_floats(
        torch.from_numpy(images).to(place), torch.zeros(len(images), dtype=torch.int64, device=place)
    )
    total = torch.zeros(len(images), spec.classes, device=place)
    with progress.task(
        "Training teachers", len(paths) * settings.raw_epochs, done=(len(paths) - len(missing)) * settings.raw_epochs
    ) as task:
        if missing:
            data = LabelledImages.of_split(corpus, "train", normalisation, place)
            training = TrainingSet(data, raw_schedule(settings))
        for number, (path, found) in enumerate(zip(paths, kept, strict=True)):
            if found is None:
                words = f"teacher {number + 1} of {len(paths)}"
                tick = every_epoch_but_last(task, settings.raw_epochs, 1, words)
                try:
                    network, _ = trained_network(
                        training, spec, recipe, generator(recipe.seed, "teacher", number), place, tick
                    )
                except DivergedError as error:
                    raise DivergedError(f"{words}: {error.seen}", expected=error.expected, do=error.do) from None
                keep_tensors(path, {"parameters": FlatParameters(network).values.cpu().numpy()}, {"key": key})
                task.advance(figures=words)
            else:
                network = build_network(spec, generator(recipe.seed, "teacher", number), place)
                FlatParameters(network).load(torch.from_numpy(found["parameters"]).to(place))
            told = logits(network, shown, spec, recipe, place)
            total += torch.softmax(told / quantisation_of(recipe.method).temperature, dim=1)
    mean: np.ndarray = (total / len(paths)).cpu().numpy()
    return mean
