"""DeLong's variance of the area under the ROC curve, for patients with one image or several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np

from medistill.evaluate.intervals import Estimate


@dataclass(frozen=True)
class Components:
    """An area under the ROC curve, or a difference of two, with what each image adds to it (Sen 1960, DeLong 1988).

    With psi(x, y) = 1 where a case's score x exceeds a control's score y, 1/2 where they tie and 0 elsewhere,

        V10_i = mean_j psi(x_i, y_j),   V01_j = mean_i psi(x_i, y_j),   AUC = mean_i V10_i = mean_j V01_j.

    A mean or a difference of areas on the same images has the mean or the difference of their components.

    Attributes:
        auc: the area, or the difference; NaN without a case or without a control.
        cases: (P,), V10 of each image of the class.
        controls: (Q,), V01 of each other image.
        case_groups: (P,), patient of each case, 0..G-1.
        control_groups: (Q,), patient of each control, 0..G-1.
        quantity: an area lies within 0..1, a difference within -1..1.
    """

    auc: float
    cases: np.ndarray
    controls: np.ndarray
    case_groups: np.ndarray
    control_groups: np.ndarray
    quantity: Literal["area", "difference"] = "area"

    @classmethod
    def of(cls, scores: np.ndarray, positive: np.ndarray, groups: np.ndarray) -> Components:
        """Rank finite ``scores`` (N,) in O(N log N), as Sun and Xu (2014) do, instead of comparing P times Q pairs.

        Args:
            scores: (N,), higher speaks for the class.
            positive: (N,) bool, the image is of the class.
            groups: (N,), patient of each image, 0..G-1.
        """
        cases, controls = scores[positive], scores[~positive]
        beaten = _share_below(cases, controls)
        return cls(
            auc=float(beaten.mean()) if len(cases) and len(controls) else float("nan"),
            cases=beaten,
            controls=1 - _share_below(controls, cases),
            case_groups=groups[positive],
            control_groups=groups[~positive],
        )

    @classmethod
    def mean(cls, parts: Sequence[Components]) -> Components:
        """The mean of the areas of several networks on the same images."""
        first = parts[0]
        return cls(
            auc=float(np.mean([part.auc for part in parts])),
            cases=np.mean([part.cases for part in parts], axis=0),
            controls=np.mean([part.controls for part in parts], axis=0),
            case_groups=first.case_groups,
            control_groups=first.control_groups,
            quantity=first.quantity,
        )

    def minus(self, other: Components) -> Components:
        """This area minus another on the same images, so that its variance is that of the paired difference."""
        return Components(
            auc=self.auc - other.auc,
            cases=self.cases - other.cases,
            controls=self.controls - other.controls,
            case_groups=self.case_groups,
            control_groups=self.control_groups,
            quantity="difference",
        )

    def variance(self) -> float:
        """Variance of the area where patients are drawn, each with all its images (Obuchowski 1997, equation 4).

        With A_g the sum of V10 - AUC over patient g's cases and B_g that of V01 - AUC over its controls, I10 patients
        with a case, I01 with a control and I in all,

            S10 = I10 / ((I10 - 1) P) sum_g A_g^2,    S01 = I01 / ((I01 - 1) Q) sum_g B_g^2,
            S11 = I / (I - 1) sum_g A_g B_g,          var = S10 / P + S01 / Q + 2 S11 / (P Q).

        With one image a patient S11 is 0 and the rest is DeLong's variance. Taking images for patients where images of
        one patient are alike gives a variance that is too small. Needs two patients with a case and two with a control.
        """
        size = 1 + int(max(self.case_groups.max(), self.control_groups.max()))
        with_case = np.bincount(self.case_groups, minlength=size) > 0
        with_control = np.bincount(self.control_groups, minlength=size) > 0
        case_sums = np.bincount(self.case_groups, weights=self.cases - self.auc, minlength=size)
        control_sums = np.bincount(self.control_groups, weights=self.controls - self.auc, minlength=size)
        p, q = len(self.cases), len(self.controls)
        s10 = _unbiased(with_case) * (case_sums @ case_sums) / p
        s01 = _unbiased(with_control) * (control_sums @ control_sums) / q
        s11 = _unbiased(with_case | with_control) * (case_sums @ control_sums)
        return float(s10 / p + s01 / q + 2 * s11 / (p * q))

    def estimate(self, confidence: float) -> Estimate:
        """The area with its interval, or why there is none.

        The interval of an area is symmetric on the logit scale, so it stays within 0..1 and holds its level better near
        1 (Qin and Hotilovac 2008); that of a difference is value -/+ z times the standard error.

        Args:
            confidence: level of the interval, such as 0.95.
        """
        if len(self.cases) == 0:
            return Estimate.impossible("there is no image of the class")
        if len(self.controls) == 0:
            return Estimate.impossible("every image is of the class")
        for groups, what in ((self.case_groups, "an image of the class"), (self.control_groups, "any other image")):
            if groups.min() == groups.max():
                return Estimate(self.auc, reason=f"an interval needs 2 patients with {what}, and there is only 1")
        variance = self.variance()
        if variance < 1e-18:
            return Estimate(self.auc, reason=self._why_no_variance())
        z = NormalDist().inv_cdf((1 + confidence) / 2)
        if self.quantity == "difference":
            reach = z * variance**0.5
            return Estimate(self.auc, max(-1.0, self.auc - reach), min(1.0, self.auc + reach))
        odds = self.auc / (1 - self.auc)
        factor = float(np.exp(z * variance**0.5 / (self.auc * (1 - self.auc))))
        return Estimate(self.auc, odds / factor / (1 + odds / factor), odds * factor / (1 + odds * factor))

    def _why_no_variance(self) -> str:
        if self.quantity == "difference":
            return "the two areas differ by the same for every image, which leaves no variance to measure"
        if self.auc > 1 - 1e-9:
            return "every image of the class scores above every other image, which leaves no variance to measure"
        if self.auc < 1e-9:
            return "every image of the class scores below every other image, which leaves no variance to measure"
        return "every image adds the same to the area, which leaves no variance to measure"


def delong_estimate(components: Components, reason: str, confidence: float, *, rare: str = "") -> Estimate:
    """`Components.estimate`, or why there is no area (``reason``), or no interval of it (``rare``)."""
    if reason:
        return Estimate.impossible(reason)
    return Estimate(components.auc, reason=rare) if rare else components.estimate(confidence)


def _share_below(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Share of ``others`` (M,) that each of ``scores`` (K,) exceeds, ties counting half; zeros where M is 0."""
    ordered = np.sort(others)
    below, at_most = (np.searchsorted(ordered, scores, side=side) for side in ("left", "right"))
    return (below + at_most) / max(1, 2 * len(others))


def _unbiased(taken: np.ndarray) -> float:
    """I / (I - 1) for I patients."""
    count = int(taken.sum())
    return count / (count - 1)
