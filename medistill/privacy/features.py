"""What a trained network makes of images: the numbers that its last layer decides by."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Features:
    """The input of a network's last linear layer, less its mean over some training images, at length 1.

    The last is the one that is called last. Of a network without any, as one of the user's own can be, the logits.

    Args:
        network: trained, on the device of the images.
        micro_batch: images that pass it at once.
        centre: normalised images (N, C, H, W) whose mean features are taken off, since what all share tells none apart.
    """

    def __init__(self, network: nn.Module, *, micro_batch: int, centre: Tensor) -> None:
        self.network, self.micro_batch = network.eval(), micro_batch
        self._last: Tensor | None = None
        for module in network.modules():
            if isinstance(module, nn.Linear):
                module.register_forward_pre_hook(self._see)
        self.mean = torch.zeros((), device=centre.device)
        self.mean = self._of(centre).mean(dim=0)

    def __call__(self, images: Tensor) -> Tensor:
        """Normalised (N, C, H, W) -> float32 (N, F) at length 1."""
        return nn.functional.normalize(self._of(images), dim=1)

    def _see(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._last = inputs[0]

    @torch.no_grad()
    def _of(self, images: Tensor) -> Tensor:
        seen = []
        for start in range(0, len(images), self.micro_batch):
            logits = self.network(images[start : start + self.micro_batch])
            seen.append(logits if self._last is None else self._last)
        return torch.cat(seen).float().flatten(1) - self.mean
