"""Features of a corpus: what an encoder sees in every image, encoded once and kept as private as the images."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from medistill.allocator import keep_freed_memory
from medistill.artifacts.atomic import private_folder, sha256_file, write_atomically
from medistill.artifacts.cache import cache_root
from medistill.artifacts.corpus import Corpus
from medistill.artifacts.kept import keep_json, read_checked_json
from medistill.artifacts.lock import exclusive_lock
from medistill.encoders.encoder import BATCH, Encoder
from medistill.errors import ArtifactError, DataError, DivergedError
from medistill.progress import Progress

FEATURES, RECORD = "features.npy", "features.json"
PIECE = 64
"""Images that are decoded to floats at once."""


def features_of(corpus: Corpus, encoder: Encoder, device: torch.device, progress: Progress) -> np.ndarray:
    """Return the features of every image of a corpus, float16 (N, D), mapped from the private cache.

    They are made where the cache has none; of several processes one makes them, and the others wait. Corpora of the
    same pixels have the same features, whatever their labels and splits are. What a projection makes of features is
    made of those that are kept, without encoding anew.

    Args:
        corpus: the images.
        encoder: what sees them.
        device: where it runs.
        progress: told how far it is.

    Raises:
        DataError: the images are too small for it.
        DivergedError: it gives numbers that are not finite, or that float16 does not hold.
    """
    if encoder.projection is not None:
        whole = features_of(corpus, encoder.whole, device, progress)
        return _made(corpus, encoder, progress, lambda file: _write_projected(file, whole, encoder))
    return _made(corpus, encoder, progress, lambda file: _write(file, corpus, encoder.to(device), device, progress))


def carry_features(whole: Corpus, part: Corpus, encoder: Encoder, device: torch.device, progress: Progress) -> None:
    """Make the features of a corpus whose images all are of another one out of those of that other.

    Args:
        whole: the other, whose images are encoded where they are not yet.
        part: some of its images, in any order.
        encoder: what sees them.
        device: where it runs.
        progress: told how far it is.

    Raises:
        DataError: the images are too small for the encoder; or one of ``part`` is not among those of ``whole``.
        DivergedError: it gives numbers that are not finite.
    """
    encoder = encoder.whole
    known = features_of(whole, encoder, device, progress)

    def write(file: Path) -> None:
        place = {_bytes_of(image): row for row, image in enumerate(whole.images)}
        rows = [place.get(_bytes_of(image), -1) for image in part.images]
        if min(rows) < 0:
            raise DataError(
                f"{rows.count(-1)} images of a part of a corpus are not among those of the whole",
                expected="images of the whole alone",
                do="run `medistill purge`, then the same command again",
            )
        pieces = (known[rows[start : start + PIECE]] for start in range(0, len(rows), PIECE))
        _stream(file, (len(rows), known.shape[1]), pieces)

    _made(part, encoder, progress, write)


def _bytes_of(image: np.ndarray) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(image).data).digest()


def _made(corpus: Corpus, encoder: Encoder, progress: Progress, write: Callable[[Path], None]) -> np.ndarray:
    """Return what is kept of a corpus, after writing it where it is missing or damaged."""
    shape = (len(corpus.images), encoder.dimension)
    # other batches round otherwise; devices do too, and share a key
    made = f"{encoder.identity} {corpus.pixels} {corpus.images.shape} {BATCH}"
    key = hashlib.sha256(made.encode()).hexdigest()
    folder = private_folder(private_folder(cache_root() / "features") / key)
    with exclusive_lock(
        folder.with_name(f"{key}.lock"),
        when_taken=lambda: progress.say("Another process encodes the same images: this one waits for it."),
        keep=True,
    ):
        kept = _kept(folder, shape, progress)
        if kept is None:
            write_atomically(folder / FEATURES, write, private=True)
            keep_json(folder / RECORD, {"sha256": sha256_file(folder / FEATURES)}, private=True)
            kept = np.load(folder / FEATURES, mmap_mode="r")
    return kept


def _kept(folder: Path, shape: tuple[int, int], progress: Progress) -> np.ndarray | None:
    """Return what lies there, if it is whole."""
    if not (folder / RECORD).is_file():
        return None
    try:
        known = read_checked_json(folder / RECORD, "features")
        whole = known == {"sha256": _digest(folder / FEATURES, (folder / FEATURES).stat().st_mtime_ns)}
        kept = np.load(folder / FEATURES, mmap_mode="r") if whole else None
    except (ArtifactError, OSError, ValueError):
        kept = None
    if kept is None or kept.shape != shape or kept.dtype != np.float16:
        progress.say("The features in the cache are damaged: the images are encoded again.")
        return None
    return kept


@lru_cache(maxsize=8)
def _digest(path: Path, changed: int) -> str:
    """SHA-256 of a file, worked out once for each time that it changed."""
    return sha256_file(path)


def _write(file: Path, corpus: Corpus, encoder: Encoder, device: torch.device, progress: Progress) -> None:
    """Write what an encoder sees in every image, always in batches of one shape: the last is filled up with black.

    Other shapes may be computed by other kernels, which round otherwise. Then the number of images would decide the
    last bits of their features, and one patient more would change those of others.
    """
    keep_freed_memory()
    encoder.check_fits(corpus.images.shape[1], corpus.images.shape[-1])
    count, batch = len(corpus.images), min(PIECE, encoder.batch(device))

    def pieces() -> Iterator[np.ndarray]:
        with progress.task("Encoding the images", count) as task:
            for start in range(0, count, PIECE):
                some = np.asarray(corpus.images[start : start + PIECE])
                filled = np.zeros((-(-len(some) // batch) * batch, *some.shape[1:]), some.dtype)
                filled[: len(some)] = some
                grey = torch.from_numpy(filled).to(device, non_blocking=True).float() / 255
                with torch.autocast(device.type, enabled=False):
                    seen = encoder.encoded(grey, batch)[: len(some)].half()
                if not bool(torch.isfinite(seen).all()):
                    raise DivergedError(
                        f"the encoder {encoder.display_name} gives features of the corpus that are not finite",
                        expected="numbers that float16 holds",
                        do="use another encoder (medistill encoder list)",
                    )
                yield seen.cpu().numpy()
                task.advance(len(some))

    _stream(file, (count, encoder.dimension), pieces())


def _write_projected(file: Path, whole: np.ndarray, encoder: Encoder) -> None:
    """Write what the projection of an encoder makes of features (N, D)."""
    assert encoder.projection is not None  # noqa: S101  (else there would be no features to project)
    projection, size = encoder.projection, math.sqrt(encoder.dimension)

    def pieces() -> Iterator[np.ndarray]:
        for start in range(0, len(whole), PIECE):
            some = (size * projection.apply(whole[start : start + PIECE])).astype(np.float16)
            if not np.isfinite(some).all():
                raise DivergedError(
                    f"the projection {projection.digest[:12]} gives numbers that are not finite",
                    expected="numbers that float16 holds",
                    do="fit it again (--public)",
                )
            yield some

    _stream(file, (len(whole), encoder.dimension), pieces())


def _stream(file: Path, shape: tuple[int, int], pieces: Iterable[np.ndarray]) -> None:
    """Write float16 features of this shape, in pieces, by the file's own writes: a map would find a full disk only when
    its pages go there, which ends the process."""
    with file.open("wb") as stream:
        np.lib.format.write_array_header_2_0(stream, {"descr": "<f2", "fortran_order": False, "shape": shape})
        for piece in pieces:
            stream.write(piece.tobytes())
