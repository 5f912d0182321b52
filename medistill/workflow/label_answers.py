"""Label answers: what the soft labels of a set say near images that were given a wrong label."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.privacy.label_memory import labels_say, nearness, wrong_over_true
from medistill.training.images import grey_of

BESIDE = 100
"""Images of other people of a class at the most that the labels are asked about too."""
BLOCK = 256
"""Originals that are compared at once."""


def label_answers(
    made: DistilledSet, whole: Corpus, rows: np.ndarray, wrong: np.ndarray, beside: np.ndarray, device: torch.device
) -> np.ndarray:
    """Return how much more the labels of a set say the wrong class (M,) near images (`wrong_over_true`).

    How near an image of the set is to an original follows from the correlation r of their pixels: 2 - 2 r.

    Args:
        made: with soft labels of classes.
        whole: the corpus, with its own labels.
        rows: int64 (M,), of the images.
        wrong: int64 (M,), the classes that they were given.
        beside: int64 (B,), of other people's images; `BESIDE` of each class are taken, spread evenly.
        device: for the distances.
    """
    shown = made.expanded()
    assert shown.soft_labels is not None  # noqa: S101  (a caller asks whether it is `by_class`)
    classes = [beside[whole.labels[beside] == c] for c in np.unique(whole.labels[rows])]
    others = np.concatenate([np.zeros(0, np.int64), *map(_spread, classes)])
    images = _unit(torch.from_numpy(shown.normalisation.grey(shown.images).astype(np.float32)).to(device).clamp(0, 1))
    asked = np.concatenate([rows, others])
    alike = [
        (_unit(grey_of(whole, asked[at : at + BLOCK], device)) @ images.T).double().cpu().numpy()
        for at in range(0, len(asked), BLOCK)
    ]
    squared = np.maximum(2 - 2 * np.concatenate(alike), 0.0)
    said = labels_say(shown.soft_labels, made.label_kind, nearness(squared, shown.labels))
    of_rows, of_others = said[: len(rows)], said[len(rows) :]
    return wrong_over_true(of_rows, whole.labels[rows], wrong, of_others, whole.labels[others])


def _spread(rows: np.ndarray) -> np.ndarray:
    """At most `BESIDE` of them."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(BESIDE, len(rows))).astype(int))] if len(rows) else rows


def _unit(grey: Tensor) -> Tensor:
    """Images (N, ...) as rows (N, D) of mean 0 and length 1; of one grey value, 0."""
    flat = grey.flatten(1)
    return F.normalize(flat - flat.mean(dim=1, keepdim=True), dim=1)
