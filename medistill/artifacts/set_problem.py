"""What makes a distilled set unusable."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medistill.artifacts.encoder_summary import SHORT
from medistill.artifacts.label_kind import LabelKind
from medistill.recipe.tiles import tile_misfit
from medistill.visible import MOST_NAME, steers

if TYPE_CHECKING:
    from medistill.artifacts.distilled_set import DistilledSet

MOST_CLASSES = 10_000
LIMIT = 1e4
"""Largest magnitude, in standard deviations, that a stored image may have."""
VALUE_LIMIT = 1e3
"""Largest magnitude that a label value, or a number of a target vector, may have."""
MOST_TARGETS = 16_384
"""Most numbers of a target vector: the pretrained network has an output for each."""
MOST_SHOWN_BYTES = 2**32
"""Most that the tiles of a set may take in memory once they are whole images: twice the largest bundle."""


def set_problem(distilled: DistilledSet) -> str:
    """Return what makes a set unusable, of shapes, kinds, ranges and parts that do not fit; "" where nothing does."""
    images, count = distilled.images, len(distilled.images)
    mean, std = distilled.normalisation.mean, distilled.normalisation.std
    whitening = distilled.normalisation.whitening
    problem = ""
    if images.ndim != 4 or images.size == 0 or images.dtype != np.float32:
        problem = f"images are {images.dtype} {images.shape}, not float32 (N, C, H, W)"
    elif any(a.shape != (count,) for a in (distilled.labels, distilled.weights, distilled.stage)):
        problem = "labels, weights and stage do not have one entry an image"
    elif distilled.labels.dtype != np.int64 or distilled.stage.dtype != np.int64:
        problem = "labels and stage are not int64"
    elif distilled.weights.dtype != np.float32:
        problem = "weights are not float32"
    elif not np.isfinite(images).all() or not np.isfinite(distilled.weights).all():
        problem = "it holds NaN or infinite values"
    elif (reached := max(images.max(), -images.min())) > LIMIT:
        problem = f"an image reaches {reached:.3g} standard deviations"
    elif not all(isinstance(name, str) for name in distilled.class_names):
        problem = "a class has a name that is not text"
    elif len(distilled.class_names) > MOST_CLASSES:
        problem = f"it has {len(distilled.class_names)} classes, and {MOST_CLASSES} are the most"
    elif any(steers(name) or len(name) > MOST_NAME for name in distilled.class_names):
        problem = f"a class has a name with a control character in it, or of more than {MOST_NAME} characters"
    elif len(set(distilled.class_names)) < len(distilled.class_names):
        problem = "two classes have the same name"
    elif distilled.labels.min() < 0 or distilled.labels.max() >= len(distilled.class_names):
        problem = f"a label lies outside 0..{len(distilled.class_names) - 1}"
    elif distilled.weights.min() < 0 or distilled.stage.min() < 0:
        problem = "a weight or a stage is negative"
    elif not 0 < distilled.student_lr < float("inf"):
        problem = f"its learning rate is {distilled.student_lr}"
    elif not len(mean) == len(std) == images.shape[1] or not np.isfinite([*mean, *std]).all() or min(std) <= 0:
        problem = "its normalisation does not fit its channels"
    elif misfit := tile_misfit(distilled.tiles, *images.shape[2:]):
        problem = misfit
    elif distilled.tiles > 1 and (shown := 4 * images.size * distilled.tiles**2) > MOST_SHOWN_BYTES:
        problem = f"its tiles would be {shown} bytes of images to train on, and {MOST_SHOWN_BYTES} are the most"
    elif whitening is not None and distilled.tiles > 1:
        problem = "its images are cut into tiles, and whitened, which mixes all pixels of an image"
    elif whitening is not None and whitening.mean.shape != (images[0].size,):
        problem = "its whitening does not fit its images"
    elif (of_statistics := _statistics_problem(distilled)) or distilled.soft_labels is None:
        problem = of_statistics
    else:
        problem = _soft_problem(distilled.soft_labels, distilled.label_kind, (count, len(distilled.class_names)))
    return problem


def _statistics_problem(distilled: DistilledSet) -> str:
    statistics, named = distilled.statistics, distilled.provenance.statistics
    if statistics is None:
        return "" if named is None else "the class statistics that it names are not there"
    if statistics.digest != named:
        return "it holds other class statistics than it names"
    of, encoder = statistics.projection.record.encoder, distilled.provenance.encoder
    if encoder is None or encoder.sha256 != of:
        told = "none" if encoder is None else encoder.sha256[:SHORT]
        return f"its class statistics are of the encoder {of[:SHORT]}, and the set names {told}"
    if set(statistics.record.class_names) - set(distilled.class_names):
        return "its class statistics are of a class that it has not"
    return ""


def _soft_problem(soft: np.ndarray, kind: LabelKind, shape: tuple[int, int]) -> str:
    if kind == "targets":
        return _target_problem(soft, shape[0])
    if soft.dtype != np.float32 or soft.shape != shape:
        return f"soft labels are {soft.dtype} {soft.shape}, not float32 {shape}"
    if kind == "values":
        finite = bool(np.isfinite(soft).all()) and np.abs(soft).max() <= VALUE_LIMIT
        return "" if finite else f"a label value is not finite, or beyond {VALUE_LIMIT:g}"
    if not np.isfinite(soft).all() or soft.min() < 0 or np.abs(soft.sum(axis=1) - 1).max() > 1e-3:
        return "a row of the soft labels is not a probability distribution"
    return ""


def _target_problem(targets: np.ndarray, count: int) -> str:
    if targets.dtype != np.float32 or targets.ndim != 2 or len(targets) != count or not targets.shape[1]:
        return f"target vectors are {targets.dtype} {targets.shape}, not float32 ({count}, width)"
    if targets.shape[1] > MOST_TARGETS:
        return f"its target vectors have {targets.shape[1]} numbers each, and {MOST_TARGETS} are the most"
    finite = bool(np.isfinite(targets).all()) and np.abs(targets).max() <= VALUE_LIMIT
    return "" if finite else f"a number of a target vector is not finite, or beyond {VALUE_LIMIT:g}"
