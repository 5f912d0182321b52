"""Balance: images of several sites weighed so that each site counts alike, however many it sent."""

from __future__ import annotations

import numpy as np


def balanced_weights(weights: np.ndarray, labels: np.ndarray, senders: np.ndarray) -> np.ndarray:
    r"""Return weights, float32 (M,), that sum alike over the sites that sent images of a class.

    With w_i the weight of image i of class c from site s, W_sc their sum, W_c that of all sites, and K_c the number of
    sites that sent some of the class with a weight above 0,

        w_i' = w_i W_c / (K_c W_sc)

    so that every class keeps its weight among the classes, and the images of a site their ratios within a class. A
    class that one site alone sent stays as it is.

    Args:
        weights: float32 (M,), not negative.
        labels: int64 (M,), classes.
        senders: int64 (M,), number of the site that sent each.
    """
    shape = (int(senders.max()) + 1, int(labels.max()) + 1)
    sums = np.zeros(shape)
    np.add.at(sums, (senders, labels), weights.astype(np.float64))
    sending = sums > 0
    share = sums.sum(axis=0) / np.maximum(sending.sum(axis=0), 1)  # W_c / K_c
    factors = np.divide(share, sums, out=np.zeros(shape), where=sending)
    return (weights * factors[senders, labels]).astype(np.float32)
