"""A network that a user brings: reproducible fresh parameters, the global generator left alone, bad ones refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medistill.errors import UsageError
from medistill.networks.own import NetworkFactory
from medistill.networks.registry import NetworkSpec, build_network
from medistill.recipe import NetworkRecipe
from medistill.training.randomness import generator


def mlp(channels: int, image_size: int, classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(channels * image_size**2, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, classes)
    )


def wider(channels: int, image_size: int, classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * image_size**2, 7), nn.Tanh(), nn.Linear(7, classes))


def spec_of(factory: NetworkFactory) -> NetworkSpec:
    return NetworkSpec(NetworkRecipe(), 1, 8, 3, factory)


def flat(network: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def test_parameters_come_from_the_generator_and_nothing_else_is_disturbed():
    spec = spec_of(mlp)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = flat(build_network(spec, generator(0, "expert", 0)))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(flat(build_network(spec, generator(0, "expert", 0))), first)
    other = flat(build_network(spec, generator(0, "expert", 1)))
    assert not torch.equal(other, first)
    torch.manual_seed(3)
    bound = float(mlp(1, 8, 3)[1].weight.detach().abs().max())
    assert float(first[: 64 * 6].abs().max()) == pytest.approx(bound, rel=0.05)  # the layers' own initialisation


def test_name_and_identity():
    spec = spec_of(mlp)
    assert spec.name.endswith("test_own.mlp")
    assert spec.identity() == spec_of(mlp).identity()
    told = spec.identity()
    assert told["parameters"]["1.weight"] == [6, 64]
    assert "Tanh" in told["layers"]
    assert spec_of(wider).identity() != told
    before_probes = {"name": "convnet", "width": 4, "depth": 3}
    assert NetworkSpec(NetworkRecipe(width=4), 1, 8, 3).identity() == before_probes


def test_two_lambdas_with_other_layers_are_two_networks():
    def of(activation: Callable[[], nn.Module]) -> NetworkSpec:
        return spec_of(lambda c, s, k: nn.Sequential(nn.Flatten(), activation(), nn.Linear(c * s * s, k)))

    assert of(nn.ReLU).name == of(nn.GELU).name
    assert of(nn.ReLU).identity() != of(nn.GELU).identity()


class _Functional(nn.Module):
    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.change, self.head = change, nn.Linear(64, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.change(images.flatten(1)))


def _head(*before: nn.Module) -> nn.Module:
    return nn.Sequential(*before, nn.Flatten(), nn.Linear(64, 3))


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: _head(nn.BatchNorm2d(1)), "keeps buffers"),
        (lambda: _head(nn.InstanceNorm2d(1, track_running_stats=True)), "keeps buffers"),
        (lambda: _head(nn.BatchNorm2d(1, track_running_stats=False)), "differently in another batch"),
        (lambda: _Functional(lambda x: x - x.mean(dim=0)), "differently in another batch"),
        (lambda: _head(nn.Dropout(0.01)), "draws random numbers"),
        (lambda: _head(nn.Dropout2d(0.5)), "draws random numbers"),
        (lambda: _Functional(lambda x: F.dropout(x, 0.5)), "differently each time"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), r"gives \(3, 4\) for 3 images"),
        (lambda: nn.Conv2d(1, 3, 3), r"gives \(3, 3, 6, 6\)"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(100, 3)), r"cannot take images of shape \(3, 1, 8, 8\)"),
        (lambda: nn.Flatten(), "has no parameters"),
        (lambda: _head().double(), "cannot take images"),
        (lambda: lambda x: x, "made function"),
    ],
)
def test_what_cannot_be_matched_is_refused(make, why):
    with pytest.raises(UsageError, match=why):
        build_network(spec_of(lambda channels, image_size, classes: make()), generator(0))


def test_a_dropout_that_does_nothing_is_let_through():
    made = build_network(spec_of(lambda channels, image_size, classes: _head(nn.Dropout(0.0))), generator(0))
    assert made(torch.zeros(2, 1, 8, 8)).shape == (2, 3)
