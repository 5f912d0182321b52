"""Projections that were fitted to public images, in the private cache, each in a file that its digest names."""

from __future__ import annotations

import json
from pathlib import Path

from medistill.artifacts.atomic import parse_json, private_folder
from medistill.artifacts.cache import cache_root
from medistill.artifacts.kept import keep_tensors, read_checked
from medistill.artifacts.projection import Projection, ProjectionRecord
from medistill.errors import ArtifactError, UsageError

RECORD = "record"


def store_projection(projection: Projection) -> str:
    """Keep a projection, and return the digest by which a recipe names it."""
    arrays = {"centre": projection.centre, "matrix": projection.matrix}
    told = json.dumps(projection.record.as_json(), sort_keys=True)
    keep_tensors(_path(projection.digest), arrays, {RECORD: told})
    return projection.digest


def stored_projection(digest: str) -> Projection:
    """Return the projection that a recipe names.

    Raises:
        UsageError: it is not there, or is damaged there.
    """
    found = _found(digest)
    if found is None or found.digest != digest:
        raise UsageError(
            f"the projection {digest[:12]} is not in the cache, or is damaged there",
            expected="a projection that was fitted here to public images, or came with a set",
            do="name the public images again with --public FOLDER, or the set that carries it with --public SET; or do "
            "without: --set network.projection=",
        )
    return found


def public_people(digest: str) -> Path:
    """Where it is written, in keyed hashes, who is in the public images of a projection that was fitted here."""
    return _path(digest).with_suffix(".people.json")


def _found(digest: str) -> Projection | None:
    path = _path(digest)
    if not digest or not path.is_file():
        return None
    try:
        arrays, told = read_checked(path, "projection")
        record = ProjectionRecord.from_json(parse_json(told[RECORD].encode(), path, "projection"), str(path))
        return Projection(arrays["centre"], arrays["matrix"], record)
    except (ArtifactError, KeyError):
        return None


def _path(digest: str) -> Path:
    return private_folder(cache_root() / "projections") / f"{digest}.safetensors"
