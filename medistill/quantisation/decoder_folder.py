"""An encoder-decoder on disk: one format for those that were trained here and for those that a user brings."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medistill.artifacts.atomic import (
    parse_json,
    private_folder,
    sha256_file,
    write_atomically,
    write_json,
    write_tensors,
)
from medistill.artifacts.new_folder import new_folder
from medistill.errors import ArtifactError
from medistill.quantisation.autoencoder import Architecture, Autoencoder, state_of

DECODER_SCHEMA = 1
KIND, NETWORK = "medistill autoencoder", "AutoencoderKL"
DESCRIPTION, WEIGHTS = "decoder.json", "weights.safetensors"
TEXTS = ("kind", "network", "licence", "trained_on", "weights_sha256")
LONGEST = 2000
"""Most characters of a text."""
ROOM = 2**20
"""Most bytes of `DESCRIPTION`, and of the header of `WEIGHTS`."""


def save(folder: Path, autoencoder: Autoencoder, licence: str, trained_on: str) -> str:
    """Write an autoencoder, readable by its owner alone; `DESCRIPTION` comes last.

    Args:
        licence: under which others may use it, in one line, as "CC-BY-4.0".
        trained_on: what it was trained on, in one line, for whoever brings it.

    Returns:
        SHA-256 of the two files together, as `load` gives it.

    Raises:
        ArtifactError: no licence, a text that is no line, or weights that are not finite.
    """
    for name, text in (("licence", licence), ("trained_on", trained_on)):
        if flaw := _flaw_of_line(name, text):
            raise _unusable(folder, flaw)
    weights = state_of(autoencoder)
    if flaw := _flaw_of_weights(autoencoder.architecture, weights):
        raise _unusable(folder, flaw)
    private_folder(folder)
    write_tensors(folder / WEIGHTS, weights, private=True)
    description = {
        "schema": DECODER_SCHEMA,
        "kind": KIND,
        "network": NETWORK,
        "architecture": autoencoder.architecture.as_json(),
        "licence": licence,
        "trained_on": trained_on,
        "weights_sha256": sha256_file(folder / WEIGHTS),
    }
    write_json(folder / DESCRIPTION, description, private=True)
    return _checked(folder).sha256


def load(folder: Path) -> tuple[Autoencoder, str, str]:
    """Read an autoencoder and check every part of it. Nothing in it is executed, and it names no other file.

    Returns:
        The autoencoder on the CPU, its licence, and the SHA-256 of both files.

    Raises:
        ArtifactError: a file is missing, damaged, a link or too large; another schema; no licence; or weights that are
            not those of the architecture, not finite, or not those that the description lists.
    """
    found = _checked(folder)
    weights = {name: torch.from_numpy(array.copy()) for name, array in found.arrays.items()}
    return Autoencoder.of_weights(found.architecture, weights), found.licence, found.sha256


def bring(folder: Path, into: Path) -> str:
    """Check an encoder-decoder and copy it to ``into/SHA256``, whole or not at all, readable by its owner alone.

    Returns:
        SHA-256 of both files, of the very bytes that were checked.

    Raises:
        ArtifactError: as `load`, or ``into`` cannot be written.
    """
    found = _checked(folder)
    private_folder(into)
    with new_folder(into / found.sha256) as copy:
        private_folder(copy)
        for name, content in ((WEIGHTS, found.weights), (DESCRIPTION, found.description)):
            write_atomically(copy / name, partial(_put, content), private=True)
    return found.sha256


@dataclass(frozen=True)
class _Checked:
    """The bytes of both files, and what they say."""

    description: bytes = field(repr=False)
    weights: bytes = field(repr=False)
    architecture: Architecture
    licence: str
    arrays: dict[str, np.ndarray] = field(repr=False)

    @property
    def sha256(self) -> str:
        digest = hashlib.sha256(self.description)
        digest.update(self.weights)
        return digest.hexdigest()


def _checked(folder: Path) -> _Checked:
    if not folder.is_dir():
        raise _unusable(folder, "it is no folder" if folder.exists() else "there is no such folder")
    description = _bytes(folder, DESCRIPTION, ROOM)
    known = parse_json(description, folder / DESCRIPTION, "decoder")
    if known.get("schema") != DECODER_SCHEMA:
        raise _unusable(folder, f"its schema is {str(known.get('schema'))[:64]!r}, not {DECODER_SCHEMA}")
    if set(known) != {"schema", "architecture", *TEXTS}:
        raise _unusable(folder, _parts(known))
    for name in TEXTS:
        if flaw := _flaw_of_line(name, known[name]):
            raise _unusable(folder, flaw)
    if (known["kind"], known["network"]) != (KIND, NETWORK):
        raise _unusable(folder, f"it is of the kind {known['kind'][:64]!r} with the network {known['network'][:64]!r}")
    try:
        architecture = Architecture.from_json(known["architecture"])
    except ArtifactError as error:
        raise _unusable(folder, f"{error.seen} ({error.expected})") from None
    weights = _bytes(folder, WEIGHTS, _room(architecture))
    if hashlib.sha256(weights).hexdigest() != known["weights_sha256"]:
        raise _unusable(folder, f"{WEIGHTS} is not the one that {DESCRIPTION} lists")
    arrays = _arrays(folder, weights)
    if flaw := _flaw_of_weights(architecture, arrays):
        raise _unusable(folder, flaw)
    return _Checked(description, weights, architecture, known["licence"], arrays)


def _bytes(folder: Path, name: str, most: int) -> bytes:
    """A file's content; it must lie in the folder itself, and be no longer than ``most`` bytes."""
    path = folder / name
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise _unusable(folder, f"{name} is a link or no plain file")
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        raise _unusable(folder, f"{name} {'is missing' if missing else f'cannot be read ({error.strerror})'}") from None
    if len(content) > most:
        raise _unusable(folder, f"{name} is larger than what it should hold ({most} bytes)")
    return content


