"""How long the evaluation's arithmetic takes: ``python -m tests.bench.statistics``.

scikit-learn's one-vs-rest area in a loop over resamples is timed for 20 of them and scaled to all."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.metrics import roc_auc_score

from medistill.evaluate.calibration import calibration_curve, calibration_error
from medistill.evaluate.decision import decision_curve
from medistill.evaluate.delong import Components
from medistill.evaluate.intervals import resamples
from medistill.evaluate.metrics import Ranking
from medistill.evaluate.pairs import Pairs
from medistill.evaluate.roc_band import roc_band

REPLICATES = 2000
TIMED = 20
"""Resamples that scikit-learn is timed on."""
NETWORKS, CLASSES, ARMS = 5, 4, 4


def seconds(work: Callable[[], Any], times: int = 3) -> float:
    """Least processor time of ``work``, so that what else runs on the machine does not count."""
    taken = []
    for _ in range(times):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken)


def simulated(images: int, patients: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities (S, N) of one class, its cases (N,) and patients (N,)."""
    numbers = np.random.default_rng(0)
    positive = numbers.random(images) < 1 / CLASSES
    scores = numbers.normal(size=(NETWORKS, images)) + 1.5 * positive - 2
    return (1 / (1 + np.exp(-scores))).astype(np.float32), positive, np.arange(images) % patients


def against_scikit_learn(table: Table, images: int, patients: int) -> None:
    """One area with 2,000 replicates, here and there."""
    probability, positive, groups = simulated(images, patients)
    numbers = np.random.default_rng(1)
    members = np.argsort(groups, kind="stable").reshape(patients, -1)

    def loop() -> list[float]:
        taken = [members[numbers.integers(0, patients, patients)].ravel() for _ in range(TIMED)]
        return [roc_auc_score(positive[rows], probability[0, rows]) for rows in taken]

    def ours() -> list[np.ndarray]:
        ranking = Ranking.of(probability[0], positive)
        return [ranking.auc(chunk, groups) for chunk in chunks]

    theirs = seconds(loop) * REPLICATES / TIMED
    drawing = seconds(lambda: list(resamples(patients, REPLICATES, np.random.default_rng(2))))
    chunks = list(resamples(patients, REPLICATES, np.random.default_rng(2)))
    one = seconds(ours)
    size = f"{images:,} images, {patients:,} patients"
    table.add_row(f"{size}: drawing the resamples, once an evaluation", f"{drawing:.3f}", "")
    table.add_row(f"{size}: one area, {REPLICATES:,} replicates", f"{one:.3f}", f"{theirs / one:.0f}x")
    table.add_row(f"{size}: drawing and one area", f"{drawing + one:.3f}", f"{theirs / (drawing + one):.0f}x")
    curves = NETWORKS * CLASSES * ARMS
    together = drawing + curves * one
    table.add_row(
        f"{size}: drawing and {curves} areas (scaled)", f"{together:.1f}", f"{curves * theirs / together:.0f}x"
    )
    table.add_row(f"{size}: scikit-learn in a loop, one area ({TIMED} resamples, scaled)", f"{theirs:.2f}", "")


def curves_of(table: Table, images: int, replicates: int) -> None:
    """Every curve of 4 arms, 4 classes and 5 networks."""
    probability, positive, groups = simulated(images, images)
    chunks = list(resamples(images, replicates, np.random.default_rng(0)))
    named: dict[str, Any] = {"arm": "raw", "class_name": "", "confidence": 0.95}
    grid = np.linspace(0, 1, 101)
    parts: dict[str, Callable[[], Any]] = {
        "ROC bands": lambda: roc_band(probability, positive, groups, chunks, confidence=0.95, grid=grid),
        "calibration curves": lambda: calibration_curve(
            probability, positive, groups, chunks, smallest_cell=10, **named
        ),
        "decision curves": lambda: decision_curve(probability, positive, groups, chunks, **named),
        "DeLong": lambda: Components.mean([Components.of(n, positive, groups) for n in probability]).estimate(0.95),
        "calibration errors": lambda: calibration_error(probability, positive),
    }
    total = 0.0
    for name, work in parts.items():
        taken = ARMS * CLASSES * seconds(work)
        total += taken
        table.add_row(f"{images:,} images, {replicates:,} replicates: {ARMS * CLASSES} {name}", f"{taken:.2f}", "")
    table.add_row(f"{images:,} images, {replicates:,} replicates: these together", f"{total:.2f}", "")


def many_classes(table: Table, images: int, classes: int, replicates: int) -> None:
    """Mean areas of all classes and networks of one arm: pairs compared once, beside a sorted list for each network."""
    rng = np.random.default_rng(0)
    labels, groups = np.arange(images) % classes, np.arange(images)
    scores = rng.normal(size=(NETWORKS, images, classes)).astype(np.float32)
    chunks = list(resamples(images, replicates, rng))

    def by_pairs() -> list[np.ndarray]:
        compared = [Pairs.of(scores[:, :, c], labels == c, groups) for c in range(classes)]
        return [np.stack([one.auc(chunk) for one in compared]) for chunk in chunks]

    def by_sorting() -> list[np.ndarray]:
        compared = [[Ranking.of(one[:, c], labels == c) for one in scores] for c in range(classes)]
        return [
            np.stack([np.mean([one.auc(chunk, groups) for one in of_class], axis=0) for of_class in compared])
            for chunk in chunks
        ]

    fast, slow = seconds(by_pairs, times=1), seconds(by_sorting, times=1)
    size = f"{images:,} images, {replicates:,} replicates: areas of {classes} classes and {NETWORKS} networks"
    table.add_row(f"{size}, pairs compared once", f"{fast:.1f}", "")
    table.add_row(f"{size}, sorted for each network ({slow / fast:.1f} times as long)", f"{slow:.1f}", "")


def main() -> None:
    """Print the table."""
    table = Table("what", "seconds", "faster than scikit-learn in a loop")
    against_scikit_learn(table, 10_000, 10_000)
    against_scikit_learn(table, 10_000, 5_000)
    curves_of(table, 700, REPLICATES)
    curves_of(table, 10_000, 500)
    many_classes(table, 2_000, 200, 500)
    many_classes(table, 10_000, 200, 64)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
