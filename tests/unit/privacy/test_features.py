"""Features: what the layer sees that decides, whatever the order in which a user's own network lists its layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medistill.privacy.features import Features

IMAGES = torch.randn(9, 1, 4, 4, generator=torch.Generator().manual_seed(0))


class HeadFirst(nn.Module):
    """Its head is made before its body."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.body = nn.Linear(5, 2), nn.Linear(16, 5)

    def seen(self, images: Tensor) -> Tensor:
        return self.body(images.flatten(1)).tanh()

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.seen(images))


def test_features_are_what_the_layer_that_is_called_last_sees() -> None:
    network = HeadFirst()
    with torch.no_grad():
        wanted = network.seen(IMAGES[3:]) - network.seen(IMAGES[:5]).mean(dim=0)
    found = Features(network, micro_batch=4, centre=IMAGES[:5])(IMAGES[3:])
    torch.testing.assert_close(found, nn.functional.normalize(wanted, dim=1))


def test_without_a_linear_layer_they_are_the_logits() -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 4), nn.Flatten())
    with torch.no_grad():
        wanted = network(IMAGES) - network(IMAGES).mean(dim=0)
    found = Features(network, micro_batch=2, centre=IMAGES)(IMAGES)
    torch.testing.assert_close(found, nn.functional.normalize(wanted, dim=1))
