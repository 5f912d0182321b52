"""Networks of timm (extra ``encoders``), by names of its own list, with weights that the user has: none is fetched."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from medistill.encoders.architectures import Architecture
from medistill.errors import ArtifactError, UsageError

if TYPE_CHECKING:
    from types import ModuleType

PREFIX = "timm:"
"""Before the names of timm in the description of an encoder."""
POOLED = "pooled"
"""The one layer: what timm's own classifier would see."""
SMALLEST = 32
"""Side in pixels below which networks with five halvings see nothing; timm says it of few."""
CLASSES = 25_000
"""Outputs that a classifier in a file of weights may have: ImageNet-22k has 21,841."""


def timm_architecture(name: str) -> Architecture:
    """Return a network of timm without its classifier, in evaluation mode, which pools what it sees.

    Args:
        name: of timm's list, with or without a tag of its weights, as ``resnet18`` or ``resnet18.a1_in1k``.

    Raises:
        ArtifactError: timm cannot be used, its list has no such name, or that network does not see each image by
            itself.
    """
    _refuse_unknown(name)
    return _architecture(name)


@lru_cache(maxsize=8)
def _architecture(name: str) -> Architecture:
    with torch.device("meta"):
        network = _build(name)
    settings = network.pretrained_cfg
    size = _size(settings)
    with torch.device("meta"), torch.no_grad():
        seen = network(torch.empty(2, 3, size, size))
    if seen.ndim != 2:
        raise ArtifactError(
            f"timm's {name} gives an array of {seen.ndim} dimensions",
            expected="a network that gives a row of features an image",
            do="choose another one",
        )
    fixed = bool(settings.get("fixed_input_size"))
    smallest = 1 if fixed else (settings.get("min_input_size") or (3, SMALLEST, SMALLEST))[-1]
    return Architecture(
        f"timm's {name}",
        lambda layers: _build(name),
        {POOLED: seen.shape[1]},
        smallest,
        only_size=size if fixed else 0,
        computes_buffers=True,
    )


def timm_input(name: str) -> tuple[int, tuple[float, float, float], tuple[float, float, float]]:
    """Side in pixels, mean and std of the images that timm says the weights of this name were trained on.

    Raises:
        ArtifactError: as `timm_architecture`.
    """
    _refuse_unknown(name)
    with torch.device("meta"):
        settings = _build(name).pretrained_cfg
    return _size(settings), tuple(settings["mean"]), tuple(settings["std"])


def timm_licence(name: str) -> str:
    """The licence that timm's list gives for the weights of this name; "" where it gives none."""
    settings = _timm().get_pretrained_cfg(name, allow_unregistered=True)
    return str(getattr(settings, "license", None) or "")


def timm_weights(name: str, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return those of a file's weights that the network without its classifier has, as float32.

    Args:
        name: as `timm_architecture` takes it.
        found: the weights in the file, by name.

    Raises:
        ArtifactError: weights are missing, of another shape, or of no part of this network.
    """
    with torch.device("meta"):
        network = _build(name)
    wanted = network.state_dict()
    classifier = network.pretrained_cfg.get("classifier") or ()
    beside = tuple(f"{one}." for one in ([classifier] if isinstance(classifier, str) else classifier))
    computed = {name for name, _ in network.named_buffers()} - set(wanted)
    unknown = [
        key
        for key in found
        if not (key in wanted or key in computed or key.startswith(beside) or key.endswith(".num_batches_tracked"))
    ]
    missing = [key for key in wanted if key not in found]
    other = [key for key in wanted if key in found and found[key].shape != wanted[key].shape]
    if missing or unknown or other:
        what = (
            f"{len(missing)} weights are missing, the first is {missing[0]}"
            if missing
            else f"it has weights of another network, the first is {unknown[0][:64]!r}"
            if unknown
            else f"its weights {other[0]} are of {tuple(found[other[0]].shape)}, not {tuple(wanted[other[0]].shape)}"
        )
        raise ArtifactError(
            f"the weights are not those of timm's {name}: {what}",
            expected="a file with the weights of that network under timm's names, with or without its classifier",
            do="name the network that they were trained in (--timm NAME)",
        )
    return {key: found[key].float() for key in wanted}


def most_bytes(name: str) -> int:
    """Bytes that the weights of a network may have, with a large classifier."""
    architecture = timm_architecture(name)
    with torch.device("meta"):
        held = sum(tensor.numel() for tensor in _build(name).state_dict().values())
    return 4 * (held + CLASSES * architecture.channels[POOLED])


def final_statistics(name: str, weights: Mapping[str, Tensor]) -> tuple[np.ndarray, np.ndarray] | None:
    """Centre and scale of features that a layer norm gives, float32 (D,) each; None where none does.

    A layer norm gives numbers of mean 0 and deviation 1 over the features of an image, which its weight and bias then
    scale and shift. All features have one scale: the root of the weights' mean square.
    """
    width = timm_architecture(name).channels[POOLED]
    with torch.device("meta"):
        norms = {at: module for at, module in _build(name).named_modules() if isinstance(module, nn.LayerNorm)}
    for at in ("fc_norm", "norm", "head.norm"):
        if at in norms and f"{at}.weight" in weights and norms[at].normalized_shape == (width,):
            scale = float(weights[f"{at}.weight"].double().square().mean().sqrt())
            if scale > 0:
                bias = weights.get(f"{at}.bias", torch.zeros(width))
                return bias.float().numpy(), np.full(width, scale, np.float32)
    return None


def _size(settings: Mapping[str, Any]) -> int:
    return int(settings["input_size"][-1])


def _build(name: str) -> Any:
    """The network, its weights drawn, in evaluation mode; its batch norms keep their statistics, and count nothing.

    Raises:
        ArtifactError: a batch norm has no statistics of its own, so that an image would be seen beside others.
    """
    network = _timm().create_model(name, pretrained=False, num_classes=0).eval()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            if module.running_mean is None:
                raise ArtifactError(
                    f"timm's {name} has a batch norm without statistics of its own",
                    expected="a network that sees every image by itself",
                    do="choose another one",
                )
            module.num_batches_tracked = None
    return network


def _refuse_unknown(name: str) -> None:
    names, tagged = _names()
    if name not in names and name not in tagged:
        raise UsageError(
            f"timm has no network {name[:64]!r}",
            expected="a name of timm.list_models(), as resnet18, or with the tag of its weights, as resnet18.a1_in1k",
            do="choose one of those",
        )


@lru_cache(maxsize=1)
def _names() -> tuple[frozenset[str], frozenset[str]]:
    """Names of timm's networks, and the same with the tags of their weights; neither list is fetched."""
    timm = _timm()
    return frozenset(timm.list_models()), frozenset(timm.list_models(pretrained=True))


def _timm() -> ModuleType:
    """The package.

    Raises:
        ArtifactError: it is not installed, or does not fit the PyTorch that is.
    """
    try:
        import timm
    except (ImportError, RuntimeError) as error:  # torchvision, which it needs, ends so beside another build of torch
        raise ArtifactError(
            f"timm cannot be used here ({type(error).__name__}: {str(error)[:200]})",
            expected="the extra medistill[encoders]: timm, and a torchvision that fits the installed torch",
            do="pip install 'medistill[encoders]' (with a torch for processors add --extra-index-url "
            "https://download.pytorch.org/whl/cpu, so that torchvision is of the same kind)",
        ) from error
    return timm
