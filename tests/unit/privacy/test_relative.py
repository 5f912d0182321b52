"""The relative attack against a loop over patients and pairs of patients."""

from __future__ import annotations

import math

import numpy as np
import pytest

from medistill.evaluate.delong import Components
from medistill.privacy.attacks.likelihood_ratio import likelihood_ratio
from medistill.privacy.attacks.relative import GAMMA, OFFLINE_SLOPE, relative_scores
from medistill.privacy.trials import Trials


def drawn(shadows=5, patients=24, *, whole=True):
    """Two images a patient; a patient is held with both, or, where not ``whole``, an image by itself."""
    numbers = np.random.default_rng(7)
    groups = np.repeat(np.arange(patients) * 3, 2)
    member = np.repeat(numbers.random((shadows, patients)) < 0.5, 2, axis=1)
    if not whole:
        member = numbers.random((shadows, 2 * patients)) < 0.3
    confidence = numbers.normal(1, 1.5, (shadows, 2 * patients)) + 1.5 * member
    return confidence, member, groups


def naive(confidence, member, groups, variant, gamma):
    p = 1 / (1 + np.exp(-confidence))
    scores = np.full(confidence.shape, np.nan)
    for target in range(len(p)):
        rest = [k for k in range(len(p)) if k != target]
        ratios, held = {}, {}
        for patient in sorted(set(groups)):
            images = [i for i in range(len(groups)) if groups[i] == patient]
            held[patient] = any(member[target, i] for i in images)
            told = []
            for i in images:
                inside = [p[k, i] for k in rest if member[k, i]]
                outside = [p[k, i] for k in rest if not member[k, i]]
                if member[target, i] != held[patient] or not outside or (variant == "in and out" and not inside):
                    continue
                expected = ((1 + OFFLINE_SLOPE) * np.mean(outside) + 1 - OFFLINE_SLOPE) / 2
                if variant == "in and out":
                    expected = (np.mean(inside) + np.mean(outside)) / 2
                told.append(p[target, i] / expected)
            if told:
                ratios[patient] = math.prod(told) ** (1 / len(told))
        for i, patient in enumerate(groups):
            others = [ratio for other, ratio in ratios.items() if not held[other] and other != patient]
            if patient in ratios:
                scores[target, i] = np.mean([ratios[patient] / other >= gamma for other in others])
    return scores


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("variant", ["in and out", "out only"])
@pytest.mark.parametrize("gamma", [1.0, GAMMA])
def test_sorted_is_every_pair(variant, gamma, whole):
    confidence, member, groups = drawn(whole=whole)
    wanted = naive(confidence, member, groups, variant, gamma)
    assert np.nanmin(wanted) < 0.2 < 0.5 < np.nanmax(wanted)
    np.testing.assert_allclose(relative_scores(confidence, member, groups, variant, gamma=gamma), wanted, atol=1e-12)


def test_a_reference_of_one_shadow_finds_what_is_there():
    """No variance can be estimated then, so that the likelihood ratios say nothing."""
    numbers = np.random.default_rng(1)
    member = numbers.random((2, 600)) < 0.5
    confidence = numbers.normal(0, 1, 600) + numbers.normal(0, 0.3, (2, 600)) + 2 * member
    scores = relative_scores(confidence, member, np.arange(600), "out only")
    assert (np.isnan(scores) == member[::-1]).all(), "the other shadow holds them"
    assert np.isnan(likelihood_ratio(confidence, member, "out only")).all()
    found = Components.of(*Trials(scores, member, np.arange(600)).by_patient()).estimate(0.999)
    assert found.low > 0.9


@pytest.mark.parametrize("variant", ["in and out", "out only"])
def test_where_nothing_is_remembered_it_guesses(variant):
    numbers = np.random.default_rng(2)
    member = numbers.random((8, 300)) < 0.5
    scores = relative_scores(numbers.normal(0, 1, (8, 300)), member, np.arange(300), variant)
    found = Components.of(*Trials(scores, member, np.arange(300)).by_patient()).estimate(0.999)
    assert found.low < 0.5 < found.high
