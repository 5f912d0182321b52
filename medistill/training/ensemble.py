"""An ensemble: networks trained one by one, what comes of each kept under a key, and made again only where it is not.

Whoever needs several trained networks writes down jobs; a `JobRunner` does them. It is the one place from which jobs
are spread over ranks: a job draws its own random numbers by name and knows nothing of the others, so it does not matter
where and in which order they are done.
"""

from __future__ import annotations

import hmac
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import nn

from medistill.artifacts.kept import keep_tensors, read_kept, remove_kept
from medistill.artifacts.local_key import find_local_key, local_key, seal
from medistill.artifacts.making import array_digest
from medistill.errors import ArtifactError, DivergedError
from medistill.progress import Task, every_epoch_but_last
from medistill.training.context import Context
from medistill.training.fresh_network import TrainingSet, diverged, probabilities, train_network
from medistill.training.images import LabelledImages

SECONDS, SEAL = "seconds", "seal"
"""Under which a file has the time that the training took, and the seal of the installation that trained."""


@dataclass(frozen=True)
class Outputs:
    """What is kept of a trained network.

    Attributes:
        arrays: by name, as the job makes them: probabilities of some images, or parameters.
        seconds: what the training took.
    """

    arrays: Mapping[str, np.ndarray]
    seconds: float


class Store(Protocol):
    """Where the outputs of one network lie."""

    def load(self, say: Callable[[str], None]) -> Outputs | None:
        """Return what is there; None where it has to be made. Tell ``say`` of what is damaged."""

    def save(self, outputs: Outputs) -> None:
        """Keep what has just been made, whole or not at all."""


@dataclass(frozen=True)
class OutputsFile:
    """A private file for the outputs of one network, sealed by the installation that made them.

    Whoever can write to the folder of a run could put invented answers there, with a checksum and the right key; an
    audit would judge them. What this installation did not seal is made again.

    Attributes:
        path: of the file.
        key: of all that decides them; what lies there under another key is not taken.
        what: names the thing in messages.
    """

    path: Path
    key: str
    what: str = "stored predictions"

    def load(self, say: Callable[[str], None]) -> Outputs | None:
        """Return what is there under the key; a file that is damaged, or not sealed here, is removed and told of."""
        arrays = read_kept(self.path, self.key, self.what, say)
        if arrays is None:
            return None
        if not self._sealed_here(arrays):
            say(f"{self.what}: {self.path} was not sealed by this installation: made again.")
            remove_kept(self.path)
            return None
        del arrays[SEAL]
        seconds = arrays.pop(SECONDS, np.zeros(1))
        return Outputs(arrays, float(seconds[0]))

    def save(self, outputs: Outputs) -> None:
        """Seal them and write the file."""
        arrays = {**outputs.arrays, SECONDS: np.array([outputs.seconds])}
        sealed = np.frombuffer(bytes.fromhex(self._seal(local_key(), arrays)), np.uint8)
        keep_tensors(self.path, {**arrays, SEAL: sealed}, {"key": self.key})

    def _sealed_here(self, arrays: Mapping[str, np.ndarray]) -> bool:
        key, stored = find_local_key(), arrays.get(SEAL)
        unsealed = {name: array for name, array in arrays.items() if name != SEAL}
        if key is None or stored is None:
            return False
        return hmac.compare_digest(stored.tobytes(), bytes.fromhex(self._seal(key, unsealed)))

    def _seal(self, key: bytes, arrays: Mapping[str, np.ndarray]) -> str:
        """Of the file's name, all that decides the arrays, and the arrays."""
        told = self.path.name, self.key, array_digest(arrays)
        return seal(key, "outputs of a network", *(word.encode() for word in told))


