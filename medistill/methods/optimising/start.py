"""What an optimisation begins from: real training images, noise or decoded centroids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from medistill.artifacts.making import array_digest
from medistill.artifacts.normalisation import Normalisation
from medistill.artifacts.tiles import collages
from medistill.evaluate.important_originals import starting_rows
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
    With tiles, real images and centroids are shrunk, and fill each image, tile by tile.
    """
    corpus, recipe, device = context.corpus, context.recipe, context.device
    tiles = recipe.method.tile_factor
    fewest = [recipe.fewest_images if c in class_ids else 0 for c in range(len(corpus.class_names))]
    rows_by_class(corpus, fewest, beside="to be made", each=tiles**2)
    labels = torch.tensor(class_ids).repeat_interleave(recipe.method.ipc).to(device)
    if recipe.method.starts_from == "noise":
        shape = (len(labels), *corpus.images.shape[1:])
        noise = torch.randn(shape, generator=generator(recipe.seed, "noise"))
        if recipe.method.start_norm:
            noise *= recipe.method.start_norm / noise.flatten(1).norm(dim=1).view(-1, *[1] * (noise.ndim - 1))
        return noise.to(device), labels, None
    if recipe.method.starts_from == "quantised":
        centroids = quantise(context, class_ids)
        rows = rows_of_tiles(centroids.labels, tiles)
        _say_what_is_left(centroids.labels, rows, context)
        images = collages(torch.from_numpy(centroids.images(normalisation)[rows]).to(device), tiles)
        return images, torch.from_numpy(centroids.labels[rows[:: tiles**2]]).to(device), centroids.record
    per_class = [recipe.method.begun if c in class_ids else 0 for c in range(len(corpus.class_names))]
    rows = starting_rows(corpus, per_class, normalisation, recipe.method.start_drawn_by, recipe.seed)
    real = LabelledImages.of_corpus(corpus, rows, normalisation, device).batch(slice(None)).clone()
    return collages(real, tiles), labels, None


def _say_what_is_left(labels: np.ndarray, rows: np.ndarray, context: Context) -> None:
    """Say where a class has fewer images than were asked for, since its centroids fill no more with tiles."""
    method = context.recipe.method
    each = method.tile_factor**2
    for label in np.unique(labels):
        found, images = int(np.sum(labels == label)), int(np.sum(labels[rows] == label)) // each
        if each == 1 or found == method.begun:
            continue
        name, over = context.corpus.class_names[label], found - each * images
        rest = f", and {over} {'is' if over == 1 else 'are'} not used" if over > 0 else ""
        rest = ", some of which are there twice" if over < 0 else rest
        context.progress.say(
            f"Class {name} has {images} stored {'image' if images == 1 else 'images'} in place of {method.ipc}: each "
            f"begins as {each} of its {found} centroids{rest} (method.tiles)."
        )


def rows_of_tiles(labels: np.ndarray, tiles: int) -> np.ndarray:
    """Return which of some images (M,) are the tiles of stored ones, those of one after the other; all where there are
    no tiles.

    What is left over of a class, since it does not fill another stored image, has no tile. A class of too few for one
    repeats them.
    """
    if tiles == 1:
        return np.arange(len(labels))
    by_class = [np.flatnonzero(labels == label) for label in dict.fromkeys(labels.tolist())]
    return np.concatenate([np.resize(rows, max(1, len(rows) // tiles**2) * tiles**2) for rows in by_class])
