"""Confidence: how sure a network is of an image's class, on a scale that does not end at certainty."""

from __future__ import annotations

import numpy as np


def true_class_confidence(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """``log p_y - log(sum of the others)`` (..., N) float64 of softmax probabilities float32 (..., N, C).

    The others are added up instead of taking 1 - p_y, which is 0 in float32 long before they are (Carlini 2022, section
    VI). Probabilities below the smallest float32 count as that.
    """
    smallest = np.finfo(np.float32).tiny
    own = np.take_along_axis(probabilities, np.broadcast_to(labels, probabilities.shape[:-1])[..., None], axis=-1)
    others = probabilities.astype(np.float64)
    np.put_along_axis(others, np.broadcast_to(labels, probabilities.shape[:-1])[..., None], 0.0, axis=-1)
    spread = np.maximum(others.sum(axis=-1), smallest)
    return np.asarray(np.log(np.maximum(own[..., 0].astype(np.float64), smallest)) - np.log(spread))
