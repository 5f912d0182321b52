"""Networks against the parameter counts of this field's reference code, and the properties that the engine needs."""

from __future__ import annotations

import pytest
import torch

from medistill.errors import RecipeError
from medistill.networks.flat import FlatParameters, split
from medistill.networks.footprint import largest_activation, micro_batch_size
from medistill.networks.registry import REGISTRY, NetworkSpec, build_network
from medistill.recipe import NetworkRecipe

CIFAR = {"convnet": 320_010, "resnet18": 11_173_962, "vgg11": 9_231_114, "alexnet": 1_872_202}
"""Parameters for 3 x 32 x 32 images and 10 classes (VGG-11, ResNet-18 with a norm's scale and shift in every block)."""


def network(name: str = "convnet", channels: int = 3, size: int = 32, classes: int = 10, **recipe: int):
    return build_network(
        NetworkSpec(NetworkRecipe(name=name, **recipe), channels, size, classes), torch.Generator().manual_seed(0)
    )


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_parameter_counts(name):
    assert sum(p.numel() for p in network(name).parameters()) == CIFAR[name]


@pytest.mark.parametrize("name", sorted(REGISTRY))
@pytest.mark.parametrize(("channels", "size", "classes"), [(1, 32, 2), (3, 64, 5), (1, 112, 4)])
def test_any_size_and_channel_count(name, channels, size, classes):
    made = network(name, channels, size, classes, width=8, depth=3)
    assert made(torch.randn(2, channels, size, size)).shape == (2, classes)


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_images_do_not_see_each_other(name):
    made, x = network(name, width=8), torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    alone = torch.cat([made(image[None]) for image in x])
    assert torch.allclose(made(x), alone, atol=1e-4)
    assert not list(made.buffers())


@pytest.mark.parametrize(("size", "depth"), [(33, 3), (100, 5), (8, 3)])
def test_convnet_of_any_size_and_depth(size, depth):
    assert network(size=size, depth=depth, width=4)(torch.randn(1, 3, size, size)).shape == (1, 10)


@pytest.mark.parametrize("name", ["resnet18", "vgg11", "alexnet"])
def test_images_too_small_are_refused(name):
    with pytest.raises(RecipeError, match=r"data\.image_size = 8"):
        network(name, size=8)


def test_initialisation_is_torchs_own():
    torch.manual_seed(0)
    reference = torch.nn.Conv2d(128, 128, 3, padding=1)
    mine = network().features[4]
    for theirs, ours in ((reference.weight, mine.weight), (reference.bias, mine.bias)):
        assert float(ours.detach().std()) == pytest.approx(float(theirs.detach().std()), rel=0.15)
        assert float(ours.detach().abs().max()) <= (128 * 9) ** -0.5


def test_start_depends_on_the_generator_alone():
    torch.manual_seed(1)
    first = FlatParameters(network()).values
    torch.manual_seed(2)
    assert torch.equal(first, FlatParameters(network()).values)


def test_flat_parameters_are_shared_with_the_network():
    made = network(width=4)
    flat = FlatParameters(made)
    flat.load(torch.arange(len(flat.values), dtype=torch.float32))
    assert torch.equal(torch.cat([p.detach().reshape(-1) for p in made.parameters()]), flat.values)
    made(torch.randn(1, 3, 32, 32)).sum().backward()
    assert torch.equal(torch.cat([p.grad.reshape(-1) for p in made.parameters()]), flat.gradient)
    assert [tuple(part.shape) for part in split(flat.values, flat.shapes)] == list(flat.shapes)


def test_micro_batch_fits_the_largest_layer():
    made = network()
    assert largest_activation(made, 3, 32) == 128 * 32 * 32
    assert micro_batch_size(made, 3, 32) == 12
    assert micro_batch_size(made, 3, 32, chosen=3) == 3
    assert micro_batch_size(network(size=224, depth=3), 3, 224) == 1
