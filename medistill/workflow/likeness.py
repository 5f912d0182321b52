"""The search for copies: the set, random originals and held-out images beside both splits, in every space."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.errors import DivergedError
from medistill.evaluate.protocol import random_beside, raw_schedule
from medistill.evaluate.subgroups import hidden_cells
from medistill.networks.footprint import micro_batch_size
from medistill.networks.registry import NetworkSpec, build_network
from medistill.privacy.audit import SPACES, CopyFigures, CopyRule, GroupCopies, Space, Subject
from medistill.privacy.copies import (
    Compared,
    compare_in,
    compare_structure,
    contrast_normalised,
    copy_limit,
    crops,
    mean_nearer,
    windows,
)
from medistill.privacy.features import Features
from medistill.progress import Progress
from medistill.recipe import Recipe
from medistill.report.pairs import Pair
from medistill.training.device import precision
from medistill.training.images import LabelledImages
from medistill.training.loop import train
from medistill.training.randomness import derive_seed, generator

REFERENCE = 200
"""Held-out images, drawn at random, that show how near images of other patients come to training images."""
CENTRE = 1024
"""Training images over which the mean of the features is taken, and images that are read at once for them."""
RANGE = (-0.5, 1.5)
"""Grey values in units of full scale beyond which a distilled image is cut off before it is compared: a few extreme
pixels, white or black to the eye, would else hide what the others show."""
PAIRS = 50
"""Closest pairs that are shown."""


@dataclass(frozen=True)
class Examined:
    """Images to be audited, or to hold the set against.

    Attributes:
        name: which.
        grey: (Q, C, H, W) grey values in units of full scale.
        normalised: (Q, C, H, W) as a network sees them.
        labels: (Q,).
        own: (Q,) patient whose images they are not compared with; -1 is nobody.
        rows: (Q,) of the corpus, where they are of it; else None.
    """

    name: Subject
    grey: Tensor
    normalised: Tensor
    labels: np.ndarray
    own: np.ndarray
    rows: np.ndarray | None


def examined(
    distilled: DistilledSet, corpus: Corpus, recipe: Recipe, held_out: np.ndarray, place: torch.device
) -> tuple[Examined, ...]:
    """The distilled images, as many random training images of each class, and held-out images of other patients."""
    drawn = np.random.default_rng(derive_seed(recipe.seed, "audit", "reference")).permutation(held_out)[:REFERENCE]
    random = random_beside(distilled, corpus, recipe.seed, 0)
    others: tuple[tuple[Subject, np.ndarray, np.ndarray], ...] = (
        ("random", random, np.full(len(random), -1)),
        ("held out", drawn, corpus.groups[drawn]),
    )
    found = [
        Examined(
            "distilled",
            torch.from_numpy(distilled.normalisation.grey(distilled.images).astype(np.float32)).to(place).clamp(*RANGE),
            torch.from_numpy(distilled.images).to(place),
            distilled.labels,
            np.full(len(distilled.labels), -1),
            None,
        )
    ]
    for name, rows, own in others:
        normalised = LabelledImages.of_corpus(corpus, rows, distilled.normalisation, place).batch(slice(None))
        found.append(Examined(name, grey_of(corpus, rows, place), normalised, corpus.labels[rows], own, rows))
    return tuple(found)


def grey_of(corpus: Corpus, rows: np.ndarray, place: torch.device) -> Tensor:
    """Rows of a corpus as grey values (B, C, H, W) in units of full scale."""
    return torch.from_numpy(np.asarray(corpus.images[rows])).to(place).float() / 255


def compare(
    subjects: tuple[Examined, ...],
    distilled: DistilledSet,
    corpus: Corpus,
    recipe: Recipe,
    held_out: np.ndarray,
    spec: NetworkSpec,
    place: torch.device,
    progress: Progress,
) -> dict[Space, list[Compared]]:
    """Every subject beside both splits, in every space."""
    train_rows = corpus.rows("train")
    grey = torch.cat([subject.grey for subject in subjects])
    own = np.concatenate([subject.own for subject in subjects])
    ends = np.cumsum([len(subject.labels) for subject in subjects])
    parts = [slice(end - len(subject.labels), end) for end, subject in zip(ends, subjects, strict=True)]
    with progress.task("Looking for copies", len(SPACES)) as task:
        pixels, inside, outside = compare_in(
            contrast_normalised(windows(grey).flatten(2)),
            train_rows,
            held_out,
            lambda rows: contrast_normalised(crops(grey_of(corpus, rows, place)).flatten(1)),
            corpus.groups,
            own,
            lambda rows: contrast_normalised(windows(grey_of(corpus, rows, place)).flatten(2)),
        )
        task.advance(1, figures="pixels")
        structure = compare_structure(grey, inside, outside, lambda rows: grey_of(corpus, rows, place))
        task.advance(1, figures="structure")
        features, read = _features(distilled, corpus, recipe, spec, place)
        normalised = torch.cat([subject.normalised for subject in subjects])
        in_features, _, _ = compare_in(features(normalised)[:, None], train_rows, held_out, read, corpus.groups, own)
        task.advance(1, figures="features")
    whole: dict[Space, Compared] = {"pixels": pixels, "structure": structure, "features": in_features}
    return {space: [whole[space].part(part) for part in parts] for space in SPACES}


def _features(
    distilled: DistilledSet, corpus: Corpus, recipe: Recipe, spec: NetworkSpec, place: torch.device
) -> tuple[Features, Callable[[np.ndarray], Tensor]]:
    """Features of a fresh network trained on the raw training split, of images and of rows of the corpus."""
    numbers = generator(recipe.seed, "audit", "features")
    network = build_network(spec, numbers, place)
    micro_batch = micro_batch_size(network, spec.channels, spec.image_size, chosen=recipe.compute.micro_batch)
    schedule = raw_schedule(recipe.evaluate)
    data = LabelledImages.of_split(corpus, "train", distilled.normalisation, place)
    with precision(recipe.compute.precision, place):
        flat = train(network, data, schedule, recipe.augmentation, numbers, micro_batch=micro_batch)
    if not bool(torch.isfinite(flat.values).all()):
        raise DivergedError(
            "the network trained on the originals, whose features the audit compares, diverged",
            expected="finite parameters",
            do="lower evaluate.raw_lr (--set evaluate.raw_lr=0.003)",
        )
    spread = np.unique(np.linspace(0, len(data) - 1, min(CENTRE, len(data))).astype(int))
    features = Features(network, micro_batch=micro_batch, centre=data.batch(torch.from_numpy(spread).to(place)))

    def read(rows: np.ndarray) -> Tensor:
        pieces = np.array_split(rows, max(1, len(rows) // CENTRE))
        shown = (LabelledImages.of_corpus(corpus, piece, distilled.normalisation, place) for piece in pieces)
        return torch.cat([features(images.batch(slice(None))) for images in shown])

    return features, read


def copy_figures(
    compared: dict[Space, list[Compared]], subjects: tuple[Examined, ...], corpus: Corpus, recipe: Recipe
) -> tuple[tuple[CopyRule, ...], tuple[CopyFigures, ...]]:
    """The rule of each space, from the held-out images, and how many of each subject's images are copies by it."""
    rules, figures = [], []
    for space, parts in compared.items():
        limit = copy_limit(parts[-1].ratio, recipe.audit.copy_ratio)
        rules.append(CopyRule(space, limit.ratio, limit.reference_images))
        for subject, part in zip(subjects, parts, strict=True):
            copied = part.ratio <= limit.ratio
            figures.append(
                CopyFigures(
                    subject=subject.name,
                    space=space,
                    images=len(copied),
                    copies=int(copied.sum()),
                    smallest_ratio=float(part.ratio.min()),
                    median_ratio=float(np.median(part.ratio)),
                    nearer=mean_nearer(part.nearer),
                    classes=tuple(
                        GroupCopies(name, int(np.sum(of := subject.labels == c)), int(np.sum(copied & of)))
                        for c, name in enumerate(corpus.class_names)
                    ),
                    sites=_by_site(copied, part.train_rows, corpus, recipe.evaluate.smallest_cell),
                )
            )
    return tuple(rules), tuple(figures)


