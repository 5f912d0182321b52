"""What spans a latent space: something that turns images into codes, and codes into images."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class EncoderDecoder(Protocol):
    """An encoder and its decoder, fixed once they are made. Grey values are float32 in units of full scale, 0 to 1."""

    @property
    def dimension(self) -> int:
        """Numbers in a code, D."""

    @property
    def words(self) -> str:
        """What it is, for a reader, as "64 principal components"."""

    def encode(self, grey: Tensor) -> Tensor:
        """Float32 (B, C, H, W) -> codes float32 (B, D), without a gradient, on the device of the images."""

    def decode(self, codes: Tensor) -> Tensor:
        """Codes float32 (B, D) -> float32 (B, C, H, W), neither clipped nor rounded, without a gradient."""
