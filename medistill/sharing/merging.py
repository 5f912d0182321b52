"""Merging: sets of several hospitals united into one; what differs is settled, or refused with what to type."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from PIL import Image

from medistill.artifacts.class_statistics import ClassStatistics
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.normalisation import Normalisation
from medistill.data.selection import letters
from medistill.errors import DataError
from medistill.nearest_names import did_you_mean
from medistill.sharing.lineage import source_parts, united_provenance
from medistill.sharing.merge_source import MergeSource
from medistill.statistics.adding import added
from medistill.visible import visible


def merge_sets(
    sources: Sequence[MergeSource], *, image_size: int | None = None, statistics: Literal["add", "leave out"] = "add"
) -> DistilledSet:
    """Unite sets.

    Classes are united by their names. Images go to one normalisation through their grey values, and to one size where
    ``image_size`` is given (bilinear, averaged where they shrink). Soft labels are carried over to the united classes;
    a set without them gives its classes. Label values, which are no probabilities, go only with others of the same
    classes, and target vectors with others of the same teacher. Each set's weights keep their ratios and get the
    mean 1. The learning rate is the geometric mean over the images. An image joins the training at the share of the
    epochs at which it joined before, or up to a stage earlier.

    Args:
        sources: at least two, in the order that the images keep.
        image_size: height and width that images of another size are resized to; None refuses other sizes.
        statistics: what to do about class statistics that every set carries: add them up, or leave them out. Where some
            set carries none, the united set has none.

    Raises:
        DataError: fewer than two sets, a set twice, classes, sizes or channels that do not fit, different whitenings,
            encoders or numbers of tiles, some of equalised originals and some not, label values with other labels or
            with other classes, target vectors with other labels or of other teachers, or class statistics that cannot
            be added.
    """
    _refuse_repeated(sources)
    class_names = _united_classes(sources)
    _refuse_other_images(sources, image_size)
    _refuse_other_tiles(sources)
    _refuse_other_encoders(sources)
    _refuse_equalised_in_part(sources)
    _refuse_patches_in_part(sources)
    _refuse_other_labels(sources, class_names)
    resized = [source if image_size is None else _resized(source, image_size) for source in sources]
    normalisation = _united_normalisation(resized)
    sets = [source.distilled for source in resized]
    stages = max(len(np.unique(one.stage)) for one in sets)
    counts = [len(one.labels) for one in sets]
    positions = [np.array([class_names.index(name) for name in source.renamed]) for source in resized]
    soft = any(one.soft_labels is not None for one in sets)
    provenance = united_provenance(sources, class_names, sets[0].images.shape[2], stages, soft=soft)
    sum_of_all = _added_statistics(sources) if statistics == "add" else None
    if sum_of_all is not None:
        provenance = provenance.replaced(statistics=sum_of_all.digest)
    return DistilledSet(
        images=np.concatenate(
            [
                one.images if one.normalisation == normalisation else one.normalisation.moved(one.images, normalisation)
                for one in sets
            ]
        ),
        labels=np.concatenate([to[one.labels] for to, one in zip(positions, sets, strict=True)]),
        weights=np.concatenate([_mean_one(source) for source in resized]),
        stage=np.concatenate([_stretched(one.stage, stages) for one in sets]),
        student_lr=_united_lr([one.student_lr for one in sets], counts),
        normalisation=normalisation,
        class_names=class_names,
        provenance=provenance,
        label_kind=sets[0].label_kind if soft else "probabilities",
        soft_labels=np.concatenate([_soft(one, to, len(class_names)) for to, one in zip(positions, sets, strict=True)])
        if soft
        else None,
        statistics=sum_of_all,
        tiles=sets[0].tiles,
    )


def _added_statistics(sources: Sequence[MergeSource]) -> ClassStatistics | None:
    """The class statistics of all sets together; None where one has none."""
    parts = [
        (source.name, found, [source.label_map.get(name, name) for name in found.record.class_names])
        for source in sources
        if (found := source.distilled.statistics) is not None
    ]
    return added(parts) if len(parts) == len(sources) else None


def _refuse_repeated(sources: Sequence[MergeSource]) -> None:
    if len(sources) < 2:
        raise DataError("there is one set to merge", expected="two or more", do="name the other sets too")
    first: dict[str, MergeSource] = {}
    for source in sources:
        parts, own = source_parts(source), source.distilled.provenance.statistics
        held = [(part.set_digest, "set") for part in parts]
        held += [(digest, "class statistics") for digest in {own, *(part.statistics for part in parts)} if digest]
        for digest, what in held:
            earlier = first.setdefault(digest, source)
            if earlier is not source:
                raise DataError(
                    f"{source.name} and {earlier.name} are, or hold, the same {what}",
                    expected="different sets, each of a release of its own: one that is there twice would weigh twice",
                    do="name each set once",
                )


def _united_classes(sources: Sequence[MergeSource]) -> tuple[str, ...]:
    """Every class once, in the order in which they first appear.

    Which names mean the same disease only people know: nothing but a spelling of the same letters is proposed.
    """
    for source in sources:
        unknown = [name for name in source.label_map if name not in source.distilled.class_names]
        if unknown:
            raise DataError(
                f"{source.name} has no class '{unknown[0]}'{did_you_mean(unknown[0], source.distilled.class_names)}",
                expected=f"a label map from a class of that set: {', '.join(source.distilled.class_names)}",
                do="correct --label-map",
            )
    united = tuple(dict.fromkeys(name for source in sources for name in source.renamed))
    chosen = {new for source in sources for new in source.label_map.values()}
    alone = [name for name in united if any(name not in source.renamed for source in sources) and name not in chosen]
    if alone:
        [owner, *_] = [source for source in sources if alone[0] in source.renamed]
        lacking = next(source for source in sources if alone[0] not in source.renamed)
        had = "; ".join(f"{source.name}: {', '.join(source.renamed)}" for source in sources)
        alike = next((name for name in lacking.renamed if letters(name) == letters(alone[0])), None)
        rename = shlex.quote(f"{owner.name}:{alone[0]}={alike or 'NAME'}")
        keep = " ".join(
            f"--label-map {shlex.quote(f'{source.name}:{name}={name}')}"
            for name in alone
            for source in sources
            if name in source.distilled.class_names and source.label_map.get(name, name) == name
        )
        raise DataError(
            f"class '{alone[0]}' of {owner.name} is not in {lacking.name} ({had})",
            expected="the same classes in every set, or a label map",
            do=f"where another set has the same disease under another name, say so with --label-map {rename}"
            f"{'' if alike else ', NAME being a class of that set'}; else keep what not all have with {keep}",
        )
    return united


def _refuse_other_images(sources: Sequence[MergeSource], image_size: int | None) -> None:
    channels = {source.distilled.images.shape[1] for source in sources}
    if len(channels) > 1:
        raise DataError(
            f"the sets' images have {' and '.join(map(str, sorted(channels)))} channels",
            expected="the same number in every set",
            do="merge sets that were distilled with the same data.channels",
        )
    sizes = {source.distilled.images.shape[2:] for source in sources}
    if image_size is None and len(sizes) > 1:
        had = "; ".join(f"{s.name}: {'x'.join(map(str, s.distilled.images.shape[2:]))}" for s in sources)
        raise DataError(
            f"the sets' images differ in size ({had} pixels)",
            expected="one size, or a size to resize to",
            do=f"add --image-size {min(min(size) for size in sizes)}; resized images teach less than they were made to",
        )


def _refuse_other_tiles(sources: Sequence[MergeSource]) -> None:
    """Refuse images that are cut into different numbers of tiles, or some into none."""
    found = {source.name: source.distilled.tiles for source in sources}
    if len(set(found.values())) > 1:
        raise DataError(
            f"the sets' images are cut into different tiles ({'; '.join(f'{k}: {n} x {n}' for k, n in found.items())})",
            expected="the same number for all, since one set cuts all its images alike",
            do="merge sets that were distilled with the same method.tiles",
        )


def _refuse_other_encoders(sources: Sequence[MergeSource]) -> None:
    """Refuse images that were made for the features of different encoders, or some for pixels."""
    known = [source.distilled.provenance.encoder for source in sources]
    if len({None if one is None else one.sha256 for one in known}) > 1:
        had = "; ".join(
            f"{source.name}: {'none' if one is None else visible(one.words)}"
            for source, one in zip(sources, known, strict=True)
        )
        raise DataError(
            f"the sets were made for different encoders ({had})",
            expected="the same encoder for all, or none for any, since one network is to learn from all images",
            do="merge sets that were distilled with the same network.encoder",
        )


def _refuse_equalised_in_part(sources: Sequence[MergeSource]) -> None:
    even = {source.name: _equalised(source.distilled.provenance.recipe) for source in sources}
    if len(set(even.values())) > 1:
        named = " and ".join(name for name, is_even in even.items() if is_even)
        raise DataError(
            f"the originals of {named} had their histograms equalised, those of the other sets not",
            expected="all or none, since a network that learns from one is shown other grey values by the other",
            do="merge sets that were distilled with the same data.equalise",
        )


def _refuse_patches_in_part(sources: Sequence[MergeSource]) -> None:
    """Refuse patients' patches beside other images: what is united would no longer be named for what it is."""
    patched = {source.name: source.distilled.provenance.starts_from == "patches" for source in sources}
    if len(set(patched.values())) > 1:
        named = " and ".join(name for name, is_so in patched.items() if is_so)
        raise DataError(
            f"the images of {named} are pasted together from parts of originals, those of the other sets not",
            expected="all or none, since a set of real parts is named for what it is, and fails its audit for it",
            do="leave those sets out",
        )


