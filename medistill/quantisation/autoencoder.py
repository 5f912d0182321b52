"""A convolutional autoencoder: MONAI's ``AutoencoderKL``, whose code of an image is the mean of its latent normal."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from medistill.errors import ArtifactError
from medistill.networks.initialise import initialise
from medistill.quantisation.encoder_decoder import CODE, DecoderLayer
from medistill.training.device import precision

if TYPE_CHECKING:
    from monai.networks.nets.autoencoderkl import AutoencoderKL

LIMITS = {"channels": (1, 3), "image_size": (8, 1024), "width": (8, 256), "levels": (2, 6), "latent_channels": (1, 64)}
"""What an architecture may be, both ends included; a description from elsewhere cannot ask for more memory."""
GROUPS = 8
"""Groups of every norm, which divide every number of channels."""
WIDEST = 4
"""A level has at most this many times the channels of the first."""
ACTIVATION = 2**24
"""Most floats of one activation, 64 MiB: images beyond that pass the network in several parts."""


@dataclass(frozen=True)
class Architecture:
    """What has to be known to build an autoencoder, without attention and with one residual block a level.

    Attributes:
        channels: channels of an image.
        image_size: its height and width in pixels.
        width: channels of the first level, doubled on each level below, up to four times.
        levels: each but the last halves height and width.
        latent_channels: channels of a code.

    Raises:
        ArtifactError: a value is no whole number, is out of `LIMITS`, or does not fit the others.
    """

    channels: int
    image_size: int
    width: int
    levels: int
    latent_channels: int

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            low, high = LIMITS[name]
            if type(value) is not int or not low <= value <= high:
                raise _impossible(f"{name} = {str(value)[:64]!r}", f"a whole number from {low} to {high}")
        if self.width % GROUPS:
            raise _impossible(f"width = {self.width}", f"a multiple of {GROUPS}")
        if self.image_size % 2 ** (self.levels - 1):
            raise _impossible(
                f"image_size = {self.image_size}", f"a size that {self.levels} levels halve {self.levels - 1} times"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        return self.channels, self.image_size, self.image_size

    @property
    def code_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of a code."""
        side = self.image_size // 2 ** (self.levels - 1)
        return self.latent_channels, side, side

    def as_json(self) -> dict[str, int]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: object) -> Architecture:
        """The inverse of `as_json`.

        Raises:
            ArtifactError: no such mapping, or an autoencoder that cannot be built.
        """
        if not isinstance(value, dict) or set(value) != set(LIMITS):
            raise _impossible("other parts than an architecture has", ", ".join(LIMITS))
        return cls(**value)

    def empty_network(self) -> AutoencoderKL:
        """The network with the shapes of its parameters alone: nothing is allocated."""
        from monai.networks.nets.autoencoderkl import AutoencoderKL

        with torch.device("meta"):
            return AutoencoderKL(
                spatial_dims=2,
                in_channels=self.channels,
                out_channels=self.channels,
                channels=[self.width * min(WIDEST, 2**level) for level in range(self.levels)],
                num_res_blocks=1,
                attention_levels=[False] * self.levels,
                latent_channels=self.latent_channels,
                norm_num_groups=GROUPS,
                with_encoder_nonlocal_attn=False,
                with_decoder_nonlocal_attn=False,
            )


@dataclass(frozen=True, eq=False)
class Autoencoder:
    """An `EncoderDecoder` of this architecture.

    Attributes:
        architecture: what it is.
        network: its parameters, float32, on one device.
    """

    architecture: Architecture
    network: AutoencoderKL

    @classmethod
    def drawn(cls, architecture: Architecture, generator: torch.Generator) -> Autoencoder:
        """One with fresh parameters drawn from ``generator`` (a CPU one), on the CPU."""
        network = architecture.empty_network().to_empty(device="cpu")
        initialise(network, generator)
        return cls(architecture, network)

    @classmethod
    def of_weights(cls, architecture: Architecture, weights: dict[str, Tensor]) -> Autoencoder:
        """One with these parameters, which have the names and shapes of `Architecture.empty_network`."""
        network = architecture.empty_network()
        network.load_state_dict(weights, assign=True)
        return cls(architecture, network)

    def to(self, device: torch.device) -> Autoencoder:
        """Move the network to a device, and return this autoencoder."""
        self.network.to(device)
        return self

    @property
    def dimension(self) -> int:
        """Numbers in a code."""
        channels, height, width = self.architecture.code_shape
        return channels * height * width

    @property
    def words(self) -> str:
        """What it is, for a reader."""
        code = " x ".join(map(str, self.architecture.code_shape))
        return f"an AutoencoderKL of {self.architecture.levels} levels, width {self.architecture.width}, codes {code}"

    @torch.no_grad()
    def encode(self, grey: Tensor) -> Tensor:
        """Float32 (B, C, H, W), 0 to 1 -> the mean of the latent normal, flattened to float32 (B, D)."""
        with precision("fp32", grey.device):
            return torch.cat([self.network.encode(part)[0].flatten(1) for part in grey.split(self._at_once)])

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Codes float32 (B, D) -> float32 (B, C, H, W), neither clipped nor rounded."""
        whole = codes.unflatten(1, self.architecture.code_shape)
        with precision("fp32", codes.device):
            return torch.cat([self.network.decode(part) for part in whole.split(self._at_once)])

    def layers(self) -> tuple[DecoderLayer, ...]:
        """The code, and what leaves each block of the decoder but the last: ``block_1``, ``block_2``, ..."""
        self.network.requires_grad_(requires_grad=False)
        first, *blocks = self.network.decoder.blocks
        names = [CODE, *(f"block_{number}" for number in range(1, len(blocks) + 1))]
        shapes = [(self.dimension,), *self._block_shapes()]

        def begin(codes: Tensor) -> Tensor:
            return first(self.network.post_quant_conv(codes.unflatten(1, self.architecture.code_shape)))

        return tuple(map(DecoderLayer, names, shapes, [begin, *blocks]))

    @torch.no_grad()
    def _block_shapes(self) -> list[tuple[int, ...]]:
        """(C, H, W) of what leaves each block of the decoder but the last; nothing is computed for it."""
        network = self.architecture.empty_network()
        seen, shapes = torch.empty(1, *self.architecture.code_shape, device="meta"), []
        for block in [*network.decoder.blocks][:-1]:
            seen = block(seen)
            shapes.append(tuple(seen.shape[1:]))
        return shapes

    @property
    def _at_once(self) -> int:
        """Images that pass the network together; the decoder has twice ``width`` channels at full size."""
        return max(1, ACTIVATION // (2 * self.architecture.width * self.architecture.image_size**2))


def check_fits(autoencoder: Autoencoder, shape: tuple[int, ...]) -> None:
    """Refuse an autoencoder for images of another shape (C, H, W).

    Raises:
        ArtifactError: with both shapes.
    """
    if autoencoder.architecture.shape != tuple(shape):
        raise ArtifactError(
            f"the decoder makes images of {autoencoder.architecture.shape}; the corpus has {tuple(shape)}",
            expected="a decoder for images of the same channels, height and width",
            do="bring another decoder (--decoder), or set data.image_size and data.channels to what this one makes",
        )


def _impossible(seen: str, expected: str) -> ArtifactError:
    return ArtifactError(
        f"an autoencoder with {seen} cannot be built",
        expected=expected,
        do="change the section autoencoder of the recipe, or bring another decoder",
    )


def state_of(autoencoder: Autoencoder) -> dict[str, Any]:
    """The parameters by name, as NumPy arrays on the CPU."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in autoencoder.network.state_dict().items()}