@dataclass(frozen=True, eq=False)
class TrainingJob:
    """One network to train, and what is made of it.

    Attributes:
        group: of networks that are trained alike; the jobs of a group follow one another.
        number: of the network in its group, from 0.
        display_name: in progress lines and messages, as "raw, network 2 of 5".
        epochs: of its training; 0 of a probe, which has none.
        steps: by which an epoch moves the progress on: the images that are shown in it, or 1 where these are the same.
        training: returns what the network learns from; called when its turn has come.
        rng: returns what decides its random numbers, drawn by name.
        outputs: a trained network -> the arrays that are kept of it.
        store: where they lie; None keeps them in memory alone.
    """

    group: str
    number: int
    display_name: str
    epochs: int
    steps: int
    training: Callable[[], TrainingSet]
    rng: Callable[[], torch.Generator]
    outputs: Callable[[nn.Module], Mapping[str, np.ndarray]]
    store: Store | None = None

    @property
    def length(self) -> int:
        """Progress from its beginning to its end."""
        return max(1, self.epochs) * self.steps


def predicting(
    shown: Callable[[], Mapping[str, LabelledImages]], context: Context
) -> Callable[[nn.Module], Mapping[str, np.ndarray]]:
    """Return the outputs of a job that asks its network for probabilities.

    Args:
        shown: returns name -> images; called anew for each network, so it should keep what takes long.
        context: network, precision and device.
    """

    def outputs(network: nn.Module) -> Mapping[str, np.ndarray]:
        return {
            name: probabilities(network, images, context.spec, context.recipe, context.device)
            for name, images in shown().items()
        }

    return outputs


