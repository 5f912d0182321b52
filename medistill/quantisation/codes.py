"""Codes of images on disk, and the way there and back: encoding, decoding, and the errors that both make."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medistill.artifacts.atomic import write_atomically
from medistill.errors import ArtifactError
from medistill.quantisation.encoder_decoder import EncoderDecoder
from medistill.training.device import sent


def encode(
    images: np.ndarray,
    rows: np.ndarray,
    encoder: EncoderDecoder,
    *,
    batch: int,
    path: Path,
    device: torch.device,
    tick: Callable[[int], object],
) -> np.ndarray:
    """Encode rows of a corpus into a private file, batch by batch.

    Args:
        images: uint8 (N, C, H, W), may be a memory map.
        rows: int64 (n,), n >= 1.
        encoder: gives the codes.
        batch: images that are floats at once.
        path: the .npy file to write, mode 0600; it is there whole or not at all.
        device: where the encoder runs.
        tick: called with the number of images after every batch, n in all.

    Returns:
        Float32 (n, D), a memory map of the file, in the order of ``rows``.

    Raises:
        ArtifactError: the encoder gives something else than finite codes of its dimension, or the disk is full.
    """

    def of(some: slice) -> np.ndarray:
        codes = encoder.encode(_grey(images[rows[some]], device))
        _check(codes, (len(rows[some]), encoder.dimension), "encoder", "codes")
        return codes.float().cpu().numpy()

    return keep_codes(of, (len(rows), encoder.dimension), batch=batch, path=path, tick=tick)


def keep_codes(
    of: Callable[[slice], np.ndarray],
    shape: tuple[int, int],
    *,
    batch: int,
    path: Path,
    tick: Callable[[int], object],
) -> np.ndarray:
    """Write codes into a private file, batch by batch, and return a memory map of it, float32 (n, D).

    Args:
        of: rows -> their codes float32 (B, D).
        shape: n and D.
        batch: rows that are asked for at once.
        path: the .npy file to write, mode 0600; it is there whole or not at all.
        tick: called with the number of rows after every batch, n in all.

    Raises:
        ArtifactError: the disk is full.
    """

    def write(file: Path) -> None:
        # Written, not mapped: a full disk is an error here, and would kill a process that writes to a map.
        with file.open("wb") as handle:
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(handle, header)
            for some in _pieces(shape[0], batch):
                codes = of(some)
                handle.write(codes.astype("<f4").tobytes())
                tick(len(codes))

    write_atomically(path, write, private=True)
    codes: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    return codes


def decoded(
    encoder: EncoderDecoder, centres: np.ndarray, *, batch: int, shape: tuple[int, ...], device: torch.device
) -> np.ndarray:
    """Images of codes (K, D): float32 (K, C, H, W) in units of full scale, clipped to 0 to 1.

    Raises:
        ArtifactError: the decoder gives something else than finite images of this shape.
    """
    images = np.empty((len(centres), *shape), np.float32)
    for some in _pieces(len(centres), batch):
        images[some] = _decode(encoder, centres[some], shape, device).clamp(0, 1).cpu().numpy()
    return images


def errors(
    images: np.ndarray,
    rows: np.ndarray,
    encoder: EncoderDecoder,
    codes: np.ndarray,
    distilled: np.ndarray,
    cell: np.ndarray,
    *,
    batch: int,
    device: torch.device,
    tick: Callable[[int], object],
) -> tuple[float, float]:
    """Root mean squared differences of a pixel, in grey levels (0 to 255).

    Args:
        images: uint8 (N, C, H, W), may be a memory map.
        rows: int64 (n,).
        encoder: what ``codes`` come from.
        codes: float32 (n, D), of these rows.
        distilled: float32 (K, C, H, W) in units of full scale, as `decoded` gives them.
        cell: int64 (n,), which of ``distilled`` stands for each row.
        batch: images that are floats at once.
        device: where the decoder runs.
        tick: called with the number of images after every batch, n in all.

    Returns:
        Between an image and its decoded code (reconstruction), and between it and the distilled image of its cell.
    """
    centres = sent(torch.from_numpy(distilled), device)
    squares = torch.zeros(2, dtype=torch.float64, device=device)
    for some in _pieces(len(rows), batch):
        grey = _grey(images[rows[some]], device)
        back = _decode(encoder, codes[some], images.shape[1:], device)
        squares[0] += (grey - back).square_().sum(dtype=torch.float64)
        squares[1] += (grey - centres[sent(torch.from_numpy(cell[some]), device)]).square_().sum(dtype=torch.float64)
        tick(len(grey))
    values = len(rows) * int(np.prod(images.shape[1:]))
    reconstruction, error = (255 * (total / values) ** 0.5 for total in squares.tolist())
    return reconstruction, error


def _pieces(count: int, batch: int) -> Iterator[slice]:
    return (slice(start, start + batch) for start in range(0, count, batch))


def _grey(pixels: np.ndarray, device: torch.device) -> Tensor:
    return sent(torch.from_numpy(pixels), device).float() / 255


def _decode(encoder: EncoderDecoder, codes: np.ndarray, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Float32 (B, C, H, W), neither clipped nor rounded."""
    images = encoder.decode(sent(torch.from_numpy(np.array(codes, np.float32)), device))
    _check(images, (len(codes), *shape), "decoder", "images")
    return images.float()


def _check(given: Tensor, shape: tuple[int, ...], who: str, what: str) -> None:
    problem = ""
    if tuple(given.shape) != shape:
        problem = f"{what} of shape {tuple(given.shape[1:])}, not {shape[1:]}"
        if len(given) != shape[0]:
            problem = f"{len(given)} {what} for {shape[0]}"
    elif not bool(torch.isfinite(given).all()):
        problem = f"{what} that hold NaN or infinite values"
    if problem:
        raise ArtifactError(
            f"the {who} gave {problem}",
            expected=f"finite {what} of shape {shape[1:]}",
            do="bring another encoder-decoder with --decoder, or quantise without one (method.quantise.encoder=pca)",
        )