def _by_site(copied: np.ndarray, rows: np.ndarray, corpus: Corpus, smallest: int) -> tuple[GroupCopies, ...]:
    """Copies by the site of the nearest training image; empty where there is one site.

    A site of few training patients is not shown, nor one from which its figures would follow (as among subgroups).
    """
    train_rows = corpus.rows("train")
    at = corpus.sites[train_rows]
    cells = {corpus.site_names[site]: train_rows[at == site] for site in np.unique(at)}
    if len(cells) == 1:
        return ()
    hidden = hidden_cells(cells, corpus.groups, smallest)
    told = []
    for name in cells:
        of = corpus.sites[rows] == corpus.site_names.index(name)
        counts = (None, None) if name in hidden else (int(of.sum()), int(np.sum(copied & of)))
        told.append(GroupCopies(name, *counts))
    return tuple(told)


def closest(compared: dict[Space, list[Compared]], distilled: DistilledSet, corpus: Corpus) -> tuple[Pair, ...]:
    """The distilled images whose nearest training image, in pixels, is nearest relative to the held-out one."""
    found, viewable = compared["pixels"][0], distilled.viewable()
    return tuple(
        Pair(
            class_name=distilled.class_names[distilled.labels[k]],
            images=(viewable[k], corpus.images[found.train_rows[k]], corpus.images[found.held_out_rows[k]]),
            distances=(float(found.train[k]), float(found.held_out[k])),
        )
        for k in np.argsort(found.ratio)[:PAIRS]
    )
