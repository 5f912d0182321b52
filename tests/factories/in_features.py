"""Signals of features alone: sets of which it is known what the encoder sees in them, for attacks in its space."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from medistill.privacy.encoder_space import EncoderSpace
from medistill.privacy.signals import Population


def space_of(features: np.ndarray, labels: np.ndarray, train: np.ndarray, *subjects: np.ndarray) -> EncoderSpace:
    """Features (N, D) of a corpus, and of the subjects (Q, D) each; without any, of its first image."""
    seen = torch.from_numpy(features).float()
    shown = tuple(torch.from_numpy(one).float() for one in subjects or (features[:1],))
    return EncoderSpace(shown, lambda rows: seen[torch.from_numpy(rows)], train, labels)


def signals_of(
    features: np.ndarray,
    members: np.ndarray,
    groups: np.ndarray,
    images: np.ndarray,
    drawn: np.ndarray,
    *,
    labels: np.ndarray | None = None,
    of_images: np.ndarray | None = None,
) -> Any:
    """What attacks in features ask for.

    Args:
        features: (N, D), of everybody's images.
        members: (N,) bool.
        groups: (N,), patients.
        images: (Q, D), features of the set.
        drawn: rows of the random originals beside it.
        labels: (N,), classes; None is one class.
        of_images: (Q,), likewise.
    """
    labels = np.zeros(len(features), int) if labels is None else labels
    of_images = np.zeros(len(images), int) if of_images is None else of_images
    rows = np.arange(len(features))
    names = tuple(f"class {c}" for c in range(int(labels.max()) + 1))
    corpus: Any = SimpleNamespace(labels=labels, groups=groups, sites=0 * labels, class_names=names)
    distilled, random = (
        SimpleNamespace(labels=of, weights=np.ones(len(of), np.float32), rows=at)
        for of, at in ((of_images, -np.ones(len(images), int)), (labels[drawn], drawn))
    )
    return SimpleNamespace(
        population=Population(corpus, rows[members], rows[~members]),
        search=SimpleNamespace(subjects=(distilled, random)),
        encoder_space=space_of(features, labels, rows[members], images, features[drawn]),
        level=0.95,
        smallest_cell=10,
        rng=lambda *names: np.random.default_rng(0),
    )
