"""The features of an image: the numbers by which a network's last layer decides."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call


def features(
    network: nn.Module, images: Float[Tensor, "N C H W"], parameters: Mapping[str, Tensor] | None = None
) -> Float[Tensor, "N F"]:
    """Return the input of the network's last linear layer, through which gradients flow.

    The last is the one that is called last. Of a network without any, as one of the user's own can be, the logits.

    Args:
        network: any, with its own parameters or with ``parameters`` in their place.
        images: normalised.
        parameters: by name; None takes the network's own.
    """
    seen: list[Tensor] = []
    hooks = [
        module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        for module in network.modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        logits = network(images) if parameters is None else functional_call(network, dict(parameters), (images,))
    finally:
        for hook in hooks:
            hook.remove()
    return (seen[-1] if seen else logits).flatten(1)


@torch.no_grad()
def last_layer(network: nn.Module, images: Float[Tensor, "N C H W"]) -> tuple[str, nn.Linear | None]:
    """Return the linear layer that is called last, by its name; "" and None of a network without any."""
    called: list[tuple[str, nn.Linear]] = []
    hooks = [
        module.register_forward_pre_hook(lambda one, _, name=name: called.append((name, one)))
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        network(images)
    finally:
        for hook in hooks:
            hook.remove()
    return called[-1] if called else ("", None)
