"""What stands between stored grey values and what a network sees: a mean and deviation a channel, or a whitening."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medistill.artifacts.whitening import Whitening

BLOCK = 64
"""Images that are measured at once; counting takes eight times their bytes."""


@dataclass(frozen=True)
class Normalisation:
    """Per-channel constants: a network sees ``(grey / 255 - mean) / std``, whitened where there is a whitening.

    Attributes:
        mean: (C,) in units of full scale.
        std: (C,) in units of full scale, above zero.
        whitening: applied after them; they are 0 and 1 then, since it has a mean and a scale of its own.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    whitening: Whitening | None = None

    @classmethod
    def of(cls, images: np.ndarray, rows: np.ndarray | None = None) -> Normalisation:
        """Measure uint8 images (N, C, H, W), in memory that does not grow with their number where they are mapped.

        A constant channel gets a deviation of one grey level.

        Args:
            images: of which all, or some, are measured.
            rows: which of them; None is all.
        """
        rows, counts = np.arange(len(images)) if rows is None else rows, np.zeros((images.shape[1], 256), np.int64)
        for start in range(0, len(rows), BLOCK):
            some = images[rows[start : start + BLOCK]]
            counts += np.stack([np.bincount(some[:, c].reshape(-1), minlength=256) for c in range(some.shape[1])])
        levels = np.arange(256) / 255
        shares = counts / counts.sum(axis=1, keepdims=True)
        mean = shares @ levels
        variance = shares @ levels**2 - mean**2
        std = np.sqrt(np.maximum(variance, (1 / 255) ** 2))
        return cls(tuple(float(value) for value in mean), tuple(float(value) for value in std))

    @classmethod
    def full_scale(cls, channels: int) -> Normalisation:
        """Grey values from 0 to 1 as they are: what a whitening is applied to."""
        return cls((0.0,) * channels, (1.0,) * channels)

    def apply(self, grey: np.ndarray) -> np.ndarray:
        """Uint8 (N, C, H, W) -> float32 in standard deviations from the mean, or whitened."""
        mean, std = self._columns()
        scaled = (grey.astype(np.float32) / np.float32(255) - mean) / std
        return scaled if self.whitening is None else self.whitening.apply(scaled)

    def invert(self, images: np.ndarray) -> np.ndarray:
        """What `apply` gives (N, C, H, W) -> uint8 a person can look at, clipped to the range."""
        return np.clip(np.rint(self.grey(images) * 255), 0, 255).astype(np.uint8)

    def grey(self, images: np.ndarray) -> np.ndarray:
        """What `apply` gives (N, C, H, W) -> float32 in units of full scale, neither rounded nor clipped."""
        mean, std = self._columns()
        images = images if self.whitening is None else self.whitening.invert(images)
        return images * std + mean

    def moved(self, images: np.ndarray, to: Normalisation) -> np.ndarray:
        """What `apply` gives (N, C, H, W) -> what `apply` of another normalisation gives of the same grey values."""
        mean, std = to._columns()
        scaled = ((self.grey(images) - mean) / std).astype(np.float32)
        return scaled if to.whitening is None else to.whitening.apply(scaled)

    def as_json(self) -> dict[str, Any]:
        """Plain values; of a whitening, which is stored beside them, only its SHA-256."""
        constants: dict[str, Any] = {"mean": list(self.mean), "std": list(self.std)}
        return constants if self.whitening is None else {**constants, "whitening": self.whitening.digest}

    @classmethod
    def from_json(cls, value: dict[str, Any], folder: Path) -> Normalisation:
        """The inverse of `as_json`; a whitening is read from ``folder``.

        Raises:
            ArtifactError: the whitening is missing, damaged or another.
        """
        whitening = Whitening.load(folder, value["whitening"]) if "whitening" in value else None
        return cls(tuple(float(v) for v in value["mean"]), tuple(float(v) for v in value["std"]), whitening)

    def _columns(self) -> tuple[np.ndarray, np.ndarray]:
        shape = (1, -1, 1, 1)
        return np.array(self.mean, np.float32).reshape(shape), np.array(self.std, np.float32).reshape(shape)
