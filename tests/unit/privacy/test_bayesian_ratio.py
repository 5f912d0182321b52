"""The Bayesian likelihood ratio against SciPy's Student t in a loop, and at its known limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from medistill.privacy.attacks.bayesian_ratio import MOST_WEIGHT, PRIOR_FREEDOM, bayesian_ratio
from medistill.privacy.attacks.likelihood_ratio import likelihood_ratio


def drawn(shadows=7, images=40, seed=3):
    numbers = np.random.default_rng(seed)
    member = numbers.random((shadows, images)) < 0.4
    return numbers.normal(0, 1, (shadows, images)) + numbers.normal(4, 2, images) + 1.5 * member, member


def pooled(answers):
    squares = sum(sum((a - np.mean(given)) ** 2 for a in given) for given in answers if given)
    return squares / sum(max(len(given) - 1, 0) for given in answers)


def predictive(given, centre, weight, variance):
    """Normal-inverse-gamma updated one answer at a time."""
    k, a, b = weight, PRIOR_FREEDOM / 2, PRIOR_FREEDOM / 2 * variance
    for one in given:
        b += k * (one - centre) ** 2 / (2 * (k + 1))
        centre, k, a = (k * centre + one) / (k + 1), k + 1, a + 0.5
    return stats.t(2 * a, centre, math.sqrt(b * (k + 1) / (a * k)))


def naive(confidence, member, variant):
    scores = np.empty(confidence.shape)
    for target in range(len(confidence)):
        rest = [k for k in range(len(confidence)) if k != target]
        answers = {
            held: [[confidence[k, i] for k in rest if member[k, i] == held] for i in range(confidence.shape[1])]
            for held in (True, False)
        }
        variance = {held: pooled(answers[held]) for held in answers}
        told = [np.mean(given) for given in answers[False] if given]
        noise = np.mean([variance[False] / len(given) for given in answers[False] if given])
        weight = variance[False] / max(np.var(told) - noise, variance[False] / MOST_WEIGHT)
        without = [predictive(given, np.mean(told), weight, variance[False]) for given in answers[False]]
        both = [(np.array(a), np.array(b)) for a, b in zip(answers[True], answers[False], strict=True) if a and b]
        shifts = [a.mean() - b.mean() for a, b in both]
        noise = np.mean([variance[True] / len(a) + variance[False] / len(b) for a, b in both])
        weight = variance[True] / max(np.var(shifts) - noise, variance[True] / MOST_WEIGHT)
        for i, x in enumerate(confidence[target]):
            held = predictive(answers[True][i], without[i].mean() + np.mean(shifts), weight, variance[True])
            scores[target, i] = held.logpdf(x) - without[i].logpdf(x)
            if variant == "out only":
                scores[target, i] = math.log(without[i].cdf(x)) - math.log(without[i].sf(x))
    return scores


@pytest.mark.parametrize("variant", ["in and out", "out only"])
def test_at_once_is_one_answer_at_a_time(variant):
    confidence, member = drawn()
    wanted = naive(confidence, member, variant)
    assert (member.sum(axis=0) < 2).any(), "some image is held by none of the other shadows, and is scored too"
    np.testing.assert_allclose(bayesian_ratio(confidence, member, variant), wanted, rtol=1e-6, atol=1e-8)


def test_without_a_prior_on_the_mean_and_bound_to_the_common_variance_it_is_the_likelihood_ratio():
    confidence, member = drawn()
    limit = bayesian_ratio(confidence, member, "in and out", freedom=1e9, flat_mean=True)
    known = likelihood_ratio(confidence, member, "in and out")
    assert np.isnan(known).any()
    np.testing.assert_allclose(limit, known, atol=1e-5)
    limit = bayesian_ratio(confidence, member, "out only", freedom=1e9, flat_mean=True)
    known = likelihood_ratio(confidence, member, "out only")
    wanted = stats.norm.logcdf(known) - stats.norm.logsf(known)
    np.testing.assert_allclose(limit, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", ["in and out", "out only"])
def test_a_target_has_no_part_in_its_own_reference(variant):
    confidence, member = drawn()
    flipped = member.copy()
    flipped[2] = ~flipped[2]
    before, after = (bayesian_ratio(confidence, held, variant) for held in (member, flipped))
    np.testing.assert_allclose(before[2], after[2], atol=1e-8)
    assert not np.allclose(before[3], after[3])


def test_two_shadows_leave_no_variance_and_no_score():
    confidence, member = drawn(shadows=2)
    assert np.isnan(bayesian_ratio(confidence, member, "in and out")).all()
