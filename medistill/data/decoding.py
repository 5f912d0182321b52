"""Decoding: files through the radiograph pipeline, in parallel processes, chunk by chunk, each kept when done."""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import os
import shutil
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from medistill.artifacts.atomic import private_folder, read_tensors, write_tensors
from medistill.data.radiograph import Decoded, radiograph_pipeline
from medistill.data.refusal import Refused
from medistill.errors import ArtifactError
from medistill.progress import Progress
from medistill.recipe import DataRecipe

CHUNK = 32
"""Files that a worker takes at a time."""
FEW = 64
"""Up to so many files are decoded in this process: starting workers would take longer."""
CRASHED = Decoded(None, category="decoder crashed", reason="reading it ended the process that tried")


def decode(
    folder: Path,
    files: Sequence[str],
    recipe: DataRecipe,
    *,
    staging: Path,
    workers: int | None,
    progress: Progress,
) -> list[Decoded]:
    """Decode files, in their order.

    Chunks that are done lie in ``staging`` (mode 0700) until the corpus is written; an interrupted reading goes on from
    them. A file whose decoder kills its process is refused, and the others are read.

    Args:
        files: paths relative to ``folder``.
        workers: processes; None takes one for each core.
    """
    workers = len(os.sched_getaffinity(0)) if workers is None else workers
    private_folder(staging)
    chunks = {n: tuple(files[n : n + CHUNK]) for n in range(0, len(files), CHUNK)}
    done = {n: kept for n, chunk in chunks.items() if (kept := _kept(staging / f"{n}.safetensors", len(chunk)))}
    left = [n for n in chunks if n not in done]
    title = "Reading images"
    with progress.task(title, len(files), done=sum(len(kept) for kept in done.values())) as task:
        for n, decoded in _results(folder, {n: chunks[n] for n in left}, recipe, workers):
            done[n] = decoded
            _keep(staging / f"{n}.safetensors", decoded)
            task.advance(len(decoded), figures=f"{sum(1 for one in decoded if one.category)} refused in the last chunk")
    return [one for n in chunks for one in done[n]]


def _results(
    folder: Path, chunks: dict[int, tuple[str, ...]], recipe: DataRecipe, workers: int
) -> Iterator[tuple[int, list[Decoded]]]:
    """Each chunk with what became of it, in the order in which they end."""
    if workers <= 1 or sum(map(len, chunks.values())) <= FEW:
        for n, chunk in chunks.items():
            yield n, _decode_chunk(folder, chunk, recipe)
        return
    broken: list[int] = []
    with _pool(workers) as pool:
        waiting: dict[Future[list[Decoded]], int] = {}
        queue = list(chunks)
        while queue or waiting:
            while queue and len(waiting) < 2 * workers and not broken:
                n = queue.pop(0)
                try:
                    waiting[pool.submit(_decode_chunk, folder, chunks[n], recipe)] = n
                except BrokenProcessPool:
                    broken.append(n)
            if broken and not waiting:
                break
            ended, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in ended:
                n = waiting.pop(future)
                try:
                    yield n, future.result()
                except BrokenProcessPool:
                    broken.append(n)
    for n in broken:
        yield n, _one_by_one(folder, chunks[n], recipe)
    if broken:
        yield from _results(folder, {n: chunks[n] for n in queue}, recipe, workers)


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
    """Leave Ctrl-C to the parent, one thread to each worker, and warnings, which quote headers, unsaid."""
    import signal

    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)


def _decode_chunk(folder: Path, chunk: Sequence[str], recipe: DataRecipe) -> list[Decoded]:
    pipeline = radiograph_pipeline(recipe)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
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
    return Decoded(pixels, meta["fingerprint"], meta["view"], meta["patient"], bool(meta["synthetic"]))


def _cause(error: BaseException | None) -> Refused | None:
    """The `Refused` behind what MONAI made of it."""
    while error is not None and not isinstance(error, Refused):
        error = error.__cause__ or error.__context__
    return error


def _keep(path: Path, decoded: Sequence[Decoded]) -> None:
    """Write a chunk: the pixels of the accepted, and what is known of every file."""
    pixels = [one.pixels for one in decoded if one.pixels is not None]
    said = [{**asdict(replace(one, pixels=None)), "pixels": one.pixels is not None} for one in decoded]
    arrays = {"pixels": np.stack(pixels) if pixels else np.zeros((0, 1, 1, 1), np.uint8)}
    write_tensors(path, arrays, {"said": json.dumps(said), "digest": _digest(arrays["pixels"])}, private=True)


def _kept(path: Path, count: int) -> list[Decoded] | None:
    """A chunk of an interrupted reading; None where it is not there or not whole."""
    if not path.is_file():
        return None
    try:
        arrays, metadata = read_tensors(path, "staged images")
        said = json.loads(metadata["said"])
        if len(said) != count or metadata["digest"] != _digest(arrays["pixels"]):
            return None
        pixels = iter(arrays["pixels"])
        return [Decoded(**{**one, "pixels": next(pixels) if one["pixels"] else None}) for one in said]
    except (ArtifactError, KeyError, ValueError, TypeError, StopIteration):
        return None


def _digest(pixels: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()


def clear(staging: Path) -> None:
    """Remove the chunks, once the corpus is written."""
    shutil.rmtree(staging, ignore_errors=True)
