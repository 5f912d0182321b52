"""Pace: how long a piece of work will still take, from how fast it went lately; or that this cannot be known."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

WINDOW = 120.0
"""Seconds that count as lately."""
LEAST = 4
"""Steps forward that count in any case, however long each takes."""
GRAIN = 1.0
"""Seconds below which steps forward are taken together."""
MOST_DOUBT = 0.5
"""Largest standard error of the time left, as a share of it, with which it is told."""


@dataclass
class _Stretch:
    end: float
    steps: int
    seconds: float


class Pace:
    """The speed of one task.

    Steps are taken to be alike as far as they were alike lately: of pieces that took very unlike times nothing is said
    of those to come.

    Args:
        total: steps in all.
        done: of these before it began.
        now: when it begins, in seconds of a clock that goes on evenly.
    """

    def __init__(self, total: int, done: int, now: float) -> None:
        self.total, self.done, self._last = total, done, now
        self._stretches: deque[_Stretch] = deque()

    def advance(self, steps: int, now: float) -> None:
        """Say that so many more are done; with 0, that the one at hand goes on."""
        self.done += steps
        self.total = max(self.total, self.done)
        if not steps:
            return
        newest, seconds = self._stretches[-1] if self._stretches else None, now - self._last
        if newest is not None and seconds < GRAIN and newest.seconds < GRAIN:
            newest.end, newest.steps, newest.seconds = now, newest.steps + steps, newest.seconds + seconds
        else:
            self._stretches.append(_Stretch(now, steps, seconds))
        self._last = now
        while len(self._stretches) > LEAST and self._stretches[0].end < now - WINDOW:
            self._stretches.popleft()

    def left(self, now: float) -> float | None:
        """Seconds that are left, 0 at the least; None where that cannot be known.

        The rest at the mean cost of a step, without what the step at hand has taken already; this one is not taken to
        be over before it is.
        """
        rest, seen = self.total - self.done, sum(one.steps for one in self._stretches)
        if not rest:
            return 0.0
        if len(self._stretches) < 2:  # the first may be a start that takes long, and one says nothing of others
            return None
        mean = sum(one.seconds for one in self._stretches) / seen
        if mean <= 0 or self._doubt(mean, rest / seen * len(self._stretches)) > MOST_DOUBT:
            return None
        at_hand = min(rest, self._stretches[-1].steps)
        return max(mean * rest - (now - self._last), mean * (rest - at_hand))

    def words(self, now: float) -> str:
        """The end of a sentence on the time left; empty before anything is done."""
        if not self._stretches:
            return ""
        left = self.left(now)
        return "; time left not known yet" if left is None else f"; about {duration(left)} left"

    def _doubt(self, mean: float, pieces_left: float) -> float:
        """The standard error of what is left, over its size: of the mean so far, and of as unlike pieces to come."""
        count = len(self._stretches)
        variance = sum((one.seconds / one.steps - mean) ** 2 for one in self._stretches) / (count - 1)
        return math.sqrt(variance * (1 / count + 1 / pieces_left)) / mean


def duration(seconds: float) -> str:
    """Seconds as a person would say them: ``42 s``, ``3 min 5 s``, ``2 h 10 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
