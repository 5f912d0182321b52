"""Networks against the parameter counts of this field's reference code, and the properties that the engine needs."""

from __future__ import annotations

import pytest
import torch
from monai.networks.nets.densenet import DenseNet121
from torch.nn import functional as F

from medistill.errors import RecipeError
from medistill.networks.flat import FlatParameters, split
from medistill.networks.footprint import largest_activation, micro_batch_size
from medistill.networks.registry import NetworkSpec, build_network
from medistill.recipe import NetworkRecipe
from tests.factories.networks import PIXEL_NETWORKS

CIFAR = {
    "convnet": 320_010,
    "resnet18": 11_173_962,
    "vgg11": 9_231_114,
    "alexnet": 1_872_202,
    "densenet121": 6_964_106,
}
"""Parameters for 3 x 32 x 32 images and 10 classes (VGG-11, ResNet-18 with a norm's scale and shift in every block; of
DenseNet-121 those of Huang et al. with ten classes in place of a thousand: 7,978,856 - 990 x 1,025)."""


def network(name: str = "convnet", channels: int = 3, size: int = 32, classes: int = 10, **recipe: int):
    return build_network(
        NetworkSpec(NetworkRecipe(name=name, **recipe), channels, size, classes), torch.Generator().manual_seed(0)
    )


@pytest.mark.parametrize("name", PIXEL_NETWORKS)
def test_parameter_counts(name):
    assert sum(p.numel() for p in network(name).parameters()) == CIFAR[name]


@pytest.mark.parametrize("name", PIXEL_NETWORKS)
@pytest.mark.parametrize(("channels", "size", "classes"), [(1, 32, 2), (3, 64, 5), (1, 112, 4)])
def test_any_size_and_channel_count(name, channels, size, classes):
    made = network(name, channels, size, classes, width=8, depth=3)
    assert made(torch.randn(2, channels, size, size)).shape == (2, classes)


@pytest.mark.parametrize("name", PIXEL_NETWORKS)
def test_images_do_not_see_each_other(name):
    made, x = network(name, width=8), torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    alone = torch.cat([made(image[None]) for image in x])
    assert torch.allclose(made(x), alone, atol=1e-4)
    assert not list(made.buffers())


@pytest.mark.parametrize(("size", "depth"), [(33, 3), (100, 5), (8, 3)])
def test_convnet_of_any_size_and_depth(size, depth):
    assert network(size=size, depth=depth, width=4)(torch.randn(1, 3, size, size)).shape == (1, 10)


@pytest.mark.parametrize("name", ["resnet18", "vgg11", "alexnet", "densenet121"])
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


@pytest.mark.parametrize("name", PIXEL_NETWORKS)
def test_start_depends_on_the_generator_alone_and_leaves_the_global_one_alone(name):
    torch.manual_seed(1)
    first = FlatParameters(network(name)).values
    drawn = torch.rand(3)
    torch.manual_seed(2)
    assert torch.equal(first, FlatParameters(network(name)).values)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(3))


def test_densenet_is_monais_but_for_the_norm():
    """The same tensors by name and shape, and the same function once group norm is in place of MONAI's batch norm."""
    made, theirs = network("densenet121"), DenseNet121(2, 3, 10)
    assert {name: p.shape for name, p in made.named_parameters()} == {
        name: p.shape for name, p in theirs.named_parameters()
    }
    theirs.load_state_dict(made.state_dict(), strict=False)
    for name, norm in list(theirs.named_modules()):
        if isinstance(norm, torch.nn.BatchNorm2d):
            parent, _, last = name.rpartition(".")
            group = torch.nn.GroupNorm(8, norm.num_features)
            group.load_state_dict({"weight": norm.weight, "bias": norm.bias})
            setattr(theirs.get_submodule(parent), last, group)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(made(images), theirs(images))


def test_every_layer_of_densenet_learns_from_images_of_32_pixels():
    """Where only a pixel is left an instance norm passes no gradient on; groups of channels do."""
    made = network("densenet121", channels=1)
    images = torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(4))
    F.cross_entropy(made(images), torch.tensor([0, 1, 2, 3])).backward()
    assert [name for name, p in made.named_parameters() if not float(p.grad.abs().sum()) > 0] == []


def test_networks_are_named_in_words():
    told = {name: NetworkSpec(NetworkRecipe(name=name, depth=2, width=8), 1, 32, 2).words for name in PIXEL_NETWORKS}
    assert told == {
        "convnet": "ConvNet, depth 2, width 8",
        "resnet18": "ResNet-18",
        "vgg11": "VGG-11",
        "alexnet": "AlexNet",
        "densenet121": "DenseNet-121",
    }


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
    assert largest_activation(made, (3, 32, 32)) == 128 * 32 * 32
    assert micro_batch_size(made, (3, 32, 32)) == 12
    assert micro_batch_size(made, (3, 32, 32), chosen=3) == 3
    assert micro_batch_size(made, (3, 32, 32), whole=5) == micro_batch_size(made, (3, 32, 32), chosen=9, whole=5) == 5
    assert micro_batch_size(network(size=224, depth=3), (3, 224, 224)) == 1
