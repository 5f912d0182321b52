"""Codes on disk, and what is refused of an encoder-decoder that was brought."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from medistill.errors import ArtifactError
from medistill.quantisation.codes import decoded, encode, errors

CPU = torch.device("cpu")
IMAGES = np.random.default_rng(0).integers(0, 256, (23, 1, 4, 6)).astype(np.uint8)
ROWS = np.array([3, 1, 22, 7, 8, 9, 15])


@dataclass
class Halves:
    """Keeps the left half of an image, and decodes with a black right half; optionally wrong."""

    nan_at: int = -1
    short: bool = False
    dimension: int = 12
    words: str = "left halves"
    seen: int = 0

    def encode(self, grey: Tensor) -> Tensor:
        codes = grey[..., :3].flatten(1).clone()
        if self.seen <= self.nan_at < self.seen + len(codes):
            codes[self.nan_at - self.seen, 5] = torch.nan
        self.seen += len(codes)
        return codes[:, :-1] if self.short else codes

    def decode(self, codes: Tensor) -> Tensor:
        left = codes.view(-1, 1, 4, 3)
        return left if self.short else torch.cat([left, torch.zeros_like(left)], dim=3)


def encoded(path: Path, encoder: Halves, batch: int = 3, told: list[int] | None = None) -> np.ndarray:
    tick = ([] if told is None else told).append
    return encode(IMAGES, ROWS, encoder, batch=batch, path=path, device=CPU, tick=tick)


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_codes_lie_privately_on_disk_in_the_order_of_the_rows(tmp_path: Path, batch: int):
    told: list[int] = []
    codes = encoded(tmp_path / "codes.npy", Halves(), batch, told)
    assert isinstance(codes, np.memmap)
    assert codes.dtype == np.float32
    assert sum(told) == len(ROWS)
    np.testing.assert_array_equal(codes, (IMAGES[ROWS, 0, :, :3] / np.float32(255)).reshape(7, 12))
    assert (tmp_path / "codes.npy").stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["codes.npy"]


@pytest.mark.parametrize(
    ("encoder", "words"),
    [(Halves(nan_at=4), "NaN or infinite"), (Halves(short=True), r"shape \(11,\), not \(12,\)")],
)
def test_codes_that_are_none_are_refused_and_leave_no_file(tmp_path: Path, encoder: Halves, words: str):
    with pytest.raises(ArtifactError, match=f"the encoder gave codes.*{words}"):
        encoded(tmp_path / "codes.npy", encoder)
    assert not any(tmp_path.iterdir())


def test_decoded_images_are_clipped_to_full_scale():
    centres = np.linspace(-1, 2, 5 * 12, dtype=np.float32).reshape(5, 12)
    images = decoded(Halves(), centres, batch=2, shape=(1, 4, 6), device=CPU)
    assert images.dtype == np.float32
    np.testing.assert_array_equal(images[..., :3].reshape(5, 12), np.clip(centres, 0, 1))
    assert not images[..., 3:].any()


@pytest.mark.parametrize(
    ("bad", "decoder", "words"),
    [
        (np.nan, Halves(), "NaN or infinite"),
        (np.inf, Halves(), "NaN or infinite"),
        (0, Halves(short=True), r"shape \(1, 4, 3\), not \(1, 4, 6\)"),
    ],
)
def test_images_that_are_none_are_refused(bad: float, decoder: Halves, words: str):
    centres = np.zeros((5, 12), np.float32)
    centres[3, 2] = bad
    with pytest.raises(ArtifactError, match=f"the decoder gave images.*{words}"):
        decoded(decoder, centres, batch=2, shape=(1, 4, 6), device=CPU)


def test_errors_are_those_of_a_loop_over_the_images(tmp_path: Path):
    encoder = Halves()
    codes = encoded(tmp_path / "codes.npy", encoder)
    distilled = np.random.default_rng(1).random((2, 1, 4, 6), np.float32)
    cell = np.array([0, 1, 1, 0, 1, 0, 0])
    found = errors(IMAGES, ROWS, encoder, codes, distilled, cell, batch=3, device=CPU, tick=[].append)
    left = [IMAGES[row] * np.array([0, 0, 0, 1, 1, 1]) for row in ROWS]
    other = [IMAGES[row] - 255 * distilled[k].astype(np.float64) for row, k in zip(ROWS, cell, strict=True)]
    assert found == pytest.approx((np.mean(np.square(left)) ** 0.5, np.mean(np.square(other)) ** 0.5), rel=1e-5)
