"""What a trained network makes of images: the numbers that its last layer decides by."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medistill.networks.features import features


class Features:
    """The features of a network (`medistill.networks.features`), less their mean over training images, at length 1.

    Args:
        network: trained, on the device of the images.
        micro_batch: images that pass it at once.
        centre: normalised images (N, C, H, W) whose mean features are taken off, since what all share tells none apart.
    """

    def __init__(self, network: nn.Module, *, micro_batch: int, centre: Tensor) -> None:
        self.network, self.micro_batch = network.eval(), micro_batch
        self.mean = torch.zeros((), device=centre.device)
        self.mean = self._of(centre).mean(dim=0)

    def __call__(self, images: Tensor) -> Tensor:
        """Return normalised (N, C, H, W) as float32 (N, F) at length 1."""
        return nn.functional.normalize(self._of(images), dim=1)

    @torch.no_grad()
    def _of(self, images: Tensor) -> Tensor:
        pieces = images.split(self.micro_batch)
        return torch.cat([features(self.network, piece).float() for piece in pieces]) - self.mean
