"""The mean and standard deviation that stand between stored grey values and what a network sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Normalisation:
    """Per-channel constants: a network sees ``(grey / 255 - mean) / std``.

    Attributes:
        mean: (C,) in units of full scale.
        std: (C,) in units of full scale, above zero.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, images: np.ndarray) -> Normalisation:
        """Measure uint8 images (N, C, H, W). A constant channel gets a deviation of one grey level."""
        counts = np.stack([np.bincount(images[:, c].reshape(-1), minlength=256) for c in range(images.shape[1])])
        levels = np.arange(256) / 255
        shares = counts / counts.sum(axis=1, keepdims=True)
        mean = shares @ levels
        variance = shares @ levels**2 - mean**2
        std = np.sqrt(np.maximum(variance, (1 / 255) ** 2))
        return cls(tuple(float(value) for value in mean), tuple(float(value) for value in std))

    def apply(self, grey: np.ndarray) -> np.ndarray:
        """Uint8 (N, C, H, W) -> float32 in standard deviations from the mean."""
        mean, std = self._columns()
        return (grey.astype(np.float32) / np.float32(255) - mean) / std

    def invert(self, images: np.ndarray) -> np.ndarray:
        """Float (N, C, H, W) in standard deviations -> uint8 a person can look at, clipped to the range."""
        mean, std = self._columns()
        return np.clip(np.rint((images * std + mean) * 255), 0, 255).astype(np.uint8)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Normalisation:
        """The inverse of `as_json`."""
        return cls(tuple(float(v) for v in value["mean"]), tuple(float(v) for v in value["std"]))

    def _columns(self) -> tuple[np.ndarray, np.ndarray]:
        shape = (1, -1, 1, 1)
        return np.array(self.mean, np.float32).reshape(shape), np.array(self.std, np.float32).reshape(shape)
