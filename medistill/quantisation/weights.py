"""Weights of distilled images in the loss, from the masses of their cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from medistill.recipe.quantise import Weighting


def weights(
    masses: Sequence[np.ndarray],
    rule: Weighting,
    priors: Literal["equal", "corpus"],
    class_counts: Sequence[int] | np.ndarray,
) -> list[np.ndarray]:
    """Weights of the images of each class, float32 (K_c,).

    A centroid that stands for the mass p_k of its class has the weight p_k in the quantised measure (DDOQ,
    arXiv:2501.07681); `sqrt` flattens it, `uniform` gives it up (D4M). Their mean over all classes is 1.

    Args:
        masses: images in each cell, (K_c,) for every class, above zero.
        rule: what of the masses.
        priors: `equal` gives every class the same share of the weight, however many images it has; `corpus` the share
            that it has of ``class_counts``.
        class_counts: training images of each class.
    """
    power = {"uniform": 0.0, "mass": 1.0, "sqrt": 0.5}[rule]
    raised = [np.asarray(of_class, np.float64) ** power for of_class in masses]
    shares = [of_class / of_class.sum() for of_class in raised]
    common = np.asarray(class_counts if priors == "corpus" else np.ones(len(shares)), np.float64)
    sums = common / common.sum() * sum(map(len, shares))
    return [(share * of_class).astype(np.float32) for share, of_class in zip(shares, sums, strict=True)]
