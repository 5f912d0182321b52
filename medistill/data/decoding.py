"""Decoding: files through the radiograph pipeline, in parallel processes, chunk by chunk, each kept when done."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait as wait_for_any
from pathlib import Path
from typing import Any

import numpy as np

from medistill.artifacts.atomic import private_folder
from medistill.data.dicom_image import needs_foreign_decoder
from medistill.data.radiograph import Decoded, radiograph_pipeline
from medistill.data.refusal import Refused
from medistill.data.staging import CHUNK, keep, kept
from medistill.progress import Progress
from medistill.recipe import DataRecipe

FEW = 64
"""Up to so many files are decoded in this process: starting workers would take longer."""
SAID = ("fingerprint", "view", "unstated", "patient", "sex", "age", "synthetic", "flags", "masked")
"""What is kept of a file beside its pixels."""
CRASHED = Decoded(
    None, category="decoder crashed", reason="reading it ended the process that tried (faulty decoder, or no memory)"
)


class NoWorkersError(RuntimeError):
    """Worker processes cannot be started here."""


def decode(
    folder: Path,
    files: Sequence[str],
    recipe: DataRecipe,
    *,
    staging: Path,
    workers: int | None,
    progress: Progress,
) -> list[Decoded]:
    """Decode files, in their order. Their pixels lie in ``staging`` (mode 0700); fetch them with `collect`.

    An interrupted reading goes on from what lies there. A file whose decoder kills its process is refused, and the
    others are read.

    Args:
        files: paths relative to ``folder``.
        workers: processes; None takes one for each core.
    """
    workers = _cores() if workers is None else workers
    private_folder(staging)
    chunks = {n: tuple(files[n : n + CHUNK]) for n in range(0, len(files), CHUNK)}
    done = {n: before for n, chunk in chunks.items() if (before := kept(staging, n, len(chunk))) is not None}
    refused = sum(1 for before in done.values() for one in before if one.category)
    with progress.task("Reading images", len(files), done=sum(map(len, done.values()))) as task:

        def finish(results: Iterator[tuple[int, list[Decoded]]]) -> None:
            nonlocal refused
            for n, decoded in results:
                done[n] = keep(staging, n, decoded)
                refused += sum(1 for one in decoded if one.category)
                task.advance(len(decoded), figures=f"{refused} refused" if refused else "")

        def left() -> dict[int, tuple[str, ...]]:
            return {n: chunk for n, chunk in chunks.items() if n not in done}

        remaining = [file for chunk in left().values() for file in chunk]
        few = (
            FEW if recipe.burnt_in_text == "unchecked" else CHUNK
        )  # looking for text takes longer than starting workers
        if len(remaining) > few or _may_crash(folder, remaining):
            try:
                finish(_in_workers(folder, left(), recipe, max(workers, 1)))
            except NoWorkersError:
                progress.say(
                    "Worker processes cannot be started from here, so one process reads everything; "
                    'in a script, call medistill under `if __name__ == "__main__":`.'
                )
        finish((n, _decode_chunk(folder, chunk, recipe)) for n, chunk in left().items())
    return [one for n in chunks for one in done[n]]


def _cores() -> int:
    """Cores that this process may use, where the system says it."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _may_crash(folder: Path, files: Sequence[str]) -> bool:
    with _unsaid():
        return any(needs_foreign_decoder(folder / file) for file in files)


def _in_workers(
    folder: Path, chunks: Mapping[int, tuple[str, ...]], recipe: DataRecipe, workers: int
) -> Iterator[tuple[int, list[Decoded]]]:
    """Each chunk with what became of it, in the order in which they end.

    Raises:
        NoWorkersError: a process cannot even be started.
    """
    queue = list(chunks)
    while queue:
        broken: list[int] = []
        with _pool(min(workers, len(queue))) as pool:
            alive = pool.submit(os.getpid)
            waiting: dict[Future[list[Decoded]], int] = {}
            while (queue and not broken) or waiting:
                while queue and len(waiting) < 2 * workers and not broken:
                    try:
                        waiting[pool.submit(_decode_chunk, folder, chunks[queue[0]], recipe)] = queue[0]
                    except BrokenProcessPool:
                        broken.append(queue[0])
                    queue.pop(0)
                ended, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in ended:
                    n = waiting.pop(future)
                    try:
                        yield n, future.result()
                    except BrokenProcessPool:
                        broken.append(n)
            if broken and alive.exception() is not None:
                raise NoWorkersError
        for n in broken:
            yield n, _one_by_one(folder, chunks[n], recipe)


def _one_by_one(folder: Path, chunk: Sequence[str], recipe: DataRecipe) -> list[Decoded]:
    """A chunk in which some file killed its worker: a process for the files until the next one dies."""
    decoded: list[Decoded] = []
    while len(decoded) < len(chunk):
        with _pool(1) as pool:
            try:
                for file in chunk[len(decoded) :]:
                    decoded += pool.submit(_decode_chunk, folder, (file,), recipe).result()
            except BrokenProcessPool:
                decoded.append(CRASHED)
    return decoded


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Fresh processes that inherit no threads; on the way out, also by Ctrl-C, nothing is waited for."""
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_start_worker)
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, one thread to each worker, and end with the parent, even where that was killed."""
    import signal

    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for_any([parent.sentinel])
        os._exit(1)


@contextmanager
def _unsaid() -> Iterator[None]:
    """Keep what decoders warn of to themselves: it quotes headers, which name patients."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _decode_chunk(folder: Path, chunk: Sequence[str], recipe: DataRecipe) -> list[Decoded]:
    with _unsaid():
        pipeline = radiograph_pipeline(recipe)
        return [_decode(pipeline, folder / file) for file in chunk]


def _decode(pipeline: Any, path: Path) -> Decoded:
    """One file; only a `Refused` that the reader meant is told in words, since others may quote the file."""
    try:
        told = pipeline({"image": str(path)})
    except Exception as error:  # noqa: BLE001  # one bad file must not end the reading of ten thousand
        refused = _cause(error)
        if refused is not None:
            return Decoded(None, category=refused.category, reason=refused.reason)
        return Decoded(None, category="unreadable", reason=f"reading it failed ({type(error).__name__})")
    meta = told["image_meta_dict"]
    pixels = np.rint(np.clip(np.asarray(told["image"]), 0, 255)).astype(np.uint8)
    return Decoded(pixels, **{name: meta[name] for name in SAID})


def _cause(error: BaseException | None) -> Refused | None:
    """The `Refused` behind what MONAI made of it."""
    while error is not None and not isinstance(error, Refused):
        error = error.__cause__ or error.__context__
    return error
