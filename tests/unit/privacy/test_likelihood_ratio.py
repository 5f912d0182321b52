"""The likelihood ratio attack against a loop that leaves each shadow out by itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from medistill.privacy.attacks.likelihood_ratio import likelihood_ratio


def naive(confidence, member, way):
    """One target at a time, one image at a time, densities from scipy."""
    shadows, images = confidence.shape
    scores = np.full((shadows, images), np.nan)
    for target in range(shadows):
        rest = [k for k in range(shadows) if k != target]
        fitted = {}
        for inside in (True, False):
            answers = [[confidence[k, i] for k in rest if member[k, i] == inside] for i in range(images)]
            squares = sum(sum((a - np.mean(given)) ** 2 for a in given) for given in answers if given)
            freedom = sum(max(len(given) - 1, 0) for given in answers)
            fitted[inside] = (answers, math.sqrt(squares / freedom))
        for i in range(images):
            densities = {}
            for inside, (answers, deviation) in fitted.items():
                if answers[i]:
                    spread = deviation * math.sqrt(1 + 1 / len(answers[i]))
                    z = (confidence[target, i] - np.mean(answers[i])) / spread
                    densities[inside] = (z, stats.norm.logpdf(z) - math.log(spread))
            if way == "out only" and False in densities:
                scores[target, i] = densities[False][0]
            elif way == "in and out" and len(densities) == 2:
                scores[target, i] = densities[True][1] - densities[False][1]
    return scores


@pytest.mark.parametrize("way", ["out only", "in and out"])
def test_leaving_every_shadow_out_at_once_is_leaving_each_out_in_a_loop(way):
    numbers = np.random.default_rng(4)
    member = numbers.random((5, 30)) < 0.4
    confidence = numbers.normal(40, 3, (5, 30)) + 2 * member
    wanted = naive(confidence, member, way)
    assert np.isnan(wanted).any()
    assert np.isfinite(wanted).sum() > 60
    np.testing.assert_allclose(likelihood_ratio(confidence, member, way), wanted, atol=1e-8)


@pytest.mark.parametrize("way", ["out only", "in and out"])
def test_a_target_has_no_part_in_its_own_reference(way):
    """Where it says otherwise that it holds an image, the scores of that row stay what they are."""
    numbers = np.random.default_rng(1)
    confidence, member = numbers.normal(size=(8, 40)), numbers.random((8, 40)) < 0.5
    flipped = member.copy()
    flipped[2] = ~flipped[2]
    before, after = (likelihood_ratio(confidence, held, way) for held in (member, flipped))
    np.testing.assert_allclose(before[2], after[2], atol=1e-8)
    assert not np.allclose(before[3], after[3], equal_nan=True)
