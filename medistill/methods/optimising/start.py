"""What an optimisation begins from: real training images, noise or decoded centroids."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from medistill.artifacts.making import array_digest
from medistill.artifacts.normalisation import Normalisation
from medistill.evaluate.protocol import random_rows
from medistill.evaluate.representatives import rows_by_class
from medistill.methods.quantising.quantise import quantise
from medistill.quantisation.record import Quantisation
from medistill.training.context import Context
from medistill.training.images import LabelledImages
from medistill.training.randomness import generator


def start_digest(pixels: Tensor) -> str:
    """Return the SHA-256 of the images before the first outer step."""
    return array_digest({"pixels": pixels.detach().cpu().numpy()})


def starting_images(
    context: Context, class_ids: Sequence[int], normalisation: Normalisation
) -> tuple[Tensor, Tensor, Quantisation | None]:
    """Return normalised (N, C, H, W), class by class of those that the set is to hold, and their labels (N,).

    They are real training images, noise, or decoded centroids, of which alone a class can have fewer than asked for.
    """
    corpus, recipe, device = context.corpus, context.recipe, context.device
    fewest = [recipe.fewest_images if c in class_ids else 0 for c in range(len(corpus.class_names))]
    rows_by_class(corpus, fewest, beside="to be made")
    labels = torch.tensor(class_ids).repeat_interleave(recipe.method.ipc).to(device)
    if recipe.method.starts_from == "noise":
        shape = (len(labels), *corpus.images.shape[1:])
        return torch.randn(shape, generator=generator(recipe.seed, "noise")).to(device), labels, None
    if recipe.method.starts_from == "quantised":
        centroids = quantise(context, class_ids)
        images = centroids.images(normalisation)
        return torch.from_numpy(images).to(device), torch.from_numpy(centroids.labels).to(device), centroids.record
    per_class = [recipe.method.ipc if c in class_ids else 0 for c in range(len(corpus.class_names))]
    rows = random_rows(corpus, per_class, recipe.seed, -1)
    real = LabelledImages.of_corpus(corpus, rows, normalisation, device).batch(slice(None)).clone()
    return real, labels, None
