"""Trajectories: the parameters of expert networks after each epoch, readable at random access."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medistill.artifacts.atomic import private_folder, read_json, write_json, write_tensors
from medistill.artifacts.normalisation import Normalisation
from medistill.errors import ArtifactError

TRAJECTORIES_SCHEMA = 1


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
    """

    path: Path
    key: str
    count: int
    epochs: int
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    normalisation: Normalisation

    @property
    def parameters(self) -> int:
        """Length P of a snapshot."""
        return sum(int(np.prod(shape)) for shape in self.shapes)

    def expert_path(self, expert: int) -> Path:
        """File of an expert."""
        return self.path / f"expert_{expert:04d}.safetensors"

    def has(self, expert: int) -> bool:
        """Whether this expert is there, whole."""
        return self.expert_path(expert).is_file()

    def snapshot(self, expert: int, epoch: int) -> np.ndarray:
        """Parameters (P,) float32 of an expert after ``epoch`` epochs; only that row is read.

        Raises:
            ArtifactError: missing, damaged, or of another network.
        """
        from safetensors import SafetensorError, safe_open

        path = self.expert_path(expert)
        try:
            with safe_open(str(path), framework="np") as file:
                metadata = file.metadata() or {}
                rows = file.get_slice("snapshots")
                belongs = metadata.get("key") == self.key and metadata.get("expert") == str(expert)
                if not belongs or rows.get_shape() != [self.epochs + 1, self.parameters] or rows.get_dtype() != "F32":
                    raise _damaged(path, "it belongs to another expert, network, corpus or recipe")
                row: np.ndarray = rows[epoch : epoch + 1][0]
                checksum = json.loads(metadata["crc32"])[epoch]
        except (SafetensorError, OSError, ValueError, TypeError, KeyError, IndexError) as error:
            if isinstance(error, ArtifactError):
                raise
            raise _damaged(path, str(error)) from None
        if zlib.crc32(row.tobytes()) != checksum:
            raise _damaged(path, f"the checksum of snapshot {epoch} does not fit")
        return row

    def save_expert(self, expert: int, snapshots: np.ndarray) -> None:
        """Write the snapshots (epochs + 1, P) float32 of one expert, whole or not at all."""
        snapshots = np.ascontiguousarray(snapshots, np.float32)
        if snapshots.shape != (self.epochs + 1, self.parameters) or not np.isfinite(snapshots).all():
            raise _damaged(self.expert_path(expert), "its snapshots are not finite or have another shape")
        checksums = [zlib.crc32(row.tobytes()) for row in snapshots]
        metadata = {"key": self.key, "expert": str(expert), "crc32": json.dumps(checksums)}
        write_tensors(self.expert_path(expert), {"snapshots": snapshots}, metadata, private=True)


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


def open_trajectories(folder: Path, description: dict[str, Any]) -> Trajectories:
    """Open the store ``folder/<key>`` that ``description`` belongs to, or make an empty one.

    Args:
        folder: where stores lie.
        description: plain values with the keys ``key``, ``count``, ``epochs``, ``names``, ``shapes``,
            ``normalisation``; whatever else it holds is kept for people to read.

    Raises:
        ArtifactError: what stands there differs from ``description`` (``count`` may), is damaged or of another version.
    """
    path = private_folder(private_folder(folder) / description["key"])
    meta = path / "meta.json"
    whole = {"schema": TRAJECTORIES_SCHEMA, **description}
    if not meta.is_file():
        write_json(meta, whole, private=True)
    store = load_trajectories(path, count=description["count"])
    if {**read_json(meta, "trajectories"), "count": None} != {**json.loads(json.dumps(whole)), "count": None}:
        raise _altered(meta, "it is not what was written")
    return store


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
        return Trajectories(
            path=path,
            key=path.name,
            count=int(meta["count"]) if count is None else count,
            epochs=int(meta["epochs"]),
            names=tuple(meta["names"]),
            shapes=tuple(tuple(int(side) for side in shape) for shape in meta["shapes"]),
            normalisation=Normalisation.from_json(meta["normalisation"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _altered(path / "meta.json", str(error)) from None
