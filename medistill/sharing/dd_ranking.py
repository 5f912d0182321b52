"""DD-Ranking: a distilled set as the tensors that this benchmark of the field reads.

Its evaluators (ddranking 0.1.4, ``HardLabelEvaluator`` and ``SoftLabelEvaluator``) take images, labels and a learning
rate, which their example reads with ``torch.load`` from ``images.pt``, ``labels.pt`` and ``lr.pt``. Images are
normalised with constants of the dataset, or whitened; hard labels may be left out where the images go class by class;
soft labels are logits, of which its losses take the softmax.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.normalisation import Normalisation
from medistill.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

_CIFAR = Normalisation((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
_IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
NORMALISATIONS = {"CIFAR10": _CIFAR, "CIFAR100": _CIFAR, "TinyImageNet": _IMAGENET, "ImageNet1K": _IMAGENET}
"""What DD-Ranking normalises the test images of a dataset with (ddranking/utils/data.py)."""
SMALLEST = 1e-12
"""Probability below which a soft label is taken for this: its logarithm has to be finite."""


def dd_ranking_tensors(distilled: DistilledSet, dataset: str | None = None) -> dict[str, Tensor]:
    """The tensors that DD-Ranking reads, each under the name of its file.

    Args:
        distilled: the set; its images, of a set with tiles all tiles, are put in the order of their classes.
        dataset: one of `NORMALISATIONS`, as DD-Ranking calls it; None keeps the set's own normalisation.

    Returns:
        "images", float32 (N, C, H, W); "labels", int64 (N,), or float32 (N, classes) logits where labels are soft;
        "lr", a float32 scalar.

    Raises:
        UsageError: an unknown dataset, one whose images have other channels, or a set whose labels are values or target
            vectors.
    """
    import torch

    if distilled.by_values or distilled.by_targets:
        raise UsageError(
            "a set whose labels are values to be trained on by the squared error",
            expected="classes or probabilities: DD-Ranking takes the softmax of labels",
            do="evaluate it with medistill evaluate",
        )
    distilled = distilled.expanded()
    order = np.argsort(distilled.labels, kind="stable")
    images = distilled.images if dataset is None else _renormalised(distilled, dataset)
    soft = distilled.soft_labels
    labels = distilled.labels if soft is None else np.log(np.maximum(soft, SMALLEST), dtype=np.float32)
    return {
        "images": torch.from_numpy(images[order].copy()),
        "labels": torch.from_numpy(labels[order].copy()),
        "lr": torch.tensor(distilled.student_lr, dtype=torch.float32),
    }


def left_behind(distilled: DistilledSet) -> str:
    """What of a set has no place in these tensors and changes what networks learn from it; "" where nothing has."""
    lost = {
        "weights": "the images weigh differently in the loss" if np.ptp(distilled.weights) else "",
        "stages": "some images join the training later" if np.ptp(distilled.stage) else "",
    }
    told = [f"the {name} ({why})" for name, why in lost.items() if why]
    return f"DD-Ranking has no place for {' and '.join(told)}: its figures are not those of this set" if told else ""


def _renormalised(distilled: DistilledSet, dataset: str) -> np.ndarray:
    if dataset not in NORMALISATIONS:
        raise UsageError(
            f"--dataset {dataset}", expected=f"one of {', '.join(NORMALISATIONS)}", do="choose one of them, or none"
        )
    wanted = NORMALISATIONS[dataset]
    if len(wanted.mean) != distilled.images.shape[1]:
        raise UsageError(
            f"--dataset {dataset} for images with {distilled.images.shape[1]} channels",
            expected=f"{len(wanted.mean)} channels",
            do="leave out --dataset",
        )
    if distilled.normalisation.whitening is not None:
        return distilled.images
    return distilled.normalisation.moved(distilled.images, wanted)
