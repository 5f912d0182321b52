"""An encoder: a frozen network in evaluation mode that sees every image by itself."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from medistill.artifacts.channels import per_channel
from medistill.artifacts.projection import Projection
from medistill.encoders.architectures import architecture_named
from medistill.encoders.description import EncoderDescription
from medistill.errors import DataError

BATCH = 16
"""Images that pass it at once on a CPU: as many as the widest vector holds floats, by which its kernels are fastest."""


@dataclass(frozen=True, eq=False)
class Encoder:
    """Maps grey values to features, and gradients in the features back to gradients in the grey values.

    Attributes:
        description: what it is.
        sha256: of both files of its folder, by which it is named.
        network: maps (N, 3, H, W) to (N, D); its parameters are frozen.
        centre: (D,) subtracted from what the network gives.
        scale: (D,) then divided by: so features are of the size of 1, whatever the images of a corpus are.
        projection: public, of these features to fewer numbers, which then stand for them; None leaves them.
        directions: (D, K) by which the projection is taken, on the device.
    """

    description: EncoderDescription
    sha256: str
    network: nn.Module = field(repr=False)
    centre: Float[Tensor, " D"] = field(repr=False)
    scale: Float[Tensor, " D"] = field(repr=False)
    projection: Projection | None = None
    directions: Float[Tensor, "D K"] | None = field(default=None, repr=False)

    @property
    def dimension(self) -> int:
        """Features of an image: D, or K of a projection."""
        return len(self.centre) if self.projection is None else self.projection.dimension

    @property
    def identity(self) -> str:
        """What tells its features from those of others: its hash, and that of a projection."""
        return self.sha256 if self.projection is None else f"{self.sha256} {self.projection.digest}"

    @property
    def whole(self) -> Encoder:
        """The same without a projection."""
        return replace(self, projection=None, directions=None)

    def projected(self, projection: Projection) -> Encoder:
        """Return the same with features of the size of 1 in the space of a projection: √K times what it gives.

        Raises:
            ArtifactError: the projection is of another encoder, or of another number of features.
        """
        projection.refuse_other_encoder(self.sha256, len(self.centre))
        matrix = torch.from_numpy(projection.matrix).to(self.centre.device) * math.sqrt(projection.dimension)
        return replace(self, projection=projection, directions=torch.diag(matrix) if matrix.ndim == 1 else matrix)

    @property
    def display_name(self) -> str:
        """Its architecture and the beginning of its hash."""
        return f"{architecture_named(self.description.architecture).name} {self.sha256[:12]}"

    def to(self, device: torch.device) -> Encoder:
        """Return the same on a device, its weights laid out for it."""
        network = self.network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        directions = None if self.directions is None else self.directions.to(device)
        centre, scale = self.centre.to(device), self.scale.to(device)
        return replace(self, network=network, centre=centre, scale=scale, directions=directions)

    def features(self, grey: Float[Tensor, "N C H W"]) -> Float[Tensor, "N D"]:
        """Return the features of images, through which gradients flow.

        Args:
            grey: in units of full scale, 0 to 1; one channel stands for three.

        Raises:
            DataError: the images are too small, or have neither one channel nor three.
        """
        described, channels = self.description, grey.shape[1]
        self.check_fits(channels, grey.shape[-1])
        images = grey.expand(-1, 3, -1, -1) if channels == 1 else grey
        if described.fixed_size and images.shape[-1] != described.image_size:
            size = (described.image_size, described.image_size)
            images = F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
        mean, std = (per_channel(values, images) for values in (described.mean, described.std))
        seen = self.network(((images - mean) / std).contiguous(memory_format=torch.channels_last))
        features = (seen - self.centre) / self.scale
        if self.projection is None or self.directions is None:
            return features
        centre = torch.from_numpy(self.projection.centre).to(features.device, non_blocking=True)
        return (features - centre) @ self.directions

    @torch.no_grad()
    def encoded(self, grey: Float[Tensor, "N C H W"], micro_batch: int = 0) -> Float[Tensor, "N D"]:
        """Return the same without gradients, ``micro_batch`` images at a time; 0 takes what the device likes."""
        size = micro_batch or self.batch(grey.device)
        parts = [self.features(some) for some in grey.split(size)] if len(grey) else [grey.new_empty(0, self.dimension)]
        return torch.cat(parts)

    def pullback(
        self, grey: Float[Tensor, "N C H W"], grad_features: Float[Tensor, "N D"], micro_batch: int = 0
    ) -> Float[Tensor, "N C H W"]:
        """Return dL/dgrey from dL/dfeatures, exactly, in the memory of one micro-batch."""
        size, gradients = micro_batch or self.batch(grey.device), []
        for images, cotangent in zip(grey.split(size), grad_features.split(size), strict=True):
            shown = images.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.features(shown), shown, cotangent)
            gradients.append(gradient)
        return torch.cat(gradients) if gradients else torch.zeros_like(grey)

    @staticmethod
    def batch(device: torch.device) -> int:
        """Images that pass it at once."""
        return BATCH if device.type == "cpu" else 256

    def check_fits(self, channels: int, image_size: int) -> None:
        """Refuse images that it cannot see.

        Raises:
            DataError: they are too small, or have neither one channel nor three.
        """
        smallest = architecture_named(self.description.architecture).smallest
        if channels not in (1, 3):
            raise DataError(
                f"images of {channels} channels for the encoder {self.display_name}",
                expected="one channel (grey) or three (colours)",
                do="leave the encoder out (--network convnet)",
            )
        if image_size < smallest:
            raise DataError(
                f"images of {image_size} pixels for the encoder {self.display_name}",
                expected=f"at least {smallest} pixels",
                do=f"set data.image_size={max(128, smallest)}",
            )
