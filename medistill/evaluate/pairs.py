"""Pairs of a case and a control, compared once for all networks: the fast way to an area where cases are few."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FEW = 100
"""Cases for each network up to which comparing every pair once beats a running sum over the controls of each network
and resample: with 2,000 and with 10,000 images the two take as long at 120 to 200."""


@dataclass(frozen=True)
class Pairs:
    """How often cases score above controls, all S networks added up, so that a product gives every weighting's area.

    The mean over the networks n of the area of `medistill.evaluate.metrics.Ranking` is, with weights w of the patients,

        sum_i w_i sum_g W_ig w_g / (2 S sum_i w_i sum_j w_j),   W_ig = sum_n sum_j [s_ni > s_nj] + [s_ni >= s_nj],

    i over cases, j over controls, in W_ig those of patient g. Sums of whole numbers below 2**24 are exact in float32.

    Attributes:
        wins: unsigned (P, G), W.
        groups: (P,), patient of each case.
        controls: float32 (G,), controls of each patient.
        network_auc: (S,), the area of each network, every image counting once.
    """

    wins: np.ndarray
    groups: np.ndarray
    controls: np.ndarray
    network_auc: tuple[float, ...]

    @classmethod
    def of(cls, scores: np.ndarray, positive: np.ndarray, groups: np.ndarray) -> Pairs:
        """Compare every case with every control.

        Args:
            scores: (S, N), finite, of S networks; higher speaks for the class.
            positive: (N,) bool, the image is of the class; there are cases and controls.
            groups: (N,), patient of each image, 0..G-1.
        """
        order = np.argsort(groups, kind="stable")
        control = ~positive[order]
        starts = np.searchsorted(groups[order], np.arange(groups.max() + 1))
        images = np.add.reduceat(control, starts, dtype=np.int64)
        kind = np.min_scalar_type(2 * len(scores) * int(images.max()))
        wins = np.zeros((int(positive.sum()), len(order)), kind)
        network_auc = []
        before = 0
        for network in scores:
            of_cases, others = network[positive][:, None], network[order]
            wins += of_cases > others
            wins += of_cases >= others
            total = int(wins.sum(axis=0, dtype=np.int64) @ control)
            network_auc.append((total - before) / (2 * len(wins) * int(control.sum())))
            before = total
        wins[:, ~control] = 0
        return cls(
            np.add.reduceat(wins, starts, axis=1, dtype=kind),
            groups[positive],
            images.astype(np.float32),
            tuple(network_auc),
        )

    def auc(self, counts: np.ndarray) -> np.ndarray:
        """Mean area over the networks (R,) under ``counts`` (G, R); NaN where a weighting has no case or no control.

        Args:
            counts: float32 (G, R), weight of each patient in each of R weightings.
        """
        weights = counts[self.groups]
        hits = np.einsum("pr,pr->r", weights, self.wins.astype(np.float32) @ counts, dtype=np.float64)
        pairs = weights.sum(axis=0, dtype=np.float64) * (self.controls @ counts)
        whole = 2 * len(self.network_auc) * pairs
        return np.divide(hits, whole, out=np.full(len(pairs), np.nan), where=pairs > 0)
