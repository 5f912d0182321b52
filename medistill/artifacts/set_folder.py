"""The folder of a distilled set: its manifest, and the files that the manifest names by their hashes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medistill.artifacts.atomic import deeper_than, read_json, read_tensors, sha256_file
from medistill.artifacts.class_statistics import FILE as STATISTICS
from medistill.artifacts.class_statistics import MOST_BYTES, ClassStatistics
from medistill.artifacts.field_kinds import DEEPEST
from medistill.errors import ArtifactError

SET_SCHEMA, NEW_SCHEMA, TARGETS_SCHEMA = 2, 3, 4
"""What is written: the second where labels are values or images are cut into tiles, the last where labels are target
vectors, so that no earlier version trains on classes in their place, or on images uncut."""
READABLE = (1, SET_SCHEMA, NEW_SCHEMA, TARGETS_SCHEMA)
"""Schemas that can be read. A set of schema 1 has no soft labels and no whitening, one of 1 or 2 neither label values
nor tiles, one of 1 to 3 no target vectors; else they are alike."""
SINCE = {"label_values": NEW_SCHEMA, "tiles": NEW_SCHEMA, "targets": TARGETS_SCHEMA}
"""Tensor -> the schema of the first sets that may have it."""
MOST_MANIFEST_BYTES = 8 * 2**20


class SetFolder(NamedTuple):
    """What the folder of a set holds, its hashes checked.

    Attributes:
        folder: where the manifest lies.
        tensors: of ``images.safetensors``.
        class_names: as the manifest gives them.
        provenance: likewise, nested no deeper than a record may be.
        statistics: beside the images, where the manifest lists any.
    """

    folder: Path
    tensors: Mapping[str, np.ndarray]
    class_names: list[str]
    provenance: dict[str, Any]
    statistics: ClassStatistics | None


def schema_of(tensors: Collection[str]) -> int:
    """Return the schema under which a set with such tensors is written: the first that has them all."""
    return max(SINCE.get(name, SET_SCHEMA) for name in tensors)


def read_set_folder(folder: Path) -> SetFolder:
    """Read the folder of a set, or of the run that holds it as ``set``.

    Raises:
        ArtifactError: a file is missing or altered, or what the manifest says of the tensors does not hold.
    """
    if not (folder / "manifest.json").is_file() and (folder / "set" / "manifest.json").is_file():
        folder = folder / "set"
    manifest = read_json(folder / "manifest.json", "distilled set", most=MOST_MANIFEST_BYTES)
    if manifest.get("schema") not in READABLE:
        raise ArtifactError(
            f"{folder / 'manifest.json'} has schema {manifest.get('schema')!r}",
            expected=f"schema {', '.join(map(str, READABLE[:-1]))} or {READABLE[-1]}",
            do="read it with the version of medistill that wrote it",
        )
    hashes = manifest.get("files")
    if not isinstance(hashes, dict) or "images.safetensors" not in hashes:
        raise unusable(folder / "manifest.json", "it lists no hash for images.safetensors")
    for name, expected in hashes.items():
        path = folder / name
        if name != Path(name).name or not path.is_file():
            raise unusable(folder / "manifest.json", f"it lists {name!r}, which is not a file beside it")
        if sha256_file(path) != expected:
            raise unusable(path, "its SHA-256 is not the one in manifest.json, so it was altered or damaged")
    tensors, _ = read_tensors(folder / "images.safetensors", "distilled set")
    names, provenance = manifest.get("class_names"), manifest.get("provenance")
    if not isinstance(names, list) or not isinstance(provenance, dict):
        raise unusable(folder / "manifest.json", "its class_names or its provenance are missing or of another kind")
    if deeper_than(provenance, DEEPEST):
        raise unusable(folder / "manifest.json", f"its provenance is nested more than {DEEPEST} levels deep")
    if "images" in tensors and list(tensors["images"].shape) != manifest.get("shape"):
        raise unusable(folder, "the images do not have the shape that manifest.json gives")
    for name, since in SINCE.items():
        if name in tensors and manifest["schema"] < since:
            raise unusable(folder, f"it has {name.replace('_', ' ')}, and its schema is not {since}")
    cut = tensors["tiles"].tolist() if "tiles" in tensors else [1]
    if type(manifest.get("tiles", 1)) is not int or [manifest.get("tiles", 1)] != cut:
        raise unusable(folder, "its images are not cut into the tiles that manifest.json gives")
    return SetFolder(folder, tensors, names, provenance, _statistics(folder, hashes))


def unusable(path: Path, why: str) -> ArtifactError:
    """Return the error for a set that cannot be used."""
    return ArtifactError(
        f"{path} cannot be used: {why}", expected="a distilled set as medistill wrote it", do="fetch it again"
    )


def _statistics(folder: Path, hashes: Mapping[str, str]) -> ClassStatistics | None:
    """Return the statistics beside the images, where the manifest lists any."""
    if STATISTICS not in hashes:
        return None
    with (folder / STATISTICS).open("rb") as file:
        return ClassStatistics.from_bytes(file.read(MOST_BYTES + 1), str(folder / STATISTICS))
