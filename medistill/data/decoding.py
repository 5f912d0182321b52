"""Decoding: files through the radiograph pipeline, in worker processes, chunk by chunk, each kept when done."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from medistill.artifacts.atomic import private_folder
from medistill.data.decoded import TOO_MUCH, Decoded
from medistill.data.refusal import RejectedFile
from medistill.data.second_look import SecondLook, look_again
from medistill.data.staging import CHUNK, keep, kept
from medistill.data.workers import in_workers
from medistill.errors import UsageError
from medistill.progress import Progress
from medistill.recipe import DataRecipe

SAID = (
    "fingerprint",
    "view",
    "view_by",
    "unstated",
    "patient",
    "study",
    "sex",
    "age",
    "synthetic",
    "flags",
    "masked",
    "remarks",
)
"""What is kept of a file beside its pixels."""
E = TypeVar("E", bound=BaseException)


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

    An interrupted reading goes on from what lies there. No file is opened in this process, however few there are: one
    that ends its worker is refused, and the others are read.

    Args:
        files: paths relative to ``folder``.
        workers: processes; None takes one for each core.

    Raises:
        UsageError: no worker can be started, or what should look for text cannot.
        ArtifactError: the staging folder cannot be written.
    """
    workers = cores() if workers is None else workers
    private_folder(staging)
    chunks = {n: tuple(files[n : n + CHUNK]) for n in range(0, len(files), CHUNK)}
    done = {n: before for n, chunk in chunks.items() if (before := kept(staging, n, len(chunk))) is not None}
    refused = sum(1 for before in done.values() for one in before if one.category)
    title = "Reading images" if recipe.burnt_in_text == "unchecked" else "Reading images, looking for text"
    with progress.task(title, len(files), done=sum(map(len, done.values()))) as task:
        remaining = {n: chunk for n, chunk in chunks.items() if n not in done}
        for n, decoded in in_workers(folder, remaining, recipe, workers):
            done[n] = keep(staging, n, decoded)
            refused += sum(1 for one in decoded if one.category)
            task.advance(len(decoded), figures=f"{refused} refused" if refused else "")
    return [one for n in chunks for one in done[n]]


def cores() -> int:
    """Cores that this process may use, where the system says it."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _unsaid() -> Iterator[None]:
    """Keep what decoders warn of to themselves: it quotes headers, which name patients."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), _without_stderr():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Libraries in C write to it past Python."""
    try:
        stderr = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def look_at(folder: Path, file: str, recipe: DataRecipe) -> SecondLook | None:
    """Pictures of a file, None where it cannot be read; this runs in a worker."""
    with _unsaid():
        try:
            return look_again(folder / file, recipe)
        except UsageError:
            raise
        except Exception:  # noqa: BLE001  # an error may quote the file, which names patients
            return None


def decode_chunk(folder: Path, chunk: Sequence[str], recipe: DataRecipe) -> list[Decoded]:
    """What becomes of files, paths relative to ``folder``; this runs in a worker.

    Raises:
        UsageError: what should look for text cannot be loaded.
    """
    from medistill.data.radiograph import radiograph_pipeline

    with _unsaid():
        pipeline = radiograph_pipeline(recipe)
        return [_decode(pipeline, folder / file) for file in chunk]


def _decode(pipeline: Any, path: Path) -> Decoded:
    """One file; only a `RejectedFile` that the reader meant is told in words, since others may quote the file."""
    try:
        told = pipeline({"image": str(path)})
    except Exception as error:  # noqa: BLE001  # one bad file must not end the reading of ten thousand
        refused = _cause(error, RejectedFile)
        if refused is not None:
            return Decoded(None, category=refused.category, reason=refused.reason)
        if _cause(error, MemoryError) is not None:
            return Decoded(None, category="too much memory", reason=TOO_MUCH)
        return Decoded(None, category="unreadable", reason=f"reading it failed ({type(error).__name__})")
    meta = told["image_meta_dict"]
    pixels = np.rint(np.clip(np.asarray(told["image"]), 0, 255)).astype(np.uint8)
    return Decoded(pixels, **{name: meta[name] for name in SAID})


def _cause(error: BaseException | None, kind: type[E]) -> E | None:
    """What lies behind what MONAI made of it, where that is of a kind."""
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error
