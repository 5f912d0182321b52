"""Trajectories: the parameters of expert networks after each epoch, readable at random access."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from medistill.artifacts.atomic import private_folder, read_json, write_json, write_tensors
from medistill.artifacts.bfloat16 import LARGEST, RELATIVE_ERROR, from_bfloat16, to_bfloat16
from medistill.artifacts.normalisation import Normalisation
from medistill.artifacts.whitening import Whitening
from medistill.errors import ArtifactError

TRAJECTORIES_SCHEMA = 2

Store = Literal["float32", "bfloat16"]
TYPE_ON_DISK: dict[Store, str] = {"float32": "F32", "bfloat16": "U16"}
"""What safetensors calls the numbers of a store; NumPy has no bfloat16, so its bits lie there as integers."""
ROUNDING: dict[Store, float] = {"float32": 0.0, "bfloat16": RELATIVE_ERROR}
"""Largest relative error that a store adds to a parameter (of at least 2**-126 in size)."""


@dataclass(frozen=True)
class Trajectories:
    """A store of experts.

    Attributes:
        path: its folder, mode 0700 (snapshots encode the patients that they were trained on).
        key: SHA-256 of everything that decides the snapshots.
        count: number of experts.
        epochs: snapshots are numbered 0 (the start) to this one.
        names: parameter tensors in the order in which they lie in a snapshot.
        shapes: their shapes.
        normalisation: what the experts saw.
        store: number format on disk. bfloat16 halves the space, and each value is off by a share of 2**-8 at most.
        made_with: everything that went into the key.
    """

    path: Path
    key: str
    count: int
    epochs: int
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    normalisation: Normalisation
    store: Store
    made_with: Mapping[str, Any] = field(hash=False, repr=False)

    @property
    def parameters(self) -> int:
        """Length P of a snapshot."""
        return sum(int(np.prod(shape)) for shape in self.shapes)

    @property
    def largest_relative_error(self) -> float:
        """What the number format adds to a parameter of at least 2**-126 in size, relative to it."""
        return ROUNDING[self.store]

    def expert_path(self, expert: int) -> Path:
        """File of an expert."""
        return self.path / f"expert_{expert:04d}.safetensors"

    def has(self, expert: int) -> bool:
        """Whether this expert is there and its header, size and key are right; its numbers are checked when read."""
        return self.flaw(expert) is None

    def flaw(self, expert: int) -> str | None:
        """Why this expert has to be trained: its file is missing, damaged or foreign. None where it is there."""
        if not self.expert_path(expert).is_file():
            return "it is missing"
        try:
            with self._rows(expert):
                return None
        except ArtifactError as error:
            return error.seen.rpartition(": ")[2]

    def missing(self) -> list[int]:
        """Experts that are not there, of those from 0 to ``count`` - 1."""
        return [expert for expert in range(self.count) if not self.has(expert)]

    @property
    def bytes(self) -> int:
        """Size on disk of the experts that are there."""
        return sum(file.stat().st_size for file in self.path.glob("expert_*.safetensors"))

    def snapshot(self, expert: int, epoch: int) -> np.ndarray:
        """Parameters (P,) float32 of an expert after ``epoch`` epochs; the file is mapped and only that row is read.

        Raises:
            ArtifactError: missing, damaged, or of another network.
        """
        with self._rows(expert) as (rows, checksums):
            row: np.ndarray = rows[epoch : epoch + 1][0]
            checksum = checksums[epoch]
        if zlib.crc32(row.tobytes()) != checksum:
            raise _damaged(self.expert_path(expert), f"the checksum of snapshot {epoch} does not fit")
        return from_bfloat16(row) if self.store == "bfloat16" else row

    @contextmanager
    def _rows(self, expert: int) -> Iterator[tuple[Any, list[int]]]:
        """The stored rows (epochs + 1, P), read where they are sliced, and their checksums."""
        from safetensors import SafetensorError, safe_open

        path = self.expert_path(expert)
        try:
            with safe_open(str(path), framework="np") as file:
                metadata = file.metadata() or {}
                rows = file.get_slice("snapshots")
                seen = (metadata.get("key"), metadata.get("expert"), rows.get_shape(), rows.get_dtype())
                if seen != (self.key, str(expert), [self.epochs + 1, self.parameters], TYPE_ON_DISK[self.store]):
                    raise _damaged(path, "it belongs to another expert, network, corpus or recipe")
                yield rows, json.loads(metadata["crc32"])
        except (SafetensorError, OSError, ValueError, TypeError, KeyError, IndexError) as error:
            if isinstance(error, ArtifactError):
                raise
            raise _damaged(path, str(error)) from None

    def save_expert(self, expert: int, snapshots: np.ndarray, made_on: Mapping[str, Any] | None = None) -> None:
        """Write the snapshots (epochs + 1, P) float32 of one expert, whole or not at all.

        Args:
            made_on: plain values, kept beside the numbers: what differs between machines and is no part of the key.
        """
        snapshots = np.ascontiguousarray(snapshots, np.float32)
        if snapshots.shape != (self.epochs + 1, self.parameters) or not (np.abs(snapshots) <= LARGEST).all():
            raise _damaged(self.expert_path(expert), "its snapshots are not finite or have another shape")
        rows = to_bfloat16(snapshots) if self.store == "bfloat16" else snapshots
        metadata = {
            "key": self.key,
            "expert": str(expert),
            "crc32": json.dumps([zlib.crc32(row.tobytes()) for row in rows]),
            "made_on": json.dumps(dict(made_on or {}), sort_keys=True),
        }
        write_tensors(self.expert_path(expert), {"snapshots": rows}, metadata, private=True)

    def differences(self, made_with: Mapping[str, Any]) -> list[str]:
        """What sets this store apart from one made with ``made_with``: a text a field, empty where nothing does."""
        seen = _leaves({**self.made_with, "normalisation": self.normalisation.as_json()})
        seen.pop("normalisation.whitening", None)  # fitted once a store; made_with says whether and how
        expected = _leaves(made_with)
        return [
            f"{name}: seen {_short(seen, name)}, expected {_short(expected, name)}"
            for name in {**expected, **seen}
            if seen.get(name, _NOTHING) != expected.get(name, _NOTHING)
        ]


_NOTHING = object()


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of nested mappings by their dotted names, as JSON gives them back."""
    found: dict[str, Any] = {}
    for name, value in json.loads(json.dumps(tree)).items():
        found |= _leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def _short(leaves: Mapping[str, Any], name: str, width: int = 64) -> str:
    text = str(leaves.get(name, "nothing"))
    return text if len(text) <= width else f"{text[:width]}..."


