"""Layers: how far the features of each layer of an encoder spread over images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from medistill.encoders.architectures import ARCHITECTURES
from medistill.encoders.encoder import Encoder
from medistill.errors import DataError

PIECE = 4096
"""Images whose features are floats at once."""


def layer_slices(encoder: Encoder) -> Iterator[slice]:
    """Yield the features of each layer, in the order that they have."""
    channels, start = ARCHITECTURES[encoder.description.architecture].channels, 0
    for layer in encoder.description.layers:
        yield slice(start, start + channels[layer])
        start += channels[layer]


def feature_mean(features: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the mean of every feature over some rows, float64 (D,).

    Args:
        features: (N, D), may be a memory map.
        rows: int64 (n,), n >= 1.
    """
    total = np.zeros(features.shape[1])
    for start in range(0, len(rows), PIECE):
        total += features[rows[start : start + PIECE]].astype(np.float64).sum(axis=0)
    return total / len(rows)


def layer_spread(features: np.ndarray, rows: np.ndarray, encoder: Encoder) -> np.ndarray:
    """Return for every feature the root mean squared deviation of its layer, float64 (D,).

    Deep layers vary more from image to image than early ones, by an order. Divided by it, each has its share in
    distances by the number of its features.

    Args:
        features: (N, D), may be a memory map.
        rows: int64 (n,), those that are measured, n >= 1.
        encoder: whose features they are.

    Raises:
        DataError: the images are alike in the eyes of a layer.
    """
    centre, squares = feature_mean(features, rows), np.zeros(features.shape[1])
    for start in range(0, len(rows), PIECE):
        squares += ((features[rows[start : start + PIECE]].astype(np.float64) - centre) ** 2).sum(axis=0)
    variance = squares / len(rows)
    spread = np.empty(features.shape[1])
    for layer, of_layer in zip(encoder.description.layers, layer_slices(encoder), strict=True):
        mean = float(variance[of_layer].mean())
        if mean <= 0:
            raise DataError(
                f"the encoder {encoder.display_name} sees {len(rows)} images as alike in its layer {layer}",
                expected="images that differ",
                do="look at the images (medistill prepare --preview), or use another encoder",
            )
        spread[of_layer] = np.sqrt(mean)
    return spread
