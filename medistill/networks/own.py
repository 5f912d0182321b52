"""A network that a user brings: how its fresh parameters are drawn, and what it must keep to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from medistill.errors import UsageError

NetworkFactory = Callable[[int, int, int], nn.Module]
"""(channels, image size in pixels, classes) -> a network that maps (N, C, H, W) to logits (N, classes)."""

TRIED = 3
"""Images in the batch that a new network is tried on."""


def build_own(
    factory: NetworkFactory, channels: int, image_size: int, classes: int, generator: torch.Generator
) -> nn.Module:
    """Call a factory so that the parameters it draws come from ``generator``, and check the network on random images.

    PyTorch's global CPU generator is seeded for the call and put back afterwards; what a factory draws elsewhere
    (NumPy, a GPU) is its own affair.

    Raises:
        UsageError: the network cannot be trained by parameters alone, image by image, to the same result every time.
    """
    seed = int(torch.randint(2**62, (), generator=generator))
    images = torch.randn(TRIED, channels, image_size, image_size, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(seed)
        network = factory(channels, image_size, classes)
        if not isinstance(network, nn.Module):
            raise _refused(factory, f"made {type(network).__name__}", "a torch.nn.Module", "return the network itself")
        network.train()
        _refuse_layers(factory, network)
        try:
            logits, again, alone = network(images), network(images), network(images[:1])
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            raise _refused(
                factory,
                f"cannot take images of shape {tuple(images.shape)} ({error})",
                "logits for a batch of any size",
                "build it for the channels and the image size that the factory is given",
            ) from None
    if not isinstance(logits, Tensor) or logits.shape != (TRIED, classes):
        seen = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise _refused(
            factory,
            f"gives {seen} for {TRIED} images",
            f"logits of shape {(TRIED, classes)}",
            "end it in one linear layer",
        )
    if not all(parameter.dtype == torch.float32 for parameter in network.parameters()):
        raise _refused(factory, "has parameters that are not float32", "float32", "call .float() on it")
    if not torch.equal(logits, again):
        raise _refused(
            factory,
            "answers the same images differently each time",
            "a step that can be replayed",
            "leave out dropout and whatever else draws random numbers in the forward pass",
        )
    if not torch.allclose(logits[:1], alone, rtol=1e-3, atol=1e-4):
        raise _refused(
            factory,
            "answers an image differently in another batch",
            "no statistics of batches, through which one patient would also change what is learned from another",
            "take nn.GroupNorm in place of batch norm",
        )
    return network


def identity(factory: NetworkFactory, network: nn.Module) -> dict[str, Any]:
    """What tells this network from others: the factory's name, the layers as they print, and the parameters' shapes.

    A change inside a ``forward`` that leaves all three alone is not seen: name the factory anew.
    """
    return {
        "factory": factory_name(factory),
        "layers": str(network),
        "parameters": {name: list(parameter.shape) for name, parameter in network.named_parameters()},
    }


def factory_name(factory: NetworkFactory) -> str:
    """Module and qualified name of a factory, or of the class of a callable object."""
    named = factory if hasattr(factory, "__qualname__") else type(factory)
    return f"{named.__module__}.{named.__qualname__}"


def _refuse_layers(factory: NetworkFactory, network: nn.Module) -> None:
    buffers = [name for name, _ in network.named_buffers()]
    if buffers:
        raise _refused(
            factory,
            f"keeps buffers ({', '.join(buffers[:3])}), as batch norm does",
            "parameters alone: a snapshot holds nothing else, and what a buffer learns of patients no noise would hide",
            "take nn.GroupNorm in place of batch norm, and make a constant part of the code",
        )
    for name, module in network.named_modules():
        if isinstance(module, nn.modules.dropout._DropoutNd | nn.RReLU) and getattr(module, "p", 1) > 0:
            raise _refused(
                factory,
                f"draws random numbers in training ({name}: {type(module).__name__})",
                "a step that can be replayed",
                "leave that layer out",
            )
    if next(network.parameters(), None) is None:
        raise _refused(factory, "has no parameters", "something to train", "give it layers")


def _refused(factory: NetworkFactory, seen: str, expected: str, do: str) -> UsageError:
    return UsageError(f"the network of {factory_name(factory)} {seen}", expected=expected, do=do)
