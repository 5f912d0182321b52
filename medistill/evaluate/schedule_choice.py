"""Schedule choice: how long, how fast and in which batches an arm's networks are trained; of probes, which penalty.

It is chosen on patients who are not tested, by one rule for every arm. A comparison is as good as its weakest training:
networks on all originals that stop early make any set look good. So the length is doubled until the score stops rising,
and an arm that still rises at the longest is marked. A probe is fitted to its end at once: of it only the penalty is
chosen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from medistill.recipe.arms import ArmName
from medistill.training.penalty import Penalty


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


SHOWN = 0.001
"""Difference of two scores that can be seen in a report."""
Way = Candidate | Penalty
"""A way to train a network, or to fit a probe."""


@dataclass(frozen=True)
class Trial:
    """What a candidate is worth.

    Attributes:
        candidate: the way to train.
        scores: macro AUC of each network on images that it was not trained on; empty where one diverged.
        reason: why there are none; else empty.
    """

    candidate: Way
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
    chosen: Way
    trials: tuple[Trial, ...]
    still_rising: bool
    patients: int
    scored_on: str
    seconds: float

    @property
    def fitted(self) -> bool:
        """Whether its networks are probes, of which a penalty was chosen."""
        return isinstance(self.chosen, Penalty)

    @property
    def at_edge(self) -> bool:
        """Whether the penalty that was chosen is the smallest or the largest of several that were tried, and better
        than the next by as much as figures show."""
        curve = self.curve() if self.fitted else ()
        return len(curve) > 1 and any(
            edge.candidate == self.chosen and edge.score - beside.score >= SHOWN
            for edge, beside in (curve[:2], curve[:-3:-1])
        )

    def curve(self) -> tuple[Trial, ...]:
        """The best trial of each length, by length; of probes each penalty's, by penalty."""
        best: dict[float, Trial] = {}
        for trial in self.trials:
            along = extent(trial.candidate)
            if along not in best or trial.score > best[along].score:
                best[along] = trial
        return tuple(best[along] for along in sorted(best))


def extent(way: Way) -> float:
    """Return what a curve of scores is drawn over: the updates of a training, or the penalty of a fit."""
    return way.penalty if isinstance(way, Penalty) else way.updates


def search_penalties(
    attempt: Callable[[Penalty], Trial], penalties: Sequence[float]
) -> tuple[Penalty, tuple[Trial, ...]]:
    """Find under which penalty to fit a probe: all of them are tried, from the largest to the smallest.

    Args:
        attempt: fits probes and scores them.
        penalties: those to try.

    Returns:
        What was chosen (of equals the largest penalty), and all trials.
    """
    candidates = [Penalty(value) for value in sorted(set(penalties), reverse=True)]
    trials = tuple(attempt(candidate) for candidate in candidates)
    best = max(range(len(trials)), key=lambda k: trials[k].score)
    return candidates[best], trials


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
    ways = [Candidate(size, rate, updates) for size in batch_sizes for rate in rates]
    trials = [attempt(way) for way in ways]
    (best, chosen), length, gain = max(zip(trials, ways, strict=True), key=_score), updates, math.inf
    while gain >= least_gain and best.scores and 2 * length <= most_updates:
        length *= 2
        longer = replace(chosen, updates=length)
        going = attempt(longer)
        trials.append(going)
        gain = going.score - best.score
        best, chosen = max((best, chosen), (going, longer), key=_score)
    unfinished = 2 * length > most_updates and gain >= unfinished_gain and bool(best.scores)
    return chosen, tuple(trials), unfinished


def _score(tried: tuple[Trial, Candidate]) -> float:
    return tried[0].score
