"""Between runs: one arm of two runs on the same test images, with a paired interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medistill.errors import DataError
from medistill.evaluate.arm import Rankings
from medistill.evaluate.intervals import Estimate, number_groups, percentile_estimate, resamples
from medistill.evaluate.predictions import ArmPredictions, Truth
from medistill.evaluate.rare import often_absent, patients_with


def same_truth(first: Truth, second: Truth) -> bool:
    """Whether two test splits have the same classes and the same patients, image by image."""
    return np.array_equal(first.labels, second.labels) and np.array_equal(first.groups, second.groups)


def paired_difference(
    mine: ArmPredictions,
    other: ArmPredictions,
    test: Truth,
    class_names: Sequence[str],
    *,
    replicates: int,
    confidence: float,
    seed: int,
    lacking: str = "",
) -> tuple[Estimate, Estimate]:
    """``mine`` minus ``other`` in macro AUC and in accuracy, both tested on the images of ``test``.

    Each is a mean over its run's networks. Both see the same resamples of the patients.

    Args:
        lacking: what is said where many resamples lack a class; empty names it, with its patients.

    Raises:
        DataError: predictions of another number of images or classes.
    """
    shape = (len(test.labels), len(class_names))
    if mine.test.shape[1:] != shape or other.test.shape[1:] != shape:
        raise DataError(
            f"the runs predict {mine.test.shape[1:]} and {other.test.shape[1:]} probabilities (images, classes)",
            expected=f"{shape} in both",
            do="compare runs that were tested on the same images",
        )
    groups, patients = number_groups(test.groups)
    cases = test.labels == np.arange(len(class_names))[:, None]
    rankings = [Rankings(predictions, cases, class_names, groups) for predictions in (mine, other)]
    right = [_per_patient(predictions, test.labels, groups, patients) for predictions in (mine, other)]
    images = np.bincount(groups, minlength=patients).astype(np.float64)

    def gains(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        areas = [ranking.macro_auc(ranking.auc(counts)) for ranking in rankings]
        shares = [correct @ counts / (images @ counts) for correct in right]
        return areas[0] - areas[1], shares[0] - shares[1]

    once = gains(np.ones((patients, 1), np.float32))
    drawn = [gains(counts) for counts in resamples(patients, replicates, np.random.default_rng(seed))]
    macro_auc, accuracy = ((float(once[k][0]), np.concatenate([part[k] for part in drawn])) for k in range(len(once)))
    reason = next((ranking.no_macro for ranking in rankings if ranking.no_macro), "")
    lacking = lacking or often_absent(class_names, patients_with(cases, groups), patients)
    return (
        percentile_estimate(*macro_auc, patients=patients, confidence=confidence, reason=reason, lacking=lacking),
        percentile_estimate(*accuracy, patients=patients, confidence=confidence),
    )


def _per_patient(predictions: ArmPredictions, labels: np.ndarray, groups: np.ndarray, patients: int) -> np.ndarray:
    """Images of each patient (G,) that are put into their class, mean over the networks."""
    right = (predictions.test.argmax(axis=2) == labels).mean(axis=0)
    return np.bincount(groups, weights=right, minlength=patients)
