"""Latents: images as what a decoder makes of latents at one of its layers (GLaD), or at one after another (H-GLaD).

With G_l the part of a decoder from its layer l to the next one, that of the last layer ending in normalised images:

    f[1] = u[1] z[1],    f[l+1] = G[l](f[l]) + u[l+1] z[l+1],    X = G[L](f[L])

z are the coordinates. Those of the first layer are its latents, in units u of their own size at the start. Those of a
later layer are 0 until its turn comes: they are how far its latents have moved from where those of the layer before,
which then stay, had brought them (Cazenavette et al. 2023, arXiv:2305.01649; Zhong et al. 2024, arXiv:2406.05704).

dL/dz = u J^T dL/dX, with J the Jacobian of what follows the layer, image by image: in pieces of a few images, so that
memory does not go with their number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from medistill.engine.coordinates import Coordinate, Range, UpdateRule, Values, largest_magnitude
from medistill.engine.parameterisations.pixels import root_mean_square
from medistill.training.device import precision

LARGEST = 1e6
"""Largest magnitude of a coordinate, of which those of the start are about 1."""


@dataclass(frozen=True)
class Layer:
    """A layer of a decoder whose latents move.

    Attributes:
        name: of the layer.
        start: z before the first step, (N, ...); of a later layer zeros.
        unit: u, by which z is multiplied.
        rule: how z moves.
        onward: from latents (B, ...) of this layer to those of the next one that moves, of the last one to normalised
            images (B, C, H, W); each image by itself.
    """

    name: str
    start: Float[Tensor, "N ..."]
    unit: float
    rule: UpdateRule
    onward: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Latents:
    """Images by the latents of a decoder, the coordinates ``latents_NAME`` of each layer that moves.

    Attributes:
        layers: from the code to the image.
        setting: the setting to lower where they leave their range.
        at_once: images that pass the decoder together.
    """

    layers: Sequence[Layer]
    setting: str = "image_lr"
    at_once: int = 4

    def coordinates(self) -> dict[str, Coordinate]:
        """Return z of every layer."""
        reach = Range(self.setting, largest_magnitude, LARGEST, "the latents reach {:.3g} units", root_mean_square)
        return {
            _name(layer): Coordinate(layer.start, layer.rule, reach, per_image=True, averaged=True)
            for layer in self.layers
        }

    @torch.no_grad()
    def render(self, values: Values) -> Float[Tensor, "N C H W"]:
        """Return the normalised images."""
        return torch.cat([self._images(some) for some in self._pieces(self._values(values))])

    def pullback(self, values: Values, grad_images: Float[Tensor, "N C H W"]) -> dict[str, Tensor]:
        """Return the gradient in z of every layer."""
        found = []
        pieces = self._pieces([*self._values(values), grad_images])
        for *some, cotangent in pieces:
            with torch.enable_grad():
                leaves = [each.detach().requires_grad_() for each in some]
                images = self._images(leaves)
            with precision("fp32", images.device):
                found.append(torch.autograd.grad(images, leaves, cotangent))
        return {
            _name(layer): torch.cat(of_layer)
            for layer, of_layer in zip(self.layers, zip(*found, strict=True), strict=True)
        }

    def _images(self, some: Sequence[Tensor]) -> Tensor:
        """Return the images of some rows of z of every layer."""
        with precision("fp32", some[0].device):
            seen = self.layers[0].onward(self.layers[0].unit * some[0])
            for layer, moved in zip(self.layers[1:], some[1:], strict=True):
                seen = layer.onward(seen + layer.unit * moved)
        return seen

    def _values(self, values: Values) -> list[Tensor]:
        return [values[_name(layer)] for layer in self.layers]

    def _pieces(self, each: Sequence[Tensor]) -> Iterator[tuple[Tensor, ...]]:
        """Return the same rows of every tensor, a few at a time."""
        return zip(*(one.split(self.at_once) for one in each), strict=True)


def _name(layer: Layer) -> str:
    return f"latents_{layer.name}"
