"""Schedule choice: how long, how fast and in which batches an arm's networks are trained.

It is chosen on patients who are not tested, by one rule for every arm. A comparison is as good as its weakest training:
networks on all originals that stop early make any set look good. So the length is doubled until the score stops rising,
and an arm that still rises at the longest is marked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from medistill.recipe.arms import ArmName


@dataclass(frozen=True)
class Candidate:
    """One way to train.

    Attributes:
        batch_size: images an update.
        lr: learning rate, constant: the network is the mean of the last quarter of its way.
        updates: steps of SGD.
    """

    batch_size: int
    lr: float
    updates: int

    @property
    def words(self) -> str:
        """The same in a sentence; a training set of fewer images than ``batch_size`` is taken whole."""
        return f"{self.updates} updates of up to {self.batch_size} images at a learning rate of {self.lr:.3g}"


@dataclass(frozen=True)
class Trial:
    """What a candidate is worth.

    Attributes:
        candidate: the way to train.
        scores: macro AUC of each network on images that it was not trained on; empty where one diverged.
        reason: why there are none; else empty.
    """

    candidate: Candidate
    scores: tuple[float, ...]
    reason: str = ""

    @property
    def score(self) -> float:
        """Mean over the networks; minus infinity where the candidate could not be trained."""
        return sum(self.scores) / len(self.scores) if self.scores else float("-inf")


@dataclass(frozen=True)
class ScheduleChoice:
    """How an arm is trained, and what that was chosen from.

    Attributes:
        arm: what its networks are trained on.
        chosen: the way that was taken.
        trials: all that were tried, in the order in which they were.
        still_rising: whether the longest training that may be tried was better than that of half its length, so that
            the arm is not trained to its end.
        patients: patients (images, where no patient is known) on whom every candidate was scored.
        scored_on: who they are, in words.
        seconds: what the search took.
    """

    arm: ArmName
    chosen: Candidate
    trials: tuple[Trial, ...]
    still_rising: bool
    patients: int
    scored_on: str
    seconds: float

    def curve(self) -> tuple[Trial, ...]:
        """The best trial of each length, by length."""
        best: dict[int, Trial] = {}
        for trial in self.trials:
            length = trial.candidate.updates
            if length not in best or trial.score > best[length].score:
                best[length] = trial
        return tuple(best[length] for length in sorted(best))


def search(
    attempt: Callable[[Candidate], Trial],
    *,
    rates: Sequence[float],
    batch_sizes: Sequence[int],
    updates: int,
    most_updates: int,
    least_gain: float,
    unfinished_gain: float,
) -> tuple[Candidate, tuple[Trial, ...], bool]:
    """Find how to train: all rates and batches at the shortest length, then the best of them at twice the length and so
    on, while the score rises.

    Args:
        attempt: trains networks in one way and scores them; a way that diverges has no scores.
        updates: the shortest length.
        most_updates: the longest that may be tried.
        least_gain: by which the best of a length must beat the best of all shorter ones to go on.
        unfinished_gain: by which the longest that may be tried must beat them for the score to rise still.

    Returns:
        What was chosen (of equals the shorter, then the first), all trials, and whether the score still rose at the
        longest length that may be tried.
    """
    trials = [attempt(Candidate(size, rate, updates)) for size in batch_sizes for rate in rates]
    best, length, gain = max(trials, key=lambda trial: trial.score), updates, math.inf
    while gain >= least_gain and best.scores and 2 * length <= most_updates:
        length *= 2
        going = attempt(Candidate(best.candidate.batch_size, best.candidate.lr, length))
        trials.append(going)
        gain = going.score - best.score
        best = max((best, going), key=lambda trial: trial.score)
    unfinished = 2 * length > most_updates and gain >= unfinished_gain and bool(best.scores)
    return best.candidate, tuple(trials), unfinished
