"""The seal of an audit: by which `share` sees that it was made here, of this very set, and that both are as they were.

A checksum says that a record is whole; whoever can write to the folder can work one out. This seal needs the secret
key of the installation.
"""

from __future__ import annotations

import hmac
from pathlib import Path

from medistill.artifacts.atomic import write_text
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.local_key import find_local_key, seal
from medistill.artifacts.making import provenance_digest

FILE, RECORD = "audit.seal", "audit.json"


def seal_audit(distilled: DistilledSet, folder: Path) -> None:
    """Seal ``audit.json`` in the folder, with all that the set says of itself; without a key here nothing is sealed.

    A set that was made here has a key, and no other passes.
    """
    key = find_local_key()
    if key is None:
        (folder / FILE).unlink(missing_ok=True)
    else:
        write_text(folder / FILE, _seal(key, distilled, (folder / RECORD).read_bytes()) + "\n", private=True)


def sealed_here(distilled: DistilledSet, folder: Path, data: bytes) -> bool:
    """Whether this installation made an audit of the set, and neither it nor the set's own words changed since.

    Args:
        folder: of the audit.
        data: what ``audit.json`` in it holds, as it was read for the verdict: read once more it could be another.
    """
    key, path = find_local_key(), folder / FILE
    if key is None or not path.is_file():
        return False
    with path.open("rb") as file:
        stored = file.read(256).strip()
    return hmac.compare_digest(stored, _seal(key, distilled, data).encode())


def _seal(key: bytes, distilled: DistilledSet, data: bytes) -> str:
    """The record names the digest of the set's tensors, which does not cover the set's classes and provenance."""
    return seal(key, "audit", data, provenance_digest(distilled).encode())
