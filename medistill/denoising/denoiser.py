"""A denoiser: what noise it sees in an image of a class, or of one whose class it is not told, at fixed levels.

An image x of -1 (black) to 1 (white) at the level of variance v is sqrt(1 - v) x + sqrt(v) e, with e of N(0, 1); the
denoiser predicts e (Ho et al. 2020, arXiv:2006.11239, with few levels in place of a thousand). Asked without a class it
is the unconditional one of Ho and Salimans (2022, arXiv:2207.12598), in the same weights.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from medistill.denoising.unet import GROUPS, UNet, one_hot
from medistill.errors import ArtifactError
from medistill.networks.initialise import initialise

LIMITS = {"channels": (1, 3), "image_size": (4, 1024), "width": (GROUPS, 256), "depth": (1, 5)}
"""What an architecture may be, both ends included; a description from elsewhere cannot ask for more memory."""
ACTIVATION = 2**24
"""Most floats of one activation, 64 MiB: images beyond that pass the network in several parts."""
MOST_CLASSES, MOST_LEVELS, LONGEST = 1000, 64, 256
"""Most classes and noise levels, and most characters of a class's name."""


@dataclass(frozen=True)
class Architecture:
    """What has to be known to build a denoiser and to ask it.

    Attributes:
        channels: channels of an image.
        image_size: its height and width in pixels.
        width: channels of the first level of the U-Net.
        depth: its levels.
        classes: names of the classes that it knows, in the order of its conditions.
        noise: share of noise in the variance at each of its noise levels, ascending, between 0 and 1.

    Raises:
        ArtifactError: a value is of another kind, out of its limits, or does not fit the others.
    """

    channels: int
    image_size: int
    width: int
    depth: int
    classes: tuple[str, ...]
    noise: tuple[float, ...]

    def __post_init__(self) -> None:
        for name, (low, high) in LIMITS.items():
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise _impossible(f"{name} = {str(value)[:64]!r}", f"a whole number from {low} to {high}")
        if self.width % GROUPS:
            raise _impossible(f"width = {self.width}", f"a multiple of {GROUPS}")
        if self.image_size % 2**self.depth:
            raise _impossible(f"image_size = {self.image_size}", f"a size that can be halved {self.depth} times")
        named = all(isinstance(name, str) and 0 < len(name) <= LONGEST and name.isprintable() for name in self.classes)
        if not named or not 2 <= len(self.classes) <= MOST_CLASSES or len(set(self.classes)) < len(self.classes):
            raise _impossible(
                f"{len(self.classes)} classes", f"names of 2 to {MOST_CLASSES} classes, no two of them alike"
            )
        level = all(type(share) is float and 0 < share < 1 for share in self.noise)
        if not level or not 1 <= len(self.noise) <= MOST_LEVELS or list(self.noise) != sorted(set(self.noise)):
            raise _impossible(
                f"{len(self.noise)} noise levels", f"1 to {MOST_LEVELS} ascending shares of noise between 0 and 1"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        return self.channels, self.image_size, self.image_size

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "classes": list(self.classes), "noise": list(self.noise)}

    @classmethod
    def from_json(cls, value: object) -> Architecture:
        """The inverse of `as_json`.

        Raises:
            ArtifactError: no such mapping, or a denoiser that cannot be built.
        """
        parts = tuple(cls.__dataclass_fields__)
        if not isinstance(value, dict) or set(value) != set(parts):
            raise _impossible("other parts than an architecture has", ", ".join(parts))
        for name, most in (("classes", MOST_CLASSES), ("noise", MOST_LEVELS)):
            if not isinstance(value[name], list) or len(value[name]) > most:
                raise _impossible(f"{name} that are no list of at most {most}", f"at most {most} of them")
        return cls(**{**value, "classes": tuple(value["classes"]), "noise": tuple(value["noise"])})

    def empty_network(self) -> UNet:
        """The network with the shapes of its parameters alone: nothing is allocated."""
        with torch.device("meta"):
            return UNet(
                self.channels,
                width=self.width,
                depth=self.depth,
                levels=len(self.noise),
                conditions=len(self.classes) + 1,
            )


def noise_levels(count: int) -> tuple[float, ...]:
    """Return the shares of noise sin^2(pi/2 k/(count + 1)), k = 1 to count, evenly on the cosine schedule of Nichol and
    Dhariwal (2021, arXiv:2102.09672)."""
    return tuple(math.sin(math.pi / 2 * k / (count + 1)) ** 2 for k in range(1, count + 1))


@dataclass(frozen=True, eq=False)
class Denoiser:
    """A denoiser and its parameters.

    Attributes:
        architecture: what it is.
        network: its parameters, on one device.
    """

    architecture: Architecture
    network: UNet

    @classmethod
    def drawn(cls, architecture: Architecture, generator: torch.Generator) -> Denoiser:
        """One with fresh parameters drawn from ``generator`` (a CPU one), on the CPU."""
        network = architecture.empty_network().to_empty(device="cpu")
        initialise(network, generator)
        return cls(architecture, network)

    @classmethod
    def of_weights(cls, architecture: Architecture, weights: dict[str, Tensor]) -> Denoiser:
        """One with these parameters, which have the names and shapes of `Architecture.empty_network`."""
        network = architecture.empty_network()
        network.load_state_dict(weights, assign=True)
        return cls(architecture, network)

    def to(self, device: torch.device) -> Denoiser:
        """Move the network to a device, and return this denoiser."""
        self.network.to(device)
        return self

    @property
    def untold(self) -> int:
        """The condition of an image whose class is not told."""
        return len(self.architecture.classes)

    @property
    def at_once(self) -> int:
        """Images that pass the network together where there is no gradient; its first level has half their side."""
        known = self.architecture
        return max(1, ACTIVATION // (known.width * (known.image_size // 2) ** 2))

    def noisy(
        self, grey: Float[Tensor, "B C H W"], noise: Float[Tensor, "B C H W"], level: Int[Tensor, " B"]
    ) -> Float[Tensor, "B C H W"]:
        """Return grey values of 0 to 1 under noise of N(0, 1) at these levels."""
        share = grey.new_tensor(self.architecture.noise)[level][:, None, None, None]
        return (1 - share).sqrt() * (2 * grey - 1) + share.sqrt() * noise

    def predicted(
        self, noisy: Float[Tensor, "B C H W"], level: Int[Tensor, " B"], condition: Int[Tensor, " B"]
    ) -> Float[Tensor, "B C H W"]:
        """Return the noise that it sees in images.

        Args:
            noisy: as `noisy` gives them.
            level: number of the noise level.
            condition: number of the class, or `untold`.
        """
        levels, conditions = len(self.architecture.noise), len(self.architecture.classes) + 1
        told = (one_hot(level, levels).to(noisy.dtype), one_hot(condition, conditions).to(noisy.dtype))
        seen: Tensor = self.network(noisy, *told)
        return seen


def state_of(denoiser: Denoiser) -> dict[str, np.ndarray]:
    """The parameters by name, as NumPy arrays on the CPU."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in denoiser.network.state_dict().items()}


def _impossible(seen: str, expected: str) -> ArtifactError:
    return ArtifactError(
        f"a denoiser with {seen} cannot be built",
        expected=expected,
        do="change method.denoiser in the recipe, or bring another denoiser",
    )
