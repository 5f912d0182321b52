"""Weights by which every site counts alike: their sums by site and class, against adding up by hand."""

from __future__ import annotations

import numpy as np
import pytest

from medistill.sharing.balance import balanced_weights


def summed(weights: np.ndarray, of_class: np.ndarray, of_site: np.ndarray) -> dict[tuple[int, int], float]:
    """Site and class -> the sum of the weights."""
    found: dict[tuple[int, int], float] = {}
    for weight, label, sender in zip(weights.tolist(), of_class.tolist(), of_site.tolist(), strict=True):
        found[sender, label] = found.get((sender, label), 0) + weight
    return found


def test_sites_weigh_alike_in_each_class_and_classes_keep_their_weight() -> None:
    rng = np.random.default_rng(0)
    counts = {(0, 0): 3, (0, 1): 20, (1, 0): 9, (2, 0): 1, (2, 1): 5, (2, 2): 4}  # site 1 has one class, 2 of class 2
    senders, labels = (np.array([key[k] for key, n in counts.items() for _ in range(n)]) for k in (0, 1))
    weights = rng.uniform(0.2, 2, len(labels)).astype(np.float32)
    found = balanced_weights(weights, labels, senders)
    before, after = summed(weights, labels, senders), summed(found, labels, senders)
    for label, sites in ((0, (0, 1, 2)), (1, (0, 2)), (2, (2,))):
        whole = sum(before[site, label] for site in sites)
        for site in sites:
            assert after[site, label] == pytest.approx(whole / len(sites), rel=1e-6)
    for key in counts:
        mine = (senders == key[0]) & (labels == key[1])
        np.testing.assert_allclose(found[mine] / found[mine][0], weights[mine] / weights[mine][0], rtol=1e-5)
    assert found.dtype == np.float32


def test_equal_numbers_stay_and_a_site_whose_images_weigh_nothing_counts_for_none() -> None:
    labels, senders = np.array([0, 1, 0, 1, 0, 1]), np.array([0, 0, 1, 1, 2, 2])
    np.testing.assert_array_equal(balanced_weights(np.ones(6, np.float32), labels, senders), np.ones(6))
    weights = np.array([1, 1, 1, 1, 0, 1], np.float32)
    np.testing.assert_allclose(balanced_weights(weights, labels, senders), [1, 1, 1, 1, 0, 1])
