"""Patches: of each class the regions of originals that show it most and differ, pasted together into images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.kept import keep_tensors, read_kept
from medistill.artifacts.local_key import local_key, seal
from medistill.artifacts.making import array_digest
from medistill.denoising.denoisers import denoiser_for
from medistill.errors import MedistillError
from medistill.evaluate.representatives import rows_by_class
from medistill.recipe import PatchesRecipe
from medistill.selection.patch_choice import choose_patches, paste
from medistill.selection.region_scores import NoiseErrors, Regions, RegionScorer, best_regions
from medistill.training.context import Context
from medistill.training.randomness import derive_seed

FILE, SEAL = "patches.safetensors", "seal"


@dataclass(frozen=True)
class Patched:
    """Images of patches, class by class.

    Attributes:
        images: uint8 (N, C, H, W), grey values of originals.
        labels: int64 (N,).
        rows: int64 (N, f^2), the original of each patch, row by row from the upper left; they stay at home.
        licence: of the denoiser that was brought; else empty.
    """

    images: np.ndarray
    labels: np.ndarray
    rows: np.ndarray
    licence: str


def patched_images(context: Context, class_ids: Sequence[int], settings: PatchesRecipe) -> Patched:
    """Score the training images of every class, choose patches and paste them.

    What was chosen is kept in ``out/state`` until the set is finished, so that a run that is resumed does not score
    them again.

    Args:
        context: corpus, recipe and device; its folder is that of the run. No network of it is used.
        class_ids: classes of the corpus that the set is to hold, ascending.
        settings: of the method.

    Raises:
        DataError: a class has fewer images than patches are asked for, or there is one class alone.
        UsageError: a denoiser that was brought is not in the cache.
        ArtifactError: it does not fit the corpus, or gives NaN.
        DivergedError: the training of the corpus's own left the finite numbers.
    """
    corpus, state = context.corpus, private_folder(context.out / "state")
    per_class = [settings.begun if c in class_ids else 0 for c in range(len(corpus.class_names))]
    key = _key(context, class_ids, settings)
    kept = read_kept(state / FILE, key, "patches", context.progress.say)
    if kept is not None and SEAL in kept and np.array_equal(kept[SEAL], _seal(kept, key)):
        return Patched(kept["images"], kept["labels"], kept["rows"], bytes(kept["licence"]).decode())
    try:
        rows = rows_by_class(corpus, per_class, beside="to be made", each=settings.patches**2)
        denoiser, licence = denoiser_for(corpus, context.recipe, context.device, context.progress)
        scorer = NoiseErrors.of(denoiser, corpus.class_names, settings.draws)
        done = [_of_class(context, c, rows[c], scorer, settings) for c in class_ids]
    except MedistillError:
        with suppress(OSError):
            state.rmdir()  # nothing is in it: ``out`` can be taken again, with the settings that were asked for
        raise
    found = Patched(
        images=np.concatenate([images for images, _ in done]),
        labels=np.repeat(np.array(class_ids, np.int64), settings.ipc),
        rows=np.concatenate([regions.rows for _, regions in done]).reshape(-1, settings.patches**2),
        licence=licence,
    )
    arrays = {
        "images": found.images,
        "labels": found.labels,
        "rows": found.rows,
        "licence": np.frombuffer(licence.encode(), np.uint8),
    }
    keep_tensors(state / FILE, {**arrays, SEAL: _seal(arrays, key)}, {"key": key})
    return found


def _of_class(
    context: Context, c: int, rows: np.ndarray, scorer: RegionScorer, settings: PatchesRecipe
) -> tuple[np.ndarray, Regions]:
    """Return the images of a class, and the regions that fill them."""
    corpus, recipe, progress = context.corpus, context.recipe, context.progress
    side, name = corpus.images.shape[2] // settings.patches, corpus.class_names[c]
    with progress.task(f"Scoring class {name}", len(rows)) as task:
        best = best_regions(
            scorer,
            corpus.images,
            rows,
            c,
            side=side,
            most=settings.pool * settings.begun,
            batch=settings.batch_size,
            seed=recipe.seed,
            device=context.device,
            tick=task.advance,
        )
    patches = best.pixels(corpus.images, side, settings.batch_size)
    taken = choose_patches(patches, best.scores, settings.begun, derive_seed(recipe.seed, "patches", c))
    return paste(patches[taken], settings.patches), best.at(taken)


def _seal(arrays: Mapping[str, np.ndarray], key: str) -> np.ndarray:
    """Uint8 (32,), by which this installation knows the patches that it kept."""
    told = array_digest({name: array for name, array in arrays.items() if name != SEAL})
    return np.frombuffer(bytes.fromhex(seal(local_key(), "patches", key.encode(), told.encode())), np.uint8)


def _key(context: Context, class_ids: Sequence[int], settings: PatchesRecipe) -> str:
    """What decides the patches."""
    recipe, decides = context.recipe, settings.model_dump(mode="json", exclude={"labels", "teachers", "temperature"})
    others = [recipe.seed, recipe.compute.precision, list(class_ids), context.corpus.content]
    return hashlib.sha256(json.dumps([decides, *others], sort_keys=True).encode()).hexdigest()
