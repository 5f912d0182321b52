"""Ensembles and temperatures, against scikit-learn, a grid and probabilities that are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import roc_auc_score

from medistill.evaluate.ensembles import at_temperature, ensembles, fitted_temperature
from medistill.evaluate.intervals import resamples
from medistill.evaluate.predictions import ArmPredictions, Truth

NAMES = ("a", "b", "c")


def drawn(seed: int, images: int, *, sharp: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, 3) whose softmax is calibrated, multiplied by ``sharp``, and labels drawn from that softmax."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(images, 3)) * 1.5
    labels = np.array([rng.choice(3, p=row) for row in softmax(logits, axis=1)])
    return logits * sharp, labels


def test_a_temperature_is_that_of_the_logits():
    logits, _ = drawn(0, 50)
    assert np.allclose(at_temperature(softmax(logits, axis=1), 2.5), softmax(logits / 2.5, axis=1), atol=1e-12)
    one = np.array([[1.0, 0.0, 0.0]], np.float32)
    assert np.isfinite(at_temperature(one, 20.0)).all()


@pytest.mark.parametrize("sharp", [0.4, 1.0, 3.0])
def test_the_fitted_temperature_undoes_a_known_sharpening(sharp):
    logits, labels = drawn(1, 6000, sharp=sharp)
    found = fitted_temperature(softmax(logits, axis=1), labels)
    assert found == pytest.approx(sharp, rel=0.06)
    grid = np.geomspace(0.05, 20, 2000)
    losses = [-np.log(softmax(logits / t, axis=1)[np.arange(len(labels)), labels]).mean() for t in grid]
    assert found == pytest.approx(grid[int(np.argmin(losses))], rel=0.01)


def test_without_images_and_with_perfect_answers_it_stays_within_its_bounds():
    assert fitted_temperature(np.empty((0, 3)), np.empty(0, int)) == 1.0
    sure = np.array([[0.9, 0.05, 0.05], [0.05, 0.9, 0.05]])
    assert 0.05 <= fitted_temperature(sure, np.array([0, 1])) < 0.1
    assert fitted_temperature(sure, np.array([1, 0])) == pytest.approx(20, rel=0.01)


def test_an_ensemble_is_the_mean_probability_and_is_compared_on_the_same_patients():
    arms, truths = [], {}
    for split, images in (("validation", 400), ("test", 500)):
        logits, labels = drawn(2 if split == "test" else 3, images)
        truths[split] = (logits, Truth(labels, np.arange(images) // 2, {}))
    rng = np.random.default_rng(4)
    for arm, noise in (("raw", 0.5), ("distilled", 2.0)):
        told = {
            split: np.stack(
                [softmax(3 * (logits + noise * rng.normal(size=logits.shape)), axis=1) for _ in range(5)]
            ).astype(np.float32)
            for split, (logits, _) in truths.items()
        }
        arms.append(ArmPredictions(arm, told["validation"], told["test"], 1, 1, 1, 1.0))
    test = truths["test"][1]
    counts = list(resamples(250, 200, np.random.default_rng(0)))
    raw, distilled = ensembles(arms, truths["validation"][1], test, NAMES, counts, specificity=0.9, confidence=0.95)
    for told, arm in ((raw, arms[0]), (distilled, arms[1])):
        mean = arm.test.mean(axis=0)
        expected = np.mean([roc_auc_score(test.labels == c, mean[:, c]) for c in range(3)])
        assert told.macro_auc.value == pytest.approx(expected, abs=1e-9)
        single = np.mean([[roc_auc_score(test.labels == c, one[:, c]) for c in range(3)] for one in arm.test])
        assert told.macro_auc.value > single
        assert told.accuracy.value == pytest.approx(float((mean.argmax(1) == test.labels).mean()))
        assert told.tempered_calibration_error.value < told.calibration_error.value or told.temperature < 1.2
        assert len(told.single_temperatures) == told.networks == 5
    assert raw.minus_raw.value is None
    assert distilled.minus_raw.value == pytest.approx(distilled.macro_auc.value - raw.macro_auc.value)
    assert distilled.minus_raw.low < distilled.minus_raw.value < distilled.minus_raw.high < 0
