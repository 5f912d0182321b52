"""Accounting against published values, a closed form, and a numerical composition written out here."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from medistill.errors import ArtifactError, UsageError
from medistill.privacy import accounting
from medistill.privacy.accounting import Guarantee, solve_sigma, spent_epsilon, steps_an_epoch
from medistill.recipe import load_recipe

pytest.importorskip("opacus")
PRIVATE = load_recipe(
    "covid-xray-dp",
    ["method.experts.count=2", "method.experts.epochs=10", "method.max_start_epoch=2", "privacy.epsilon=3"],
)


@pytest.mark.parametrize(("experts", "epsilon"), [(1, 0.68), (5, 1.6), (20, 3.5)])
def test_epsilon_is_what_the_accountant_was_found_to_give(experts: int, epsilon: float) -> None:
    """N 10,000, batch 512, 10 epochs, delta 1e-5, sigma 4."""
    assert spent_epsilon(4, 1e-5, 512 / 10_000, 195 * experts) == pytest.approx(epsilon, rel=0.03)


@pytest.mark.parametrize(
    ("sigma", "rate", "steps", "epsilon"),
    [
        (0.8, 0.05, 100, 6.74105194),
        (1.5, 0.2, 100, 8.49897786),
        (2.0, 0.05, 1000, 4.17279991),
        (1.5, 0.001, 1000, 0.0998206603),
        (3.0, 0.001, 20000, 0.194031031),
    ],
)
def test_epsilon_is_what_the_authors_of_the_accountant_publish(
    sigma: float, rate: float, steps: int, epsilon: float
) -> None:
    """Delta 1e-6, by github.com/microsoft/prv_accountant, as listed in opacus/tests/prv_accountant.py."""
    assert spent_epsilon(sigma, 1e-6, rate, steps) == pytest.approx(epsilon, abs=1e-5)


@pytest.mark.parametrize(("sigma", "epochs", "renyi"), [(1.12, 60, 2.92), (0.6, 30, 9.74), (1.2, 10, 1.20)])
def test_epsilon_lies_a_little_below_a_published_renyi_bound(sigma: float, epochs: int, renyi: float) -> None:
    """MNIST, N 60,000, batch 256, delta 1e-5: the table in tutorials/README.md of github.com/tensorflow/privacy."""
    assert 0.6 * renyi < spent_epsilon(sigma, 1e-5, 256 / 60_000, epochs * 60_000 // 256) < renyi


@pytest.mark.parametrize("delta", [1e-5, 1e-10])
def test_full_batches_are_a_gaussian_mechanism(delta: float) -> None:
    """With q = 1, k updates are one Gaussian mechanism of noise sigma / sqrt(k) (Balle and Wang 2018, theorem 8)."""
    sigma, steps = 3.0, 4
    mu = np.sqrt(steps) / sigma

    def excess(epsilon: float) -> float:
        return norm.cdf(mu / 2 - epsilon / mu) - np.exp(epsilon) * norm.cdf(-mu / 2 - epsilon / mu) - delta

    exact = brentq(excess, 0.01, 50)
    assert spent_epsilon(sigma, delta, 1.0, steps) == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize("removed", [True, False])
def test_sampled_batches_are_bounded_in_both_directions(removed: bool) -> None:
    """Privacy losses on a grid, convolved by FFT: a unit removed, and one added, cost no more than is accounted."""
    sigma, rate, steps, delta, width, reach = 2.0, 0.1, 40, 1e-5, 1e-4, 12.0
    x = np.linspace(-14 * sigma, 14 * sigma + 1, 1_200_001)
    base, shifted = norm.pdf(x, 0, sigma), norm.pdf(x, 1, sigma)
    mixed = (1 - rate) * base + rate * shifted
    p, q = (mixed, base) if removed else (base, mixed)
    bins = np.rint(np.log(p / q) / width).astype(int)
    count = int(2 * reach / width)
    losses = np.bincount(bins % count, weights=p * (x[1] - x[0]), minlength=count)
    together = np.fft.irfft(np.fft.rfft(losses) ** steps, count)
    values = np.fft.fftfreq(count, 1 / count) * width

    def excess(epsilon: float) -> float:
        above = values > epsilon
        return float(together[above] @ -np.expm1(epsilon - values[above])) - delta

    oracle = brentq(excess, 0.01, 8)
    accounted = spent_epsilon(sigma, delta, rate, steps)
    assert oracle <= accounted + 1e-3
    if removed:
        assert accounted == pytest.approx(oracle, abs=0.03)


def test_sigma_is_the_smallest_that_keeps_the_budget() -> None:
    sigma, spent = solve_sigma(3.0, 1e-5, 0.05, 200)
    assert spent <= 3 < spent_epsilon(sigma - 0.01, 1e-5, 0.05, 200, error=0.03)
    assert spent == spent_epsilon(sigma, 1e-5, 0.05, 200, error=0.03)


def test_a_budget_that_no_noise_keeps_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounting, "HIGHEST", accounting.FIRST)
    with pytest.raises(UsageError, match=r"epsilon = 0\.5 .* too small for 200 updates"):
        solve_sigma(0.5, 1e-5, 0.2, 200)


def test_what_the_accountant_cannot_tell_is_no_traceback() -> None:
    with pytest.raises(UsageError, match=r"cannot tell what 240 updates .* no epsilon can be stated"):
        spent_epsilon(4.0, 1e-17, 0.25, 240)


def test_all_experts_share_the_budget() -> None:
    found = Guarantee.of(PRIVATE)
    assert found is not None
    assert (found.steps, found.experts) == (10 * steps_an_epoch(PRIVATE), 2)
    assert steps_an_epoch(PRIVATE) == 4
    assert (found.sample_rate, found.units_public) == (0.25, 1000)
    assert 2.9 < found.epsilon <= 3
    assert spent_epsilon(found.sigma, found.delta, 0.25, 2 * 40, error=0.03) == found.epsilon
    assert f"epsilon = {found.epsilon_text}, delta = 1e-05 for one patient" in found.sentence
    assert 0 <= float(found.epsilon_text) - found.epsilon <= 0.01
    assert replace(found, epsilon=7.9634).epsilon_text == "7.97"
    assert Guarantee.from_json(found.as_json()) == found


def test_a_recipe_without_privacy_has_no_guarantee() -> None:
    assert Guarantee.of(load_recipe("covid-xray-cpu")) is None


@pytest.mark.parametrize(
    "altered",
    [
        {"sigma": 0.0},
        {"epsilon": float("inf")},
        {"epsilon": 0},
        {"delta": 1.0},
        {"experts": 0},
        {"unit": 3},
        {"x": 1},
        {"steps": 10**400},
        {"units_public": 10**5000},
        {"sigma": 10**400},
        {"sigma": 1e-320},
        {"clip": 1e16},
        {"epsilon": 10**400},
    ],
)
def test_what_promises_nothing_is_not_read_as_a_guarantee(altered: dict) -> None:
    found = Guarantee.of(PRIVATE)
    assert found is not None
    with pytest.raises(ArtifactError, match="do not rely on a guarantee"):
        Guarantee.from_json({**found.as_json(), **altered})


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opacus.accountants", None)
    with pytest.raises(UsageError, match=r"pip install 'medistill\[dp\]'"):
        spent_epsilon(4, 1e-5, 0.1, 10)
