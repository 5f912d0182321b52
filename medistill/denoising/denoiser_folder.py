"""A denoiser on disk: one format for those that were trained here and for those that a user brings."""

from __future__ import annotations

from pathlib import Path

import torch

from medistill.artifacts.weights_folder import FolderForm, Parts
from medistill.denoising.denoiser import Architecture, Denoiser, state_of
from medistill.errors import ArtifactError

NETWORK = "UNet"
FORM = FolderForm(
    noun="denoiser",
    kind="medistill denoiser",
    schema=1,
    texts=("network", "licence", "trained_on"),
    fields=("architecture",),
    do="ask whoever made it for an intact one, or leave --denoiser out: one is trained on the corpus",
)
DESCRIPTION = FORM.description


def save(folder: Path, denoiser: Denoiser, licence: str, trained_on: str) -> str:
    """Write a denoiser, readable by its owner alone; `DESCRIPTION` comes last.

    Args:
        folder: made where it is missing.
        denoiser: what to write.
        licence: under which others may use it, in one line, as "CC-BY-4.0".
        trained_on: what it was trained on, in one line, for whoever brings it.

    Returns:
        SHA-256 of the two files together, as `load` gives it.

    Raises:
        ArtifactError: no licence, a text that is no line, or weights that are not finite.
    """
    described = {
        "network": NETWORK,
        "architecture": denoiser.architecture.as_json(),
        "licence": licence,
        "trained_on": trained_on,
    }
    FORM.save(folder, described, state_of(denoiser))
    return _checked(folder)[0].sha256


def load(folder: Path) -> tuple[Denoiser, str, str]:
    """Read a denoiser and check every part of it. Nothing in it is executed, and it names no other file.

    Returns:
        The denoiser on the CPU, its licence, and the SHA-256 of both files.

    Raises:
        ArtifactError: a file is missing, damaged, a link or too large; another schema; no licence; or weights that are
            not those of the architecture, not finite, or not those that the description lists.
    """
    found, architecture = _checked(folder)
    weights = {name: torch.from_numpy(array.copy()) for name, array in found.arrays.items()}
    return Denoiser.of_weights(architecture, weights), found.known["licence"], found.sha256


def bring(folder: Path, into: Path) -> str:
    """Check a denoiser and copy it to ``into/SHA256``, whole or not at all, readable by its owner alone.

    Returns:
        SHA-256 of both files, of the very bytes that were checked.

    Raises:
        ArtifactError: as `load`, or ``into`` cannot be written.
    """
    found, _ = _checked(folder)
    FORM.bring(found, into)
    return found.sha256


def _checked(folder: Path) -> tuple[Parts, Architecture]:
    described = FORM.known(folder)
    known = described[1]
    if known["network"] != NETWORK:
        raise FORM.unusable(folder, f"it has the network {known['network'][:64]!r}")
    try:
        architecture = Architecture.from_json(known["architecture"])
    except ArtifactError as error:
        raise FORM.unusable(folder, f"{error.seen} ({error.expected})") from None
    shapes = {name: tuple(tensor.shape) for name, tensor in architecture.empty_network().state_dict().items()}
    parts = FORM.parts(folder, described, 4 * sum(torch.Size(shape).numel() for shape in shapes.values()))
    FORM.refuse_tensors(folder, parts.arrays, shapes)
    return parts, architecture
