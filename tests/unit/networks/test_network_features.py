"""Features with gradients, of every network of the registry, against its layers called one by one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medistill.networks.features import features
from medistill.networks.registry import NetworkSpec, build_network
from medistill.recipe import NetworkRecipe
from medistill.training.randomness import generator


@pytest.mark.parametrize("name", ["convnet", "resnet18", "vgg11", "alexnet"])
def test_the_classifier_turns_them_into_the_logits(name):
    network = build_network(NetworkSpec(NetworkRecipe(name=name, width=4), 1, 32, 3), generator(0))
    images = torch.randn(2, 1, 32, 32, generator=generator(1))
    torch.testing.assert_close(network.classifier(features(network, images)), network(images))
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_they_are_those_of_the_parameters_that_are_given_and_gradients_flow_through_them():
    network = build_network(NetworkSpec(NetworkRecipe(depth=1, width=4), 1, 8, 2), generator(0)).double()
    given = {name: 2 * value.detach() for name, value in network.named_parameters()}
    images = torch.randn(3, 1, 8, 8, generator=generator(1), dtype=torch.float64, requires_grad=True)
    found = features(network, images, given)
    with torch.no_grad():
        for name, value in network.named_parameters():
            value.copy_(given[name])
    wanted = network.features(images).flatten(1)
    torch.testing.assert_close(found, wanted)
    towards = torch.randn(found.shape, generator=generator(2), dtype=torch.float64)
    (mine,) = torch.autograd.grad((found * towards).sum(), images)
    (theirs,) = torch.autograd.grad((wanted * towards).sum(), images)
    torch.testing.assert_close(mine, theirs)


def test_without_a_linear_layer_they_are_the_logits():
    network = nn.Sequential(nn.Conv2d(1, 3, 4), nn.Flatten())
    images = torch.randn(2, 1, 4, 4, generator=generator(0))
    torch.testing.assert_close(features(network, images), network(images))