def _refuse_other_labels(sources: Sequence[MergeSource], class_names: Sequence[str]) -> None:
    """Refuse label values beside classes or probabilities, and those of other classes than the united ones."""
    by_values = {source.name: source.distilled.by_values for source in sources}
    _refuse_other_targets(sources)
    if len(set(by_values.values())) > 1:
        named = " and ".join(name for name, is_so in by_values.items() if is_so)
        raise DataError(
            f"the labels of {named} are values to be trained on by the squared error, those of the other sets not",
            expected="one kind of labels, since a network is trained on all images by one loss",
            do="merge sets that were distilled by the same method",
        )
    for source in sources:
        if by_values[source.name] and sorted(source.renamed) != sorted(class_names):
            raise DataError(
                f"the label values of {source.name} are of {len(source.renamed)} classes, the united set's of "
                f"{len(class_names)}",
                expected="the same classes in every set, each for itself, since values cannot be added",
                do="merge sets that were distilled with the same classes, and unite none by --label-map",
            )


def _refuse_other_targets(sources: Sequence[MergeSource]) -> None:
    """Refuse target vectors beside other labels, and those of different teachers, which are answers to different
    questions."""
    by_targets = {source.name: source.distilled.by_targets for source in sources}
    if not any(by_targets.values()):
        return
    if not all(by_targets.values()):
        named = " and ".join(name for name, is_so in by_targets.items() if is_so)
        raise DataError(
            f"the labels of {named} are target vectors to pretrain on, those of the other sets not",
            expected="one kind of labels, since a network is trained on all images by one loss",
            do="merge sets that were distilled by the same method",
        )
    known = [source.distilled.provenance.teacher for source in sources]
    widths = {one.distilled.soft_labels.shape[1] for one in sources if one.distilled.soft_labels is not None}
    if None in known or len({one.sha256 for one in known if one is not None}) > 1 or len(widths) > 1:
        had = "; ".join(
            f"{source.name}: {'not stated' if one is None else visible(one.words)}"
            for source, one in zip(sources, known, strict=True)
        )
        raise DataError(
            f"the target vectors of the sets come from different teachers ({had})",
            expected="the same teacher for all, since one network is to answer as it does",
            do="merge sets that were distilled with the same method.teacher",
        )


