"""What spans a latent space: something that turns images into codes, and codes into images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

CODE = "code"
"""Name of the first layer of every decoder: the code itself."""


@dataclass(frozen=True)
class DecoderLayer:
    """A place in a decoder at which latents can be changed.

    Attributes:
        name: "code" of the first one.
        shape: of its latents, without that of a batch.
        onward: from latents (B, ...) here to those of the next layer, of the last one to grey values (B, C, H, W)
            neither clipped nor rounded; with a gradient.
    """

    name: str
    shape: tuple[int, ...]
    onward: Callable[[Tensor], Tensor]

    @property
    def words(self) -> str:
        """Name and shape, for a reader."""
        return f"{self.name} ({' x '.join(map(str, self.shape))})"


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

    def layers(self) -> tuple[DecoderLayer, ...]:
        """The decoder's layers, from the code on; one after another they do what `decode` does."""
