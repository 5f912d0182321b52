"""How often 95 % intervals of an area hold the truth where few have the class: `python -m tests.bench.coverage`.

Binormal scores, one image a patient, 100 patients without the class, true area 0.86. Test sets of which an interval
cannot be given, since every case scores above every control, are left out and counted.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from rich.console import Console

from medistill.evaluate.delong import Components
from medistill.evaluate.intervals import Estimate, percentile_estimate, resamples
from medistill.evaluate.metrics import Ranking

AREA = 0.86
CONTROLS = 100
CASES = (4, 8, 20)
TEST_SETS = 1000
REPLICATES = 1000


def intervals(cases: int, numbers: np.random.Generator) -> tuple[Estimate, Estimate]:
    """The bootstrap's and DeLong's estimate on one drawn test set."""
    patients = CONTROLS + cases
    positive = np.arange(patients) < cases
    scores = numbers.normal(size=patients) + np.sqrt(2) * NormalDist().inv_cdf(AREA) * positive
    ranking, groups = Ranking.of(scores, positive), np.arange(patients)
    drawn = np.concatenate([ranking.auc(counts, groups) for counts in resamples(patients, REPLICATES, numbers)])
    components = Components.of(scores, positive, groups)
    return (
        percentile_estimate(components.auc, drawn, patients=patients, confidence=0.95),
        components.estimate(0.95),
    )


def main() -> None:
    numbers, console = np.random.default_rng(0), Console(highlight=False)
    console.print("patients with the class   bootstrap   DeLong   test sets without an interval")
    for cases in CASES:
        found = [intervals(cases, numbers) for _ in range(TEST_SETS)]
        given = [[one for one in column if one.low is not None] for column in zip(*found, strict=True)]
        shares = [np.mean([one.low <= AREA <= one.high for one in column]) for column in given]
        lacking = [TEST_SETS - len(column) for column in given]
        console.print(
            f"{cases:23}   {shares[0]:9.1%}   {shares[1]:6.1%}   {lacking[0]} and {lacking[1]} of {TEST_SETS}"
        )


if __name__ == "__main__":
    main()