class JobRunner:
    """Does jobs, those of earlier calls not again.

    Args:
        jobs: in the order in which they are done.
        say: told of stored outputs that are damaged, or of a version without checksums: they are made again.

    Attributes:
        done: jobs that are finished, with their outputs.
        damaged: groups of which something that lay there was damaged.
        diverged: groups that were left out, and why.
    """

    def __init__(self, jobs: Sequence[TrainingJob], say: Callable[[str], None]) -> None:
        self.jobs, self._say = tuple(jobs), say
        self.damaged: set[str] = set()
        self.diverged: dict[str, DivergedError] = {}
        self.done: dict[TrainingJob, Outputs] = {}
        for job in self.jobs:
            self._stored(job)

    @property
    def missing(self) -> list[TrainingJob]:
        """Jobs that are still to be done."""
        return [job for job in self.jobs if job not in self.done]

    def of(self, group: str) -> list[Outputs]:
        """Return the outputs of a group's networks that are done, in the order of its jobs."""
        return [self.done[job] for job in self.jobs if job.group == group and job in self.done]

    def run(
        self,
        context: Context,
        title: str,
        *,
        after_group: Callable[[str, int, float], None] = lambda *_: None,
        leave_out: Callable[[TrainingJob, DivergedError], None] | None = None,
    ) -> None:
        """Do what is missing, group by group.

        Args:
            context: network, augmentation, precision and device, and who is told how far it is.
            title: of the work.
            after_group: called with a group, how many of its networks were trained now, and the seconds they took.
            leave_out: called with the first job of a group that diverges: the others of that group are not done.
                Without it the first that diverges ends the work.

        Where the context has several ranks, each takes the next job that none has; all of them have the outputs of all
        jobs at the end. Jobs that keep nothing on disk cannot be shared like this.

        Raises:
            DivergedError: a network left the finite numbers; with the job's name.
        """
        total = sum(job.length for job in self.jobs)
        if context.ranks.size > 1:
            with context.progress.task(title, total, done=sum(job.length for job in self.done)) as task:
                self._run_shared(context, task, after_group, leave_out)
            return
        with context.progress.task(title, total, done=sum(job.length for job in self.done)) as task:
            for group, jobs in groupby(self.jobs, key=lambda job: job.group):
                started, missing = time.perf_counter(), [job for job in jobs if job not in self.done]
                for job in missing:
                    try:
                        self.done[job] = do(job, context, task)
                    except DivergedError as error:
                        if leave_out is None:
                            raise _of_job(job, error) from None
                        self.diverged[group] = error
                        leave_out(job, error)
                        break
                if missing:
                    after_group(group, len(missing), time.perf_counter() - started)

    def _run_shared(
        self,
        context: Context,
        task: Task,
        after_group: Callable[[str, int, float], None],
        leave_out: Callable[[TrainingJob, DivergedError], None] | None,
    ) -> None:
        """Do what is missing together with the other ranks. Jobs are given out in order, so of a group's jobs that
        diverge the first is tried by some rank, whatever the number of ranks."""
        ranks, jobs = context.ranks, self.jobs
        missing = [jobs[n] for n in ranks.told(lambda: [n for n, job in enumerate(jobs) if job not in self.done])]
        length = sum(job.length for job in missing) / max(1, len(missing))
        queue = ranks.queue(len(missing), elsewhere=lambda count: task.advance(round(count * length)))
        over = self._over(missing, after_group)
        lost = set[str]()
        for place in queue:
            job = missing[place]
            if job.group in lost:
                continue
            try:
                self.done[job] = do(job, context, task)
            except DivergedError as error:
                lost.add(job.group)
                queue.report(place, {"seen": error.seen, "expected": error.expected, "do": error.do})
            over(lost)
        for place, words in sorted(queue.reports.items()):
            job, why = missing[place], DivergedError(words["seen"], expected=words["expected"], do=words["do"])
            if leave_out is None:
                raise _of_job(job, why)
            if job.group not in self.diverged:
                self.diverged[job.group] = why
                leave_out(job, why)
        over(set(self.diverged))
        for job in jobs:
            if job.group not in self.diverged and not self._there(job):
                raise ArtifactError(
                    f"what another rank made of {job.display_name} cannot be read",
                    expected="outputs on a disk that all ranks share, sealed with one secret key (MEDISTILL_KEYS)",
                    do="repeat the command with --resume",
                )

    def _over(
        self, missing: Sequence[TrainingJob], after_group: Callable[[str, int, float], None]
    ) -> Callable[[Collection[str]], None]:
        """Return what tells of groups that are over, in their order: of their jobs all are done, by whichever rank, or
        they are among those that it is given, which are left out."""
        waiting = deque((group, list(of_group)) for group, of_group in groupby(missing, key=lambda job: job.group))

        def tell(left_out: Collection[str]) -> None:
            while waiting and (waiting[0][0] in left_out or all(map(self._there, waiting[0][1]))):
                group, of_group = waiting.popleft()
                seconds = [self.done[job].seconds for job in of_group if job in self.done]
                after_group(group, len(seconds), sum(seconds))

        return tell

    def _there(self, job: TrainingJob) -> bool:
        """Return whether a job is done, here or by another rank."""
        return job in self.done or self._stored(job)

    def _stored(self, job: TrainingJob) -> bool:
        """Take what lies in the store of a job; return whether anything does."""
        found = None if job.store is None else job.store.load(self._damage(job))
        if found is not None:
            self.done[job] = found
        return found is not None

    def _damage(self, job: TrainingJob) -> Callable[[str], None]:
        def tell(words: str) -> None:
            self.damaged.add(job.group)
            self._say(words)

        return tell


def _of_job(job: TrainingJob, error: DivergedError) -> DivergedError:
    return DivergedError(f"{job.display_name}: {error.seen}", expected=error.expected, do=error.do)


def do(job: TrainingJob, context: Context, task: Task) -> Outputs:
    """Train the network of a job and keep what is made of it; the task is at the job's end only when that is kept.

    Raises:
        DivergedError: its parameters or its outputs left the finite numbers.
    """
    task.advance(0, figures=job.display_name)
    training, tick = job.training(), every_epoch_but_last(task, job.epochs, job.steps, job.display_name)
    fitted = context.spec.encoder is not None  # at one go, without an epoch that could be told
    network, seconds = train_network(training, context.spec, context.recipe, job.rng(), context.device, tick)
    arrays = job.outputs(network)
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise diverged(training.schedule)
    outputs = Outputs(arrays, seconds)
    if job.store is not None:
        job.store.save(outputs)
    task.advance(job.length if fitted else job.steps, figures=job.display_name)
    return outputs