def _damaged(path: Path, why: str) -> ArtifactError:
    return ArtifactError(
        f"trajectory {path} cannot be used: {why}",
        expected="an intact expert of this run",
        do="remove that file and run the same command with --resume; only this expert is trained again",
    )


def _altered(meta: Path, why: str) -> ArtifactError:
    return ArtifactError(
        f"{meta} is damaged ({why})",
        expected="the description of these trajectories",
        do="remove that file and run the same command with --resume; it is written again, and the experts are kept",
    )


def open_trajectories(
    folder: Path, description: dict[str, Any], *, whitening: Callable[[], Whitening] | None = None
) -> Trajectories:
    """Open the store ``folder/<key>`` that ``description`` belongs to, or make an empty one.

    Args:
        folder: where stores lie.
        description: plain values with the keys ``key``, ``count``, ``epochs``, ``names``, ``shapes``,
            ``normalisation``, and with ``store`` (float32 where it is left out) and ``made_with`` (what went into
            the key).
        whitening: fits the one that the experts see, where their normalisation has one. It is called where the store
            has none yet: fitted again, on another machine, it would differ by rounding.

    Raises:
        ArtifactError: what stands there differs from ``description`` (``count`` may), is damaged or of another version.
    """
    path = private_folder(private_folder(folder) / description["key"])
    meta = path / "meta.json"
    whole = {"schema": TRAJECTORIES_SCHEMA, "store": "float32", "made_with": {}, **description}
    whole["largest_relative_error"] = ROUNDING[cast(Store, whole["store"])]
    if not meta.is_file():
        write_json(meta, whole if whitening is None else _with(whitening(), whole, path), private=True)
    store = load_trajectories(path, count=description["count"])
    seen = {**read_json(meta, "trajectories"), "count": None}
    whitened = seen["normalisation"].pop("whitening", None) is not None  # which one: of the process that was last
    if whitened != (whitening is not None) or seen != {**json.loads(json.dumps(whole)), "count": None}:
        raise _altered(meta, "it is not what was written")
    return store


def _with(whitening: Whitening, whole: dict[str, Any], path: Path) -> dict[str, Any]:
    """Put a whitening into a store, and its digest into the store's description."""
    whitening.save(path)
    return {**whole, "normalisation": {**whole["normalisation"], "whitening": whitening.digest}}


def load_trajectories(path: Path, *, count: int | None = None) -> Trajectories:
    """Open a store. ``count`` may differ from the one it was made with: experts are independent.

    Raises:
        ArtifactError: missing, damaged, or written by another version.
    """
    meta = read_json(path / "meta.json", "trajectories")
    if meta.get("schema") != TRAJECTORIES_SCHEMA:
        raise ArtifactError(
            f"trajectories {path} have schema {meta.get('schema')!r}",
            expected=f"schema {TRAJECTORIES_SCHEMA}, which this version of medistill writes",
            do="run `medistill purge`, then the same command again",
        )
    try:
        if meta["key"] != path.name:
            raise ValueError("its key is not the folder's name")
        if meta["store"] not in ROUNDING or not isinstance(meta["made_with"], dict):
            raise ValueError("store or made_with is not what medistill writes")
        return Trajectories(
            path=path,
            key=path.name,
            count=int(meta["count"]) if count is None else count,
            epochs=int(meta["epochs"]),
            names=tuple(meta["names"]),
            shapes=tuple(tuple(int(side) for side in shape) for shape in meta["shapes"]),
            normalisation=Normalisation.from_json(meta["normalisation"], path),
            store=meta["store"],
            made_with=meta["made_with"],
        )
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, ArtifactError):
            raise
        raise _altered(path / "meta.json", str(error)) from None