def _equalised(recipe: Mapping[str, Any] | None) -> bool:
    """Whether a recipe, as a set states it, equalises images; one of an earlier version does not."""
    data = None if recipe is None else recipe.get("data")
    return isinstance(data, Mapping) and data.get("equalise") is True


def _resized(source: MergeSource, size: int) -> MergeSource:
    distilled = source.distilled
    if distilled.images.shape[2:] == (size, size):
        return source
    if distilled.normalisation.whitening is not None:
        raise DataError(
            f"{source.name} is whitened for {distilled.images.shape[2]} pixels",
            expected="images of that size, since a whitening mixes all pixels of an image",
            do="leave out --image-size, or merge sets that were distilled with data.zca = false",
        )
    if distilled.tiles > 1:
        raise DataError(
            f"{source.name} has images of {distilled.tiles} x {distilled.tiles} tiles, made for "
            f"{distilled.images.shape[2]} pixels",
            expected="images of that size, since resizing would mix one tile with the next",
            do="leave out --image-size, or merge sets that were distilled with method.tiles = 1",
        )
    images = np.stack([[resized_plane(plane, size) for plane in image] for image in distilled.images])
    return replace(source, distilled=replace(distilled, images=images))


def resized_plane(plane: np.ndarray, size: int) -> np.ndarray:
    """Float32 (H, W) -> (size, size), by a triangle filter as wide as what a new pixel covers: bilinear where it grows,
    an average where it shrinks. It is linear, so that normalised values come out as resized grey values would."""
    return np.asarray(Image.fromarray(plane).resize((size, size), Image.Resampling.BILINEAR), np.float32)


