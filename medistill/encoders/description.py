"""The description of an encoder: what somebody must know who relies on what it sees."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class EncoderDescription:
    """What an encoder is, beside its weights.

    Attributes:
        architecture: name in `medistill.encoders.architectures`.
        licence: under which it may be used, in one line, as "Apache-2.0".
        trained_on: the images that it was trained on, in one line.
        source: where it can be had, in one line.
        layers: whose channels, averaged over the pixels, are the features, in the network's order.
        image_size: side in pixels of the images that it was trained on.
        fixed_size: whether it takes images of that side alone.
        mean: of each of its three input channels, in units of full scale: what is subtracted.
        std: likewise, what it is then divided by.
    """

    architecture: str
    licence: str
    trained_on: str
    source: str
    layers: tuple[str, ...]
    image_size: int
    fixed_size: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)
