"""Trials: what an attack on membership says of each image, and the truth; the patient is the unit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medistill.evaluate.intervals import number_groups


@dataclass(frozen=True)
class Trials:
    """Images about which the adversary asks, once (the loss and the distance attack) or once a shadow.

    Attributes:
        scores: (T, N), higher speaks for membership; NaN where no score can be given.
        member: (T, N) bool, the image was in the training data.
        groups: int64 (N,), patients.
    """

    scores: np.ndarray
    member: np.ndarray
    groups: np.ndarray

    def of(self, rows: np.ndarray) -> Trials:
        """Some of the images."""
        return Trials(self.scores[:, rows], self.member[:, rows], self.groups[rows])

    def by_patient(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Scores, membership and patients of every pair of patient and trial.

        The patient is the unit: a score is the mean over the patient's images, for images of one patient are alike and
        would be counted as if each were evidence of its own. Where only some of a patient's images were in the training
        data, the others take no part.
        """
        groups, patients = number_groups(self.groups)
        values, belongs, whose = [], [], []
        for scores, member in zip(self.scores, self.member, strict=True):
            inside = np.bincount(groups, weights=member, minlength=patients) > 0
            taken = np.isfinite(scores) & (member == inside[groups])
            count = np.bincount(groups[taken], minlength=patients)
            known = np.flatnonzero(count)
            sums = np.bincount(groups[taken], weights=scores[taken], minlength=patients)
            values.append(sums[known] / count[known])
            belongs.append(inside[known])
            whose.append(known)
        return np.concatenate(values), np.concatenate(belongs), np.concatenate(whose)
