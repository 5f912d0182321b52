"""Ensembles: what an arm is worth as somebody would use it, its networks asked together and their doubt put right.

The probability of an ensemble is the mean over its networks. A temperature T divides the logits, so that
p_T = softmax(log p / T); it is fitted to the validation split by likelihood (Guo et al. 2017) and changes no ranking of
a network's own scores for two classes, only how sure it says it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from medistill.evaluate.arm import PreparedArm
from medistill.evaluate.calibration import brier, calibration_error
from medistill.evaluate.evaluation import Ensemble
from medistill.evaluate.intervals import Estimate, percentile_estimate, proportion_estimate
from medistill.evaluate.predictions import ArmPredictions, Truth
from medistill.evaluate.rare import often_absent

LEAST = float(np.finfo(np.float32).tiny)
"""Probability below which none is taken, since its logarithm is."""
TEMPERATURES = (0.05, 20.0)
"""Least and largest temperature."""
_Judged = tuple[PreparedArm, tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""An ensemble, its accuracy and macro AUC on the patients as they are, and both on the resamples."""


def ensembles(
    arms: Sequence[ArmPredictions],
    validation: Truth,
    test: Truth,
    class_names: Sequence[str],
    counts: Sequence[np.ndarray],
    *,
    specificity: float,
    confidence: float,
) -> tuple[Ensemble, ...]:
    """The ensemble of every arm.

    Args:
        counts: (G, R) chunks of the resamples on which the single networks were judged.
        specificity: as single networks are judged by.
        confidence: level of the intervals.
    """
    judged = {}
    for predictions in arms:
        together = replace(
            predictions,
            validation=predictions.validation.mean(axis=0, keepdims=True),
            test=predictions.test.mean(axis=0, keepdims=True),
        )
        ready = PreparedArm(together, validation, test, class_names, specificity)
        once = ready.headline(np.ones((ready.patients, 1), np.float32))
        accuracy, macro_auc = (np.concatenate(row) for row in zip(*map(ready.headline, counts), strict=True))
        judged[predictions.arm] = (ready, once, (accuracy, macro_auc))
    raw = judged.get("raw")
    return tuple(
        _ensemble(single, judged[single.arm], raw, validation, test, class_names, confidence) for single in arms
    )


def _ensemble(
    single: ArmPredictions,
    judged: _Judged,
    raw: _Judged | None,
    validation: Truth,
    test: Truth,
    class_names: Sequence[str],
    confidence: float,
) -> Ensemble:
    ready, (accuracy, macro), (accuracy_sample, macro_sample) = judged
    mean = ready.predictions
    temperature = fitted_temperature(mean.validation[0], validation.labels)
    tempered = at_temperature(mean.test, temperature)
    alone = tuple(fitted_temperature(of_network, validation.labels) for of_network in single.validation)
    cooled = np.stack([at_temperature(one, t) for one, t in zip(single.test, alone, strict=True)])
    lacking = often_absent(class_names, ready.class_patients, ready.patients)

    def macro_auc(value: np.ndarray, replicates: np.ndarray) -> Estimate:
        return percentile_estimate(
            float(value[0]),
            replicates,
            patients=ready.patients,
            confidence=confidence,
            reason=ready.rankings.no_macro,
            lacking=lacking,
        )

    minus_raw = Estimate.impossible("no network was trained on all originals")
    if single.arm == "raw":
        minus_raw = Estimate.impossible("it is the ensemble on all originals itself")
    elif raw is not None:
        minus_raw = macro_auc(macro - raw[1][1], macro_sample - raw[2][1])
    return Ensemble(
        arm=single.arm,
        networks=len(single.test),
        accuracy=proportion_estimate(
            float(accuracy[0]), accuracy_sample, patients=ready.patients, confidence=confidence
        ),
        macro_auc=macro_auc(macro, macro_sample),
        minus_raw=minus_raw,
        brier=float(brier(mean.test, test.labels).mean()),
        calibration_error=_error(mean.test, test.labels),
        temperature=temperature,
        tempered_brier=float(brier(tempered, test.labels).mean()),
        tempered_calibration_error=_error(tempered, test.labels),
        single_temperatures=alone,
        single_brier=float(brier(cooled, test.labels).mean()),
        single_calibration_error=_error(cooled, test.labels),
    )


def at_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities (..., C) of logits divided by a temperature: p^(1/T), normalised."""
    logits = np.log(np.maximum(probabilities.astype(np.float64), LEAST)) / temperature
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    tempered: np.ndarray = powers / powers.sum(axis=-1, keepdims=True)
    return tempered


def fitted_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The temperature between `TEMPERATURES` under which the labels (N,) are most likely; 1 without an image.

    The mean negative log-likelihood is convex in 1/T, so that its least value on the interval is the only one.
    """
    if not len(labels):
        return 1.0
    from scipy.optimize import minimize_scalar

    rows = np.arange(len(labels))

    def loss(inverse: float) -> float:
        chosen = at_temperature(probabilities, 1 / inverse)[rows, labels]
        return float(-np.log(np.maximum(chosen, LEAST)).mean())

    low, high = TEMPERATURES
    return float(1 / minimize_scalar(loss, bounds=(1 / high, 1 / low), method="bounded", options={"xatol": 1e-6}).x)


def _error(probabilities: np.ndarray, labels: np.ndarray) -> Estimate:
    """Expected calibration error of the largest of the probabilities (S, N, C)."""
    return calibration_error(probabilities.max(axis=2), probabilities.argmax(axis=2) == labels)
