"""An encoder on disk: a checked folder of weights and what they are (`medistill.artifacts.weights_folder`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medistill.artifacts.weights_folder import FolderForm, Parts
from medistill.encoders.architectures import Architecture, architecture_named
from medistill.encoders.description import EncoderDescription
from medistill.encoders.encoder import Encoder
from medistill.errors import ArtifactError

FORM = FolderForm(
    noun="encoder",
    kind="medistill encoder",
    schema=1,
    texts=("architecture", "licence", "trained_on", "source"),
    fields=("layers", "image_size", "fixed_size", "mean", "std"),
    do="ask whoever made it for an intact one, or make one (medistill encoder convert)",
)
CENTRE, SCALE = "centre", "scale"
NETWORK = "network."
"""Before the names of the network's own weights."""
SIZES = range(16, 1025)
"""Sides in pixels that an encoder may have been trained on."""


def save_encoder(
    folder: Path,
    description: EncoderDescription,
    weights: Mapping[str, np.ndarray],
    centre: np.ndarray,
    scale: np.ndarray,
) -> str:
    """Write an encoder, readable by its owner alone.

    Args:
        folder: made where it is missing.
        description: what it is.
        weights: float32, of its network by name.
        centre: float32 (D,) subtracted from what the network gives.
        scale: float32 (D,) then divided by.

    Returns:
        SHA-256 of the two files together, by which it is named.

    Raises:
        ArtifactError: no licence, a text that is no line, weights of another network or that are not finite.
    """
    arrays = {CENTRE: centre, SCALE: scale, **{NETWORK + name: array for name, array in weights.items()}}
    FORM.save(folder, description.as_json(), arrays)
    return _checked(folder)[0].sha256


def load_encoder(folder: Path) -> Encoder:
    """Read an encoder and check every part of it. Nothing in it is executed, and it names no other file.

    Returns:
        The encoder on the CPU, frozen, in evaluation mode.

    Raises:
        ArtifactError: a file is missing, damaged, a link or too large; another schema; no licence; an architecture or
            a layer that is not known here; or weights that are not those of the architecture, not finite, or not those
            that the description lists.
    """
    parts, description, architecture = _checked(folder)
    tensors = {name: torch.from_numpy(array.copy()) for name, array in parts.arrays.items()}
    own = {name.removeprefix(NETWORK): one for name, one in tensors.items() if name.startswith(NETWORK)}
    network = architecture.with_weights(description.layers, own)
    return Encoder(description, parts.sha256, network, tensors[CENTRE], tensors[SCALE])


def bring_encoder(folder: Path, into: Path) -> str:
    """Check an encoder and copy it to ``into/SHA256``, whole or not at all.

    Returns:
        SHA-256 of both files, of the very bytes that were checked.

    Raises:
        ArtifactError: as `load_encoder`, or ``into`` cannot be written.
    """
    parts, _, _ = _checked(folder)
    FORM.bring(parts, into)
    return parts.sha256


def _checked(folder: Path) -> tuple[Parts, EncoderDescription, Architecture]:
    described = FORM.known(folder)
    architecture = _architecture(folder, described[1]["architecture"])
    description = _description(folder, described[1], architecture)
    shapes = {
        NETWORK + name: tuple(tensor.shape)
        for name, tensor in architecture.empty(description.layers).state_dict().items()
    }
    shapes |= dict.fromkeys((CENTRE, SCALE), (architecture.width(description.layers),))
    parts = FORM.parts(folder, described, 4 * sum(torch.Size(shape).numel() for shape in shapes.values()))
    FORM.refuse_tensors(folder, parts.arrays, shapes)
    if not (parts.arrays[SCALE] > 0).all():
        raise FORM.unusable(folder, "a scale of a feature is not above 0")
    return parts, description, architecture


def _architecture(folder: Path, name: str) -> Architecture:
    try:
        return architecture_named(name)
    except ArtifactError as error:
        raise ArtifactError(
            f"the {FORM.noun} in {folder} cannot be used: {error.seen}", expected=error.expected, do=error.do
        ) from error


def _description(folder: Path, known: Mapping[str, Any], architecture: Architecture) -> EncoderDescription:
    name, layers = known["architecture"], known["layers"]
    there = list(architecture.channels)
    if not (isinstance(layers, list) and layers and layers == [layer for layer in there if layer in layers]):
        raise FORM.unusable(folder, f"its layers are not some of {', '.join(there)}, in that order")
    for values in (known["mean"], known["std"]):
        if not (isinstance(values, list) and len(values) == 3 and all(_is_number(value) for value in values)):
            raise FORM.unusable(folder, "its mean and std are not three numbers each, between -10 and 10")
    if min(known["std"]) <= 0:
        raise FORM.unusable(folder, "its std is not above 0")
    if (
        type(known["image_size"]) is not int
        or known["image_size"] not in SIZES
        or type(known["fixed_size"]) is not bool
    ):
        raise FORM.unusable(
            folder,
            f"its image_size is not a whole number from {SIZES[0]} to {SIZES[-1]}, or fixed_size not true or false",
        )
    if architecture.only_size and (known["image_size"], known["fixed_size"]) != (architecture.only_size, True):
        raise FORM.unusable(folder, f"its image_size is not {architecture.only_size}, the only one that {name} takes")
    return EncoderDescription(
        architecture=name,
        licence=known["licence"],
        trained_on=known["trained_on"],
        source=known["source"],
        layers=tuple(layers),
        image_size=known["image_size"],
        fixed_size=known["fixed_size"],
        mean=tuple(known["mean"]),
        std=tuple(known["std"]),
    )


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and -10 <= value <= 10  # type: ignore[operator]
