"""Weights of cells against shares worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medistill.quantisation.weights import weights

MASSES = st.lists(st.lists(st.integers(1, 10_000), min_size=1, max_size=12), min_size=1, max_size=5)


@pytest.mark.parametrize(
    ("rule", "expected"), [("uniform", [1, 1, 1]), ("mass", [0.3, 1.2, 1.5]), ("sqrt", [3 / 7, 6 / 7, 12 / 7])]
)
def test_the_rules(rule, expected):
    masses = np.array([1, 4, 16]) if rule == "sqrt" else np.array([10, 40, 50])
    (found,) = weights([masses], rule, "equal", [masses.sum()])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@given(MASSES, st.sampled_from(["uniform", "mass", "sqrt"]))
def test_with_equal_priors_every_class_weighs_the_same(masses, rule):
    found = weights([np.array(m) for m in masses], rule, "equal", [sum(m) for m in masses])
    assert np.concatenate(found).mean(dtype=np.float64) == pytest.approx(1, rel=1e-5)
    totals = [of_class.sum(dtype=np.float64) for of_class in found]
    np.testing.assert_allclose(totals, np.mean(totals), rtol=1e-5)


@given(MASSES, st.sampled_from(["uniform", "mass", "sqrt"]))
def test_with_those_of_the_corpus_classes_weigh_as_they_are_common(masses, rule):
    counts = [sum(m) for m in masses]
    found = weights([np.array(m) for m in masses], rule, "corpus", counts)
    assert np.concatenate(found).mean(dtype=np.float64) == pytest.approx(1, rel=1e-5)
    totals = np.array([of_class.sum(dtype=np.float64) for of_class in found])
    np.testing.assert_allclose(totals / totals.sum(), np.array(counts) / sum(counts), rtol=1e-5)


def test_with_masses_and_priors_of_the_corpus_every_training_image_weighs_the_same():
    masses = [np.array([3, 7]), np.array([20, 40, 30])]
    found = weights(masses, "mass", "corpus", [10, 90])
    np.testing.assert_allclose(np.concatenate(found) / np.concatenate(masses), 5 / 100, rtol=1e-6)
