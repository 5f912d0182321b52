"""A folder of weights: a description in JSON beside one safetensors file, checked whole, with nothing in it that runs.

Encoder-decoders and encoders come in such folders, from here and from outside.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medistill.artifacts.atomic import (
    parse_json,
    private_folder,
    sha256_file,
    write_bytes,
    write_json,
    write_tensors,
)
from medistill.artifacts.new_folder import new_folder
from medistill.errors import ArtifactError

WEIGHTS = "weights.safetensors"
WEIGHTS_SHA256 = "weights_sha256"
LICENCE = "licence"
LONGEST = 2000
"""Most characters of a text."""
ROOM = 2**20
"""Most bytes of the description, and of the header of `WEIGHTS`."""


@dataclass(frozen=True)
class Parts:
    """The bytes of both files, and what they say.

    Attributes:
        description: of the JSON file.
        weights: of the safetensors file.
        known: the description's fields.
        arrays: the tensors by name.
    """

    description: bytes = field(repr=False)
    weights: bytes = field(repr=False)
    known: dict[str, Any]
    arrays: dict[str, np.ndarray] = field(repr=False)

    @property
    def sha256(self) -> str:
        """Of the two files together: what the thing is named by."""
        digest = hashlib.sha256(self.description)
        digest.update(self.weights)
        return digest.hexdigest()


@dataclass(frozen=True)
class FolderForm:
    """What a kind of folder holds.

    Attributes:
        noun: what it is, as "decoder".
        kind: what its description calls it, as "medistill autoencoder".
        schema: of its description.
        texts: fields of the description that are one line each, the licence among them.
        fields: its other fields, beside schema, kind and the hash of the weights.
        do: what to do where one cannot be used.
    """

    noun: str
    kind: str
    schema: int
    texts: tuple[str, ...]
    fields: tuple[str, ...]
    do: str

    @property
    def description(self) -> str:
        """Name of the JSON file."""
        return f"{self.noun}.json"

    def unusable(self, folder: Path, why: str) -> ArtifactError:
        """Return what is raised where a folder cannot be used."""
        return ArtifactError(
            f"the {self.noun} in {folder} cannot be used: {why}",
            expected=f"a folder with {self.description} and {WEIGHTS} as docs/formats.md describes them, licence "
            "included",
            do=self.do,
        )

    def save(self, folder: Path, known: Mapping[str, Any], weights: Mapping[str, np.ndarray]) -> None:
        """Write a folder, readable by its owner alone; the description comes last.

        Args:
            folder: made where it is missing.
            known: the fields of the description beside schema, kind and hash.
            weights: by name.

        Raises:
            ArtifactError: no licence, a text that is no line, or weights that are not finite.
        """
        self._refuse_texts(folder, known)
        for name, array in weights.items():
            if flaw := flaw_of_tensor(name, array, array.shape):
                raise self.unusable(folder, flaw)
        private_folder(folder)
        write_tensors(folder / WEIGHTS, weights, private=True)
        told = {"schema": self.schema, "kind": self.kind, **known, WEIGHTS_SHA256: sha256_file(folder / WEIGHTS)}
        write_json(folder / self.description, told, private=True)

    def known(self, folder: Path) -> tuple[bytes, dict[str, Any]]:
        """Return the description, its bytes and its fields, before the weights are read.

        Raises:
            ArtifactError: it is missing, damaged, a link or too large; another schema or kind; no licence; or it holds
                what such a description has not.
        """
        if not folder.is_dir():
            raise self.unusable(folder, "it is no folder" if folder.exists() else "there is no such folder")
        content = self._bytes(folder, self.description, ROOM)
        known = parse_json(content, folder / self.description, self.noun)
        if known.get("schema") != self.schema:
            raise self.unusable(folder, f"its schema is {str(known.get('schema'))[:64]!r}, not {self.schema}")
        if LICENCE not in known:
            raise self.unusable(folder, "it states no licence")
        expected = ("schema", "kind", *self.fields, *self.texts, WEIGHTS_SHA256)
        if missing := [name for name in expected if name not in known]:
            raise self.unusable(folder, f"it has no {missing[0]}")
        if set(known) != set(expected):
            raise self.unusable(folder, "it holds what no such description has")
        self._refuse_texts(folder, known)
        if known["kind"] != self.kind:
            raise self.unusable(folder, f"it is of the kind {str(known['kind'])[:64]!r}")
        return content, known

    def parts(self, folder: Path, described: tuple[bytes, dict[str, Any]], most: int) -> Parts:
        """Return both files, checked against each other; what the weights must be is for the caller to say.

        Args:
            folder: where they lie.
            described: as `known` gave it.
            most: bytes that the tensors can have.

        Raises:
            ArtifactError: the weights are missing, damaged, a link, too large, or not those of the description.
        """
        content, known = described
        weights = self._bytes(folder, WEIGHTS, most + ROOM)
        if hashlib.sha256(weights).hexdigest() != known[WEIGHTS_SHA256]:
            raise self.unusable(folder, f"{WEIGHTS} is not the one that {self.description} lists")
        return Parts(content, weights, known, self._arrays(folder, weights))

    def refuse_tensors(
        self, folder: Path, arrays: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]
    ) -> None:
        """Refuse weights that are not finite float32 of these names and shapes.

        Raises:
            ArtifactError: they are not.
        """
        if odd := sorted(set(arrays) ^ set(shapes)):
            raise self.unusable(
                folder, f"its weights and its architecture do not fit: {odd[0][:64]!r} is in one of them alone"
            )
        for name, shape in shapes.items():
            if flaw := flaw_of_tensor(name, arrays[name], shape):
                raise self.unusable(folder, flaw)

    def bring(self, parts: Parts, into: Path) -> None:
        """Copy the very bytes that were checked to ``into/SHA256``, whole or not at all, readable by its owner alone.

        Raises:
            ArtifactError: ``into`` cannot be written.
        """
        private_folder(into)
        with new_folder(into / parts.sha256) as copy:
            private_folder(copy)
            for name, content in ((WEIGHTS, parts.weights), (self.description, parts.description)):
                write_bytes(copy / name, content, private=True)

    def _refuse_texts(self, folder: Path, known: Mapping[str, Any]) -> None:
        for name in self.texts:
            text = known[name]
            if name == LICENCE and not (isinstance(text, str) and text.strip()):
                raise self.unusable(folder, "it states no licence")
            if not isinstance(text, str) or not text.isprintable() or len(text) > LONGEST:
                raise self.unusable(folder, f"{name} is not one line of at most {LONGEST} characters")

    def _bytes(self, folder: Path, name: str, most: int) -> bytes:
        """A file's content; it must lie in the folder itself, and be no longer than ``most`` bytes."""
        path = folder / name
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise self.unusable(folder, f"{name} is a link or no plain file")
        try:
            with path.open("rb") as file:
                content = file.read(most + 1)
        except OSError as error:
            missing = isinstance(error, FileNotFoundError | NotADirectoryError)
            why = f"{name} {'is missing' if missing else f'cannot be read ({error.strerror})'}"
            raise self.unusable(folder, why) from None
        if len(content) > most:
            raise self.unusable(folder, f"{name} is larger than what it should hold ({most} bytes)")
        return content

    def _arrays(self, folder: Path, weights: bytes) -> dict[str, np.ndarray]:
        from safetensors import SafetensorError
        from safetensors.numpy import load as parse

        try:
            return dict(parse(weights))
        except (SafetensorError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise self.unusable(folder, f"{WEIGHTS} is damaged ({error})") from None


def flaw_of_tensor(name: str, array: np.ndarray, shape: tuple[int, ...]) -> str:
    """Say what is wrong with weights that should be finite float32 of a shape; "" where nothing is."""
    if array.shape != shape or array.dtype != np.float32:
        return f"its weights {name} are {array.dtype} of {array.shape}, not float32 of {shape}"
    return "" if np.isfinite(array).all() else f"its weights {name} hold NaN or infinite values"