def _united_normalisation(sources: Sequence[MergeSource]) -> Normalisation:
    """The one that all have; else that of grey values drawn from every set's source alike often."""
    found = [source.distilled.normalisation for source in sources]
    if all(one == found[0] for one in found):
        return found[0]
    if any(one.whitening is not None for one in found):
        whitened = [source.name for source in sources if source.distilled.normalisation.whitening is not None]
        raise DataError(
            f"{' and '.join(whitened)} {'are' if len(whitened) > 1 else 'is'} whitened, not all sets alike",
            expected="one whitening for all, since images that were made for one teach little without it",
            do="merge sets that were distilled with data.zca = false",
        )
    means, stds = np.array([one.mean for one in found]), np.array([one.std for one in found])
    mean = means.mean(axis=0)
    std = np.sqrt((stds**2 + means**2).mean(axis=0) - mean**2)
    return Normalisation(tuple(map(float, mean)), tuple(map(float, std)))


def _mean_one(source: MergeSource) -> np.ndarray:
    weights = source.distilled.weights
    if not weights.any():
        raise DataError(f"every image of {source.name} has the weight 0", expected="weights above 0", do="leave it out")
    return (weights / weights.mean(dtype=np.float64)).astype(np.float32)


def _stretched(stage: np.ndarray, stages: int) -> np.ndarray:
    """Spread stages 0 to S - 1 of a set over ``stages``: an image joins at the same share of the epochs, or earlier."""
    found, number = np.unique(stage, return_inverse=True)
    spread: np.ndarray = number.astype(np.int64) * stages // len(found)
    return spread


def _united_lr(rates: Sequence[float], images: Sequence[int]) -> float:
    if len(set(rates)) == 1:
        return rates[0]
    logarithms = [math.log(rate) * count for rate, count in zip(rates, images, strict=True)]
    return math.exp(sum(logarithms) / sum(images))


def _soft(distilled: DistilledSet, to: np.ndarray, classes: int) -> np.ndarray:
    """Probabilities or values (N, classes) over the united classes, those of classes that became one being added;
    target vectors as they are, since they are of no class."""
    own = distilled.soft_labels
    if own is not None and distilled.by_targets:
        return own
    if own is None:
        own = np.eye(len(to), dtype=np.float32)[distilled.labels]
    united = np.zeros((len(own), classes), np.float32)
    np.add.at(united.T, to, own.T)
    return united
