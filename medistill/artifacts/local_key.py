"""The secret key of this installation: it seals records that only this installation may vouch for, and never leaves."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path

from medistill.artifacts.atomic import PRIVATE_FILE, private_folder, write_text
from medistill.artifacts.lock import exclusive_lock
from medistill.errors import ArtifactError

FILE = "installation.key"
BYTES = 32


def keys_root() -> Path:
    """``$MEDISTILL_KEYS``, or `keys` in the platform's folder for settings of medistill; it need not be there."""
    chosen = os.environ.get("MEDISTILL_KEYS")
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_config_dir("medistill", appauthor=False)) / "keys"


def local_key() -> bytes:
    """The key of this installation; it is drawn, and written with mode 0600, where there is none yet.

    Raises:
        ArtifactError: it is damaged, others can read it, or it cannot be written.
    """
    found = find_local_key()
    if found is not None:
        return found
    path = private_folder(keys_root()) / FILE
    with exclusive_lock(path.with_name(f".{FILE}.lock"), when_taken=lambda: None, keep=True):
        if not path.is_file():
            write_text(path, secrets.token_hex(BYTES) + "\n", private=True)
    return local_key()


def find_local_key() -> bytes | None:
    """The same; None where there is none yet.

    Raises:
        ArtifactError: it is damaged, or others can read it.
    """
    path = keys_root() / FILE
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            key = bytes.fromhex(file.read(4 * BYTES).decode("ascii").strip())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _unusable(path, str(error)) from None
    if mode & ~PRIVATE_FILE:
        raise _unusable(path, f"it has mode {mode:04o}, so others may have read it")
    if len(key) != BYTES:
        raise _unusable(path, f"it holds {len(key)} bytes, not {BYTES}")
    return key


def seal(key: bytes, purpose: str, *parts: bytes) -> str:
    """HMAC-SHA256 over the parts, each with its length, in hexadecimal digits.

    Args:
        purpose: what is sealed: a seal of one purpose is none of another.
    """
    code = hmac.new(key, purpose.encode(), hashlib.sha256)
    for part in parts:
        code.update(len(part).to_bytes(8, "big"))
        code.update(part)
    return code.hexdigest()


def key_id(key: bytes) -> str:
    """By which a key can be told from another, and no more."""
    return seal(key, "name of the key")[:16]


def _unusable(path: Path, why: str) -> ArtifactError:
    return ArtifactError(
        f"the secret key of this installation, {path}, cannot be used: {why}",
        expected=f"{BYTES} bytes as hexadecimal digits, with mode {PRIVATE_FILE:04o}",
        do="remove it: a new one is drawn. Sets that were made before can then no longer be audited as made here",
    )
