"""A queue of jobs over ranks, played through: jobs that take unequally long, ranks that die and are started again.

It stands for the queue that experts, networks and shadows are taken from. What it is compared with is the time that a
plan on paper gives: the sum of the jobs, shared equally. Nothing here starts a process.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

Event = Literal["free", "dead", "done"]


@dataclass(frozen=True)
class Faults:
    """How ranks fail.

    Attributes:
        rate: deaths an hour of each rank, whether it works or waits; 0 for none.
        delay: hours until a rank that died works again.
        together: one that dies takes all others down, as torch's launcher has it, which starts all ranks again;
            without, it costs its own job.
    """

    rate: float = 0.0
    delay: float = 0.0
    together: bool = False


@dataclass
class JobQueue:
    """One run of a queue, event by event.

    Attributes:
        hours: what each job takes where nothing fails, in the order in which they are given out.
        ranks: how many take jobs.
        faults: how these fail.
        random: draws when they do.
    """

    hours: np.ndarray
    ranks: int
    faults: Faults
    random: np.random.Generator
    waiting: deque[int] = field(init=False)
    idle: list[int] = field(init=False, default_factory=list)
    running: dict[int, int] = field(init=False, default_factory=dict)
    lives: list[int] = field(init=False)
    events: list[tuple[float, int, Event, int, int]] = field(init=False, default_factory=list)
    count: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.waiting = deque(range(len(self.hours)))
        self.lives = [0] * self.ranks
        for rank in range(self.ranks):
            self._tell(0.0, "free", rank)

    def makespan(self) -> float:
        """Return the hours until the last job is done. A queue is played once."""
        done, now = 0, 0.0
        while done < len(self.hours):
            now, _, event, rank, life = heapq.heappop(self.events)
            if life != self.lives[rank]:
                continue  # of a life that ended
            if event == "dead":
                self._die(now, range(self.ranks) if self.faults.together else [rank])
            else:
                if event == "done":
                    del self.running[rank]
                    done += 1
                elif self.faults.rate:
                    self._tell(now + self.random.exponential(1 / self.faults.rate), "dead", rank)
                self.idle.append(rank)
            self._give_out(now)
        return now

    def _tell(self, when: float, event: Event, rank: int) -> None:
        heapq.heappush(self.events, (when, self.count, event, rank, self.lives[rank]))
        self.count += 1

    def _die(self, now: float, ranks: range | list[int]) -> None:
        for rank in ranks:
            self.lives[rank] += 1
            if rank in self.running:
                self.waiting.append(self.running.pop(rank))
            elif rank in self.idle:
                self.idle.remove(rank)
            self._tell(now + self.faults.delay, "free", rank)

    def _give_out(self, now: float) -> None:
        while self.waiting and self.idle:
            job, rank = self.waiting.popleft(), self.idle.pop(0)
            self.running[rank] = job
            self._tell(now + float(self.hours[job]), "done", rank)


def lognormal_hours(jobs: int, mean: float, spread: float, random: np.random.Generator) -> np.ndarray:
    """Draw how long jobs take, with this mean; ``spread`` is the standard deviation of the logarithm, 0 for none."""
    if spread == 0:
        return np.full(jobs, mean)
    return random.lognormal(math.log(mean) - spread**2 / 2, spread, jobs)


def mean_makespan(
    jobs: int, mean: float, spread: float, ranks: int, faults: Faults, *, repeats: int = 100, seed: int = 0
) -> float:
    """Play a queue so many times and return the mean of its hours."""
    random = np.random.default_rng(seed)
    played = (
        JobQueue(lognormal_hours(jobs, mean, spread, random), ranks, faults, random).makespan() for _ in range(repeats)
    )
    return float(np.mean(list(played)))
