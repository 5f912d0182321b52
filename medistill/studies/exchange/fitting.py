"""Fitting: whether a set that was received can stand in a study, and its classes in the order of the study's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from medistill.artifacts.distilled_set import DistilledSet
from medistill.errors import DataError
from medistill.report.wording import listed
from medistill.training.context import Context
from medistill.visible import visible


def fitted(name: str, distilled: DistilledSet, context: Context) -> DistilledSet:
    """Return a set with its classes as the study numbers them, and weights of the mean 1.

    Normalisations may differ, since grey values go from one to another; whitening cannot be undone so.

    Args:
        name: of the set, for messages.
        distilled: the set.
        context: of the study.

    Raises:
        DataError: its classes, the size or kind of its images, or its encoder are not those of the study, or it
            teaches nothing by itself.
    """
    _refuse_classes(name, distilled, context.corpus.class_names)
    _refuse_images(name, distilled, context)
    _refuse_encoder(name, distilled, context)
    if not distilled.weights.any():
        raise DataError(f"every image of {name} has the weight 0", expected="weights above 0", do="ask its sender")
    weights = (distilled.weights / distilled.weights.mean(dtype=np.float64)).astype(np.float32)
    return _renumbered(replace(distilled, weights=weights), context.corpus.class_names)


def _refuse_classes(name: str, distilled: DistilledSet, class_names: Sequence[str]) -> None:
    held = [distilled.class_names[label] for label in np.unique(distilled.labels[distilled.weights > 0])]
    if len(held) < 2 and distilled.weights.any():
        raise DataError(
            f"{name} holds images of one class, {held[0]}",
            expected="images of two classes at least, or its sender's look tells the class",
            do="ask its sender for a set of every class",
        )
    if sorted(distilled.class_names) != sorted(class_names):
        raise DataError(
            f"{name} has the classes {listed(list(distilled.class_names))}, the study {listed(list(class_names))}",
            expected="the same classes",
            do="where the same disease has another name here, rename it with data.class_map, and name the classes of "
            "the set with --classes; else ask its sender for a set of these classes",
        )


def _refuse_images(name: str, distilled: DistilledSet, context: Context) -> None:
    shape, wanted, recipe = distilled.images.shape[1:], context.corpus.images.shape[1:], context.recipe.data
    if shape != wanted:
        raise DataError(
            f"{name} has images of {_sized(shape)}, the study of {_sized(wanted)}",
            expected="the same number of channels and pixels",
            do=f"study it with data.image_size = {shape[-1]} and data.channels = {shape[0]}, or ask its sender for "
            "images of that size",
        )
    if distilled.normalisation.whitening is not None:
        raise DataError(
            f"{name} is whitened, in a space of its own",
            expected="data.zca = false, since images that were made in one whitening teach little in another",
            do="ask its sender for a set without whitening",
        )
    stated = distilled.provenance.recipe
    data = stated.get("data") if stated is not None else None
    even = isinstance(data, dict) and data.get("equalise") is True
    if even != recipe.equalise:
        said = ("had", "are not") if even else ("had not", "are")
        raise DataError(
            f"the originals of {name} {said[0]} their histograms equalised, those of the study {said[1]}",
            expected="all or none, since a network that learns from one is shown other grey values by the other",
            do=f"study it with data.equalise = {str(even).lower()}, or ask its sender for a set that was made likewise",
        )


def _refuse_encoder(name: str, distilled: DistilledSet, context: Context) -> None:
    made, used = distilled.provenance.encoder, context.spec.encoder
    if (None if made is None else made.sha256) != (None if used is None else used.sha256):
        told = "for networks that see pixels" if made is None else f"for the encoder {visible(made.words)}"
        sees = (
            "networks see pixels" if used is None else f"probes see what the encoder {visible(used.display_name)} sees"
        )
        raise DataError(
            f"{name} was made {told}; in the study {sees}",
            expected="the same encoder, or none on both sides",
            do="study it with the network that it was made for (--encoder), or ask its sender for a set for this one",
        )


def _sized(shape: Sequence[int]) -> str:
    return f"{shape[0]} x {shape[1]} x {shape[2]} (channels, height, width)"


def _renumbered(distilled: DistilledSet, class_names: Sequence[str]) -> DistilledSet:
    """The set with its classes in another order. Class statistics, which have an order of their own, stay behind."""
    if tuple(class_names) == distilled.class_names:
        return distilled
    to = np.array([class_names.index(name) for name in distilled.class_names])
    soft = distilled.soft_labels
    if soft is not None and not distilled.by_targets:
        soft = soft[:, np.argsort(to)]
    return replace(
        distilled,
        labels=to[distilled.labels],
        soft_labels=soft,
        class_names=tuple(class_names),
        statistics=None,
        provenance=distilled.provenance.replaced(statistics=None),
    )
