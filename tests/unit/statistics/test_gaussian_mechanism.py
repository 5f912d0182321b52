"""The analytic Gaussian mechanism against the privacy loss integrated numerically, published values and Opacus."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from medistill.privacy.accounting import composed_epsilon
from medistill.statistics.gaussian_mechanism import delta_of, epsilon_of, joint_sigma, sigma_for

BUDGETS = [(1.0, 1e-5), (3.0, 1e-5), (8.0, 1e-5), (0.1, 1e-6), (0.01, 1e-4), (30.0, 1e-8)]


def _integral(sigma: float, epsilon: float) -> float:
    """Delta by its definition: the integral of max(0, p - exp(epsilon) q) for p = N(1, sigma²), q = N(0, sigma²)."""

    def excess(x: float) -> float:
        return max(0.0, norm.pdf(x, 1, sigma) - math.exp(epsilon) * norm.pdf(x, 0, sigma))

    edge = epsilon * sigma**2 + 0.5  # where the two densities cross
    return float(quad(excess, edge, max(edge, 1) + 12 * sigma, epsabs=0, epsrel=1e-9, limit=500)[0])


@pytest.mark.parametrize(("epsilon", "delta"), BUDGETS)
def test_delta_is_the_integral_of_the_privacy_loss(epsilon: float, delta: float) -> None:
    sigma = sigma_for(epsilon, delta)
    assert delta_of(sigma, epsilon) == pytest.approx(_integral(sigma, epsilon), rel=1e-5)
    assert delta_of(sigma, epsilon) <= delta
    assert delta_of(sigma - 2e-4, epsilon) > delta
    assert epsilon_of(sigma, delta) <= epsilon
    assert delta_of(sigma, epsilon_of(sigma, delta)) <= delta * (1 + 1e-9)


@pytest.mark.parametrize(
    ("epsilon", "delta", "sigma"),
    [(1.0, 1e-5, 3.730632), (0.1, 1e-5, 30.7495661), (10.0, 1e-5, 0.4998)],
)
def test_sigma_is_what_others_found(epsilon: float, delta: float, sigma: float) -> None:
    """`calibrateAnalyticGaussianMechanism` as its authors published it (github.com/BorjaBalle), run for these budgets
    and the values noted by several libraries' tests (diffprivlib, dp_accounting)."""
    assert sigma_for(epsilon, delta) == pytest.approx(sigma, abs=2e-4)


def test_it_is_below_the_classic_bound() -> None:
    """sqrt(2 ln(1.25 / delta)) / epsilon suffices for epsilon below 1 (Dwork and Roth 2014, Theorem A.1)."""
    for epsilon in (0.05, 0.3, 0.99):
        assert sigma_for(epsilon, 1e-5) < math.sqrt(2 * math.log(1.25e5)) / epsilon


@pytest.mark.parametrize("epsilon", [1.0, 3.0, 8.0])
def test_opacus_gives_no_less_for_one_update_of_all(epsilon: float) -> None:
    accountants = pytest.importorskip("opacus.accountants")
    accountant = accountants.PRVAccountant()
    sigma = sigma_for(epsilon, 1e-5)
    accountant.history = [(sigma, 1.0, 1)]
    theirs = accountant.get_epsilon(1e-5, eps_error=0.01 * epsilon)
    assert epsilon_of(sigma, 1e-5) <= theirs <= epsilon_of(sigma, 1e-5) + 0.025 * epsilon


def test_several_releases_are_one_with_less_noise() -> None:
    """Two normal variables of one unit tell as much as the better of them alone would at the joint noise."""
    assert joint_sigma([3.0, 4.0]) == pytest.approx(2.4)
    together = composed_epsilon([(3.0, 1.0, 1), (4.0, 1.0, 1)], 1e-5, error=0.01)
    assert together == epsilon_of(joint_sigma([3.0, 4.0]), 1e-5)
    assert together < epsilon_of(3.0, 5e-6) + epsilon_of(4.0, 5e-6)
    rng, seen = np.random.default_rng(0), np.array([3.0, 4.0])
    draws = rng.normal(size=(200_000, 2)) * seen + 1  # a unit that moves both by 1
    loss = (draws / seen**2).sum(axis=1) - 0.5 * (1 / seen**2).sum()
    assert loss.std() == pytest.approx(1 / 2.4, rel=0.01)


def test_no_noise_is_needed_for_nothing() -> None:
    assert epsilon_of(1e6, 0.1) == 0
