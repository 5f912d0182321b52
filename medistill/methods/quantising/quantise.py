"""Quantise: every class of a corpus as a few weighted centroids, decoded into images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.corpus import Corpus
from medistill.artifacts.kept import keep_json, keep_tensors, read_kept, read_result
from medistill.artifacts.local_key import local_key, seal
from medistill.artifacts.making import array_digest
from medistill.artifacts.normalisation import Normalisation
from medistill.errors import MedistillError
from medistill.evaluate.representatives import rows_by_class
from medistill.methods.quantising.spaces import Space, space_of
from medistill.progress import Progress, by_pass
from medistill.quantisation.cells import Cells
from medistill.quantisation.cells import quantise as quantise_codes
from medistill.quantisation.record import ClassQuantisation, Quantisation, RatePoint
from medistill.quantisation.wasserstein import SAMPLED, rate, w2_random, w2_uniform
from medistill.quantisation.weights import weights
from medistill.recipe import Recipe, quantisation_of
from medistill.training.context import Context
from medistill.training.randomness import derive_seed

RECORD = "quantisation.json"
SEAL = "seal"
DRAWS = 5
"""Random subsets that the centroids are compared with."""


@dataclass(frozen=True)
class Centroids:
    """The centroids, class by class.

    Attributes:
        codes: float32 (N, D), in units of the space.
        labels: int64 (N,).
        weights: float32 (N,), mean 1.
        record: what is known of them.
        grey: decoded, float32 (N, C, H, W) in units of full scale, 0 to 1; None where the space has no decoder.
    """

    codes: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    record: Quantisation
    grey: np.ndarray | None

    def images(self, normalisation: Normalisation) -> np.ndarray:
        """Float32 (N, C, H, W), as networks see them; of codes that are decoded."""
        if self.grey is None:
            raise TypeError("these centroids have no decoder")
        return Normalisation.full_scale(self.grey.shape[1]).moved(self.grey, normalisation)


def quantise(context: Context, class_ids: Sequence[int]) -> Centroids:
    """Quantise the training images of every class; write ``out/quantisation.json``.

    The centroids are kept in ``out/state`` until the set is finished, so that a run that is resumed does not
    make them again. Codes of patients' images are on that disk too while they are used, in a file that has lost its
    name.

    Args:
        context: corpus, recipe and device; its folder is that of the run. No network of it is used.
        class_ids: classes of the corpus that are quantised, ascending.

    Raises:
        DataError: a class has fewer images than images per class, fewer patients than a cell needs, or fewer different
            images than centroids; the training images are all alike; or a code has more numbers than there are images.
        ArtifactError: an encoder-decoder that was brought is not in the cache, does not fit, or gives NaN.
        DivergedError: the training of the autoencoder left the finite numbers.
    """
    corpus, recipe, out = context.corpus, context.recipe, context.out
    settings = quantisation_of(recipe.method)
    per_class = [recipe.method.begun if c in class_ids else 0 for c in range(len(corpus.class_names))]
    rows = rows_by_class(corpus, per_class, beside="to be made", each=recipe.method.tile_factor**2)
    state, key = private_folder(out / "state"), _key(corpus, recipe, class_ids)
    kept = read_kept(state / "centroids.safetensors", key, "centroids", context.progress.say)
    if kept is not None and (out / RECORD).is_file():
        known = Quantisation.from_json(read_result(out / RECORD, "quantisation"), str(out / RECORD))
        whole = SEAL in kept and "codes" in kept  # a former version kept no codes
        if whole and np.array_equal(kept[SEAL], _seal(kept, known, key)):  # else others put it there
            return Centroids(kept["codes"], kept["labels"], kept["weights"], known, kept.get("grey"))
    try:
        space = space_of(context)
        done = [_quantised(context, c, rows[c], space) for c in class_ids]
    except MedistillError:
        with suppress(OSError):
            state.rmdir()  # nothing is in it: ``out`` can be taken again, with the settings that were asked for
        raise
    codes, classes = [centres for centres, _, _ in done], tuple(of_class for _, _, of_class in done)
    grey = [images for _, images, _ in done if images is not None]
    in_loss = weights(
        [np.array(of_class.cell_images) for of_class in classes],
        settings.weights,
        settings.priors,
        [of_class.images for of_class in classes],
    )
    record = _record(corpus, recipe, space, classes)
    centroids = Centroids(
        codes=np.concatenate(codes),
        labels=np.repeat(np.array(class_ids, np.int64), [len(centres) for centres in codes]),
        weights=np.concatenate(in_loss),
        record=record,
        grey=np.concatenate(grey) if grey else None,
    )
    arrays = {"codes": centroids.codes, "labels": centroids.labels, "weights": centroids.weights}
    if centroids.grey is not None:
        arrays["grey"] = centroids.grey
    keep_json(out / RECORD, record.as_json())
    sealed = {**arrays, SEAL: _seal(arrays, record, key)}
    keep_tensors(state / "centroids.safetensors", sealed, {"key": key})
    return centroids


def _seal(arrays: Mapping[str, np.ndarray], record: Quantisation, key: str) -> np.ndarray:
    """Uint8 (32,), by which this installation knows the centroids that it kept, and what it wrote of them."""
    told = array_digest({name: array for name, array in arrays.items() if name != SEAL})
    known = json.dumps(record.as_json(), sort_keys=True)
    sealed = seal(local_key(), "centroids", key.encode(), told.encode(), known.encode())
    return np.frombuffer(bytes.fromhex(sealed), np.uint8)


def _key(corpus: Corpus, recipe: Recipe, class_ids: Sequence[int]) -> str:
    """What decides the centroids."""
    method = recipe.method
    trained = method.trained_autoencoder
    decisive = {
        "seed": recipe.seed,
        "quantise": quantisation_of(method).model_dump(mode="json"),
        "autoencoder": None if trained is None else trained.model_dump(mode="json"),
    }
    others = [method.begun, recipe.compute.precision, list(class_ids), corpus.content]
    told = json.dumps([decisive, *others], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()


def _record(corpus: Corpus, recipe: Recipe, space: Space, classes: tuple[ClassQuantisation, ...]) -> Quantisation:
    settings = quantisation_of(recipe.method)
    return Quantisation(
        encoder=settings.encoder,
        words=space.words,
        dimension=space.dimension,
        grey_codes=settings.encoder == "pca",
        explained=space.explained,
        decoder=settings.decoder,
        licence=space.licence,
        min_cluster_size=settings.min_cluster_size,
        nested=settings.nested,
        weights=settings.weights,
        priors=settings.priors,
        patient_unit=corpus.split_unit,
        classes=classes,
        sampled=SAMPLED,
    )


def _quantised(
    context: Context, c: int, rows: np.ndarray, space: Space
) -> tuple[np.ndarray, np.ndarray | None, ClassQuantisation]:
    """Return the centroids (K, D) of a class, decoded (K, C, H, W) where they can be, and what is known of them.

    Args:
        context: as for `quantise`.
        c: index of the class.
        rows: of the corpus that are its training images.
        space: in which it is quantised.
    """
    corpus, recipe, progress = context.corpus, context.recipe, context.progress
    settings, name, groups = quantisation_of(recipe.method), corpus.class_names[c], corpus.groups[rows]
    begun, batch = recipe.method.begun, settings.batch_size
    seed, path = derive_seed(recipe.seed, "quantise", c), context.out / "state" / f"codes_{c}.npy"
    codes = space.codes(context, rows, name, path)
    path.unlink()  # what is mapped stays readable here, and a run that fails or is killed leaves no codes behind
    with progress.task(f"Quantising class {name}", 1) as task:
        cells = quantise_codes(
            codes,
            groups,
            begun,
            levels=settings.nested,
            least=settings.min_cluster_size,
            passes=settings.passes,
            refine=settings.refine,
            batch=batch,
            seed=seed,
            name=name,
            tick=by_pass(task, len(rows)),
        )
        task.advance()
    grey, reconstruction, error = space.shown(context, rows, name, codes, cells)
    _say_what_is_missing(cells, name, recipe, progress)
    return (
        cells.centres,
        grey,
        ClassQuantisation(
            class_name=name,
            images=len(rows),
            patients=len(np.unique(groups)),
            given_up=cells.given_up,
            set_aside=cells.set_aside,
            cell_images=tuple(cells.images.tolist()),
            cell_patients=tuple(cells.patients.tolist()),
            reconstruction=reconstruction,
            error=error,
            w2=cells.w2,
            w2_uniform=w2_uniform(codes, cells.centres),
            w2_random=w2_random(codes, len(cells.centres), draws=DRAWS, seed=seed),
            rate=tuple(RatePoint(centroids=count, w2=w2) for count, w2 in rate(codes, seed=seed)),
        ),
    )


def _say_what_is_missing(cells: Cells, name: str, recipe: Recipe, progress: Progress) -> None:
    """Say where a class gets fewer images than were asked for, and which of its images are in no mean."""
    centroids, images = len(cells.centres), len(cells.cell)
    if cells.given_up:
        what = "image" if recipe.method.tile_factor == 1 else "centroid"
        progress.say(
            f"Class {name} gets {centroids} {what}{'' if centroids == 1 else 's'} in place of {recipe.method.begun}: "
            f"with more, an image would be the mean of fewer than {quantisation_of(recipe.method).min_cluster_size} "
            "patients (method.quantise.min_cluster_size)."
        )
    if cells.set_aside:
        progress.say(
            f"Class {name}: {cells.set_aside} of {images} {'image' if images == 1 else 'images'} "
            f"{'was' if cells.set_aside == 1 else 'were'} left out of every mean, being unlike the others: a mean with "
            "such an image in it would be of too few patients."
        )
