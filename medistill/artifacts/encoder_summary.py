"""EncoderSummary: what anyone should know of the frozen encoder whose features a set's images were made for."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from medistill.artifacts.field_kinds import Digest, Line, Name
from medistill.artifacts.record import Record

SHORT = 12
"""Characters of its hash that tell one encoder from others in a sentence."""
PROBE = "linear probe"
"""How a network is called, at its beginning, that is a linear layer on an encoder's features."""


class EncoderSummary(Record):
    """The encoder of a probe, as a set, its bundle and its report tell of it. Its weights travel with none of them.

    What a set says beyond these keys is not taken up; a bundle that does is refused, since its manifest is spelt
    otherwise then.
    """

    model_config = ConfigDict(extra="ignore")

    sha256: Digest
    """Of both files of its folder, by which it is named."""
    architecture: Name
    """As "efficientnet_lite0"."""
    licence: Line
    """Under which it may be used."""
    trained_on: Line
    """The images that it was trained on."""
    source: Line
    """Where it can be had."""
    layers: Annotated[tuple[Name, ...], Field(min_length=1, max_length=100)]
    """Whose channels, averaged over the pixels, are the features."""

    @property
    def words(self) -> str:
        """Its architecture and the beginning of its hash."""
        return f"{self.architecture}, SHA-256 {self.sha256[:SHORT]}"


def from_scratch(network: str) -> bool:
    """Whether a network, in words, learns from pixels; else it takes an encoder's features."""
    return not network.startswith(PROBE)
