"""What an optimisation begins from: real training images, noise or decoded centroids, and logits of their labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.making import array_digest
from medistill.artifacts.normalisation import Normalisation
from medistill.artifacts.trajectories import Trajectories
from medistill.evaluate.protocol import random_rows
from medistill.evaluate.representatives import rows_by_class
from medistill.methods.quantising.quantise import quantise
from medistill.networks.flat import FlatParameters
from medistill.networks.registry import NetworkSpec, build_network
from medistill.progress import Progress
from medistill.quantisation.record import Quantisation
from medistill.recipe import Recipe
from medistill.training.fresh_network import logits
from medistill.training.images import LabelledImages
from medistill.training.randomness import generator

NOISE_CONFIDENCE = 0.9
"""Probability of its own class that an image from noise starts with; nearer to 1, softmax passes hardly a gradient."""


def start_digest(pixels: Tensor) -> str:
    """Of the images before the first outer step."""
    return array_digest({"pixels": pixels.detach().cpu().numpy()})


def starting_images(
    corpus: Corpus,
    class_ids: Sequence[int],
    normalisation: Normalisation,
    recipe: Recipe,
    out: Path,
    device: torch.device,
    progress: Progress,
) -> tuple[Tensor, Tensor, Quantisation | None]:
    """Normalised (N, C, H, W), class by class of those that the set is to hold, and their labels (N,).

    They are real training images, noise, or decoded centroids, of which alone a class can have fewer than asked for.
    """
    fewest = [recipe.fewest_images if c in class_ids else 0 for c in range(len(corpus.class_names))]
    rows_by_class(corpus, fewest, beside="to be made")
    labels = torch.tensor(class_ids).repeat_interleave(recipe.method.ipc).to(device)
    if recipe.method.starts_from == "noise":
        shape = (len(labels), *corpus.images.shape[1:])
        return torch.randn(shape, generator=generator(recipe.seed, "noise")).to(device), labels, None
    if recipe.method.starts_from == "quantised":
        centroids = quantise(corpus, recipe, class_ids, out=out, device=device, progress=progress)
        images = centroids.images(normalisation)
        return torch.from_numpy(images).to(device), torch.from_numpy(centroids.labels).to(device), centroids.record
    per_class = [recipe.method.ipc if c in class_ids else 0 for c in range(len(corpus.class_names))]
    rows = random_rows(corpus, per_class, recipe.seed, -1)
    real = LabelledImages.of_corpus(corpus, rows, normalisation, device).batch(slice(None)).clone()
    return real, labels, None


def starting_logits(
    pixels: Tensor, labels: Tensor, trajectories: Trajectories, recipe: Recipe, spec: NetworkSpec
) -> Tensor:
    """Logits (N, classes) that soft labels start from: what expert 0 answers at its end, whether right or wrong.

    Noise has no right answer: there each image starts with probability `NOISE_CONFIDENCE` for the class that it is made
    for and the rest shared evenly.
    """
    if recipe.method.starts_from == "noise":
        own = NOISE_CONFIDENCE * max(1, spec.classes - 1) / (1 - NOISE_CONFIDENCE)
        return math.log(own) * torch.nn.functional.one_hot(labels, spec.classes).float()
    network = build_network(spec, generator(recipe.seed, "student"), pixels.device)
    FlatParameters(network).load(torch.from_numpy(trajectories.snapshot(0, trajectories.epochs)))
    return logits(network, LabelledImages.of_floats(pixels, labels), spec, recipe, pixels.device)