def _room(architecture: Architecture) -> int:
    """Most bytes of the weights' file."""
    return 4 * sum(tensor.numel() for tensor in architecture.empty_network().state_dict().values()) + ROOM


def _arrays(folder: Path, weights: bytes) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load as parse

    try:
        return dict(parse(weights))
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise _unusable(folder, f"{WEIGHTS} is damaged ({error})") from None


def _flaw_of_weights(architecture: Architecture, arrays: dict[str, np.ndarray]) -> str:
    expected = {name: tuple(tensor.shape) for name, tensor in architecture.empty_network().state_dict().items()}
    if odd := sorted(set(arrays) ^ set(expected)):
        return f"its weights and its architecture do not fit: {odd[0][:64]!r} is in one of them alone"
    for name, shape in expected.items():
        array = arrays[name]
        if array.shape != shape or array.dtype != np.float32:
            return f"its weights {name} are {array.dtype} of {array.shape}, not float32 of {shape}"
        if not np.isfinite(array).all():
            return f"its weights {name} hold NaN or infinite values"
    return ""


def _flaw_of_line(name: str, text: object) -> str:
    if name == "licence" and not (isinstance(text, str) and text.strip()):
        return "it states no licence"
    if not isinstance(text, str) or not text.isprintable() or len(text) > LONGEST:
        return f"{name} is not one line of at most {LONGEST} characters"
    return ""


def _parts(known: dict[str, Any]) -> str:
    missing = [name for name in ("architecture", *TEXTS) if name not in known]
    if "licence" in missing:
        return "it states no licence"
    return f"it has no {missing[0]}" if missing else "it holds what a decoder has not"


def _put(content: bytes, file: Path) -> None:
    file.write_bytes(content)


def _unusable(folder: Path, why: str) -> ArtifactError:
    return ArtifactError(
        f"the decoder in {folder} cannot be used: {why}",
        expected=f"a folder with {DESCRIPTION} and {WEIGHTS} as docs/formats.md describes them, licence included",
        do="ask whoever made it for an intact one, or make one (docs/api-tour.md, An encoder-decoder for others)",
    )
