"""Workers: processes of Python that decode files for this one, each within a bound of memory.

They are started without `multiprocessing`, so that a script needs no guard, and nothing that comes out of a process in
which a hostile file was opened is unpickled here: an answer is a line of JSON, and the pixels.
"""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any, TypeVar, cast

import numpy as np

from medistill import errors
from medistill.data.burnt_in_text import Box, Reading
from medistill.data.decoded import Decoded, decoded_from
from medistill.data.second_look import SecondLook
from medistill.errors import MedistillError, UsageError
from medistill.recipe import DataRecipe

CRASHED = Decoded(
    None,
    category="decoder crashed",
    reason="reading it ended the process that tried (faulty decoder, no memory, or minutes of computing)",
)
READY = b"ready\n"
Answer = TypeVar("Answer")
_START = "import sys; sys.path[:] = sys.argv[1:]; from medistill.data.worker_process import serve; serve()"
_idle: deque[Worker] = deque()
"""Workers that wait for more; they end by themselves when none comes."""


class WorkerDiedError(RuntimeError):
    """The process ended before it answered."""


class Worker:
    """A process that decodes; starting one takes seconds, since it imports what reads files.

    Raises:
        UsageError: no process can be started.
    """

    def __init__(self) -> None:
        try:
            self.process = subprocess.Popen(  # noqa: S603  # this interpreter, with text that stands here
                [sys.executable, "-c", _START, *map(str, sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for the parent; a worker ends when its input does
            )
        except OSError as error:
            raise _not_started(error.strerror or str(error)) from None
        self.requests, self.answers = cast(IO[bytes], self.process.stdin), cast(IO[bytes], self.process.stdout)

    def wait_until_ready(self) -> None:
        """Raises UsageError where it ends before it could begin."""
        if self.answers.readline() != READY:
            self.end()
            raise _not_started("it ended before it could begin; what it printed stands above")

    def decode(self, folder: Path, files: Sequence[str], recipe: DataRecipe) -> list[Decoded]:
        """What becomes of files, paths relative to ``folder``.

        Raises:
            WorkerDiedError: the process ended, by a crash or because it waited too long for work.
            MedistillError: what the worker met that no file is to blame for.
        """
        return self._ask(
            {"folder": str(folder.absolute()), "files": list(files), "recipe": recipe.model_dump(mode="json")},
            lambda answer: [decoded_from({**one, "pixels": self._array(one["pixels"])}) for one in answer["decoded"]],
        )

    def look(self, folder: Path, file: str, recipe: DataRecipe) -> SecondLook | None:
        """Pictures of a file, path relative to ``folder``; None where it cannot be shown.

        Raises:
            WorkerDiedError: as for `decode`.
        """
        return self._ask(
            {"folder": str(folder.absolute()), "look": file, "recipe": recipe.model_dump(mode="json")},
            lambda answer: look_from_json(answer["look"], self._array) if answer["look"] else None,
        )

    def _ask(self, request: Mapping[str, Any], read: Callable[[Mapping[str, Any]], Answer]) -> Answer:
        try:
            self.requests.write(json.dumps(request).encode() + b"\n")
            self.requests.flush()
            answer = json.loads(self.answers.readline() or b"{}")
            if "error" in answer:
                raise getattr(errors, answer["kind"])(**answer["error"])
            return read(answer)
        except (OSError, KeyError, ValueError) as error:
            if isinstance(error, MedistillError):
                raise
            raise WorkerDiedError from None

    def _array(self, shape: Sequence[int] | None) -> np.ndarray | None:
        """The bytes of that shape, which come after the line that told it."""
        if shape is None:
            return None
        return np.frombuffer(self.answers.read(int(np.prod(shape))), np.uint8).reshape(shape)

    def end(self) -> None:
        """End it now, whatever it does."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.requests, self.answers):
            try:
                pipe.close()
            except OSError:  # what was still to be sent cannot be
                continue


def in_workers(
    folder: Path, chunks: Mapping[int, tuple[str, ...]], recipe: DataRecipe, workers: int
) -> Iterator[tuple[int, list[Decoded]]]:
    """Each chunk with what became of it, in the order in which they end; on the way out nothing is waited for.

    A file that ends its worker costs itself alone: its chunk is read again, each file by itself.

    Raises:
        UsageError: no process can be started.
    """
    run = _Run(folder, recipe)
    threads = ThreadPoolExecutor(max(1, min(workers, len(chunks))))
    asked = {threads.submit(run.chunk, chunk): n for n, chunk in chunks.items()}
    try:
        for done in as_completed(asked):
            yield asked.pop(done), done.result()
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        run.stop()


def look_in_workers(
    folder: Path, files: Sequence[str], recipe: DataRecipe, workers: int
) -> Iterator[SecondLook | None]:
    """Pictures of files, in their order; None for one that cannot be shown or ends its worker.

    Raises:
        UsageError: no process can be started.
    """
    run = _Run(folder, recipe)
    threads = ThreadPoolExecutor(max(1, min(workers, len(files))))
    try:
        yield from threads.map(run.look, files)
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        run.stop()


class _Run:
    """One reading, shared by the threads that wait for its workers."""

    def __init__(self, folder: Path, recipe: DataRecipe) -> None:
        self.folder, self.recipe = folder, recipe
        self.busy: set[Worker] = set()
        self.over = threading.Event()
        self.one_at_a_time = threading.Lock()

    def chunk(self, files: Sequence[str]) -> list[Decoded]:
        """What becomes of a chunk, whichever of its files end their worker."""
        try:
            return self._ask(lambda worker: worker.decode(self.folder, files, self.recipe))
        except WorkerDiedError:
            return [self._alone(file) for file in files]

    def look(self, file: str) -> SecondLook | None:
        """Pictures of a file, or None."""
        try:
            return self._ask(lambda worker: worker.look(self.folder, file, self.recipe))
        except WorkerDiedError:
            return None

    def stop(self) -> None:
        """End the workers that are busy."""
        self.over.set()
        for worker in list(self.busy):
            worker.process.kill()

    def _alone(self, file: str) -> Decoded:
        """One at a time, so that what ends a worker, such as the system for want of memory, finds the right one."""
        with self.one_at_a_time:
            try:
                return self._ask(lambda worker: worker.decode(self.folder, [file], self.recipe))[0]
            except WorkerDiedError:
                return CRASHED

    def _ask(self, work: Callable[[Worker], Answer]) -> Answer:
        """Let a worker do something: one that waits, or a new one."""
        worker = _waiting()
        started = worker is None
        worker = worker or Worker()
        self.busy.add(worker)
        whole = False
        try:
            if self.over.is_set():
                raise CancelledError
            if started:
                worker.wait_until_ready()
            answer = work(worker)
            whole = True
            return answer
        finally:
            self.busy.discard(worker)
            if whole:
                _idle.append(worker)
            else:
                worker.end()


def _waiting() -> Worker | None:
    """One of the workers that wait, if it lives."""
    while _idle:
        worker = _idle.pop()
        if worker.process.poll() is None:
            return worker
        worker.end()
    return None


@atexit.register
def _end_those_that_wait() -> None:
    while _idle:
        _idle.pop().end()


def to_json(decoded: Decoded) -> dict[str, Any]:
    """What became of a file, as JSON takes it, with the shape of its pixels in their place."""
    shape = None if decoded.pixels is None else decoded.pixels.shape
    return {**asdict(replace(decoded, pixels=None)), "pixels": shape}


def look_to_json(look: SecondLook) -> tuple[dict[str, Any], tuple[np.ndarray, ...]]:
    """Pictures of a file as JSON takes them, with shapes in place of pixels, and the pixels in their order."""
    masked = None if look.masked is None else look.masked.shape
    told = {
        "original": look.original.shape,
        "masked": masked,
        "finds": [{**find._asdict(), "box": find.box._asdict()} for find in look.finds],
        "height": look.height,
        "width": look.width,
    }
    return told, (look.original,) if look.masked is None else (look.original, look.masked)


def look_from_json(told: Mapping[str, Any], array: Callable[[Sequence[int] | None], np.ndarray | None]) -> SecondLook:
    """Pictures of a file, from what `look_to_json` gave; ``array`` reads the next pixels of a shape."""
    original, masked = array(told["original"]), array(told["masked"])
    if original is None:
        raise ValueError("no picture")
    finds = tuple(Reading(**{**find, "box": Box(**find["box"])}) for find in told["finds"])
    return SecondLook(original, masked, finds, told["height"], told["width"])


def _not_started(why: str) -> UsageError:
    return UsageError(
        f"a worker process, in which files are decoded, cannot be started: {why}",
        expected=f"that {sys.executable} can be run once more",
        do="check limits on processes and memory (ulimit -u, ulimit -v), then repeat the command",
    )
