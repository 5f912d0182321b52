"""Keys: the private ones that this house signs with, and the public ones of those whom it trusts."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from medistill.artifacts.atomic import PRIVATE_FILE, PRIVATE_FOLDER, private_folder, unwritable
from medistill.artifacts.local_key import keys_root as keys_root
from medistill.errors import ArtifactError, UsageError
from medistill.sharing.public_key import MOST_FILE_BYTES, PublicKey, checked_name, damaged_key, statement

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

LEAST_PASSPHRASE = 12
"""Characters of a passphrase: whoever has the file may try millions a second."""
Whose = Literal["own", "trusted"]
WHOSE: tuple[Whose, ...] = get_args(Whose)
"""The two folders of keys."""


@dataclass(frozen=True)
class SigningKey:
    """A private key, with its public half."""

    public: PublicKey
    private: Ed25519PrivateKey

    def sign(self, message: bytes) -> bytes:
        """The signature (64 bytes) of RFC 8032 over ``message``."""
        return self.private.sign(message)


@dataclass(frozen=True)
class Known:
    """A public key of this machine.

    Attributes:
        key: the key.
        whose: ``own`` where its private half lies here too.
    """

    key: PublicKey
    whose: Whose


def new_key(root: Path, name: str, *, passphrase: str | None, valid_days: int | None, today: date) -> PublicKey:
    """Make a pair of keys; the private half is written as PKCS #8 that its owner alone can read.

    Args:
        root: the folder of the keys.
        name: what it is called, here and in every bundle that it signs.
        passphrase: encrypts the private half; none leaves it to the mode of the file.
        valid_days: days from today on which it is good; none: no end.
        today: the day.

    Raises:
        UsageError: the name is taken or unusable, the passphrase short, or the days are not positive.
        ArtifactError: the files cannot be written.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    checked_name(name)
    if passphrase is not None and len(passphrase) < LEAST_PASSPHRASE:
        raise UsageError(
            f"the passphrase has {len(passphrase)} characters",
            expected=f"at least {LEAST_PASSPHRASE}",
            do="take four or five words that do not belong together",
        )
    try:
        expires = None if valid_days is None else today + timedelta(days=valid_days)
    except OverflowError:
        expires = today
    if expires is not None and expires <= today:
        raise UsageError(f"--valid-days is {valid_days}", expected="a number of days from 1 on", do="take 730, or so")
    private = Ed25519PrivateKey.generate()
    raw = private.public_key().public_bytes_raw()
    key = PublicKey(name, raw, f"{today:%Y-%m}", expires, name, b"")
    key = replace(key, proof=private.sign(statement(key)))
    lock = serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else serialization.NoEncryption()
    pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)
    _private_folder(root, "own")
    public_file, private_file = _own(root, name)
    _put_new(public_file, key.as_file())
    try:
        _put_new(private_file, pem)
    except BaseException:
        public_file.unlink(missing_ok=True)
        raise
    return key


def load_private(root: Path, name: str, passphrase: str | None, *, today: date) -> SigningKey:
    """The key to sign with.

    Raises:
        UsageError: there is none of that name, it has expired, or the passphrase is missing or wrong.
        ArtifactError: others can read its file, or it is damaged.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    public_file, private_file = _own(root, name)
    pem = _read_private(private_file)
    public = replace(PublicKey.of_file(public_file), name=name)
    locked = _is_locked(pem)
    if locked and not passphrase:
        raise UsageError(
            f"the private key {name!r} is locked, and no passphrase was given",
            expected="its passphrase",
            do="set MEDISTILL_PASSPHRASE, or repeat the command at a terminal and type it",
        )
    try:
        private = load_pem_private_key(pem, passphrase.encode() if locked and passphrase else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        if not locked:
            raise damaged_key(private_file, "it is no private key in PKCS #8") from None
        raise UsageError(
            f"the passphrase does not open the private key {name!r}", expected="its passphrase", do="type it again"
        ) from None
    if not isinstance(private, Ed25519PrivateKey) or private.public_key().public_bytes_raw() != public.raw:
        raise damaged_key(private_file, "it does not belong to the public key beside it")
    if public.expired(today):
        raise UsageError(
            f"the key {name!r} expired on {public.expires}",
            expected="a key that is still good",
            do="make another with `medistill keys new`, export it, and send the file to those who trust you",
        )
    return SigningKey(public, private)


def is_locked(root: Path, name: str) -> bool:
    """Whether the private key needs a passphrase.

    Raises:
        UsageError: there is none of that name.
        ArtifactError: others can read its file.
    """
    return _is_locked(_read_private(_own(root, name)[1]))


def known_keys(root: Path) -> list[Known]:
    """Own keys first, then trusted ones, each by name.

    Raises:
        ArtifactError: one of them is damaged, or others may have put one there.
    """
    _refuse_open(root)
    return [
        Known(replace(PublicKey.of_file(path), name=path.stem), whose)
        for whose in WHOSE
        for path in sorted((root / whose).glob("*.json"))
    ]


def find_key(root: Path, name: str) -> PublicKey:
    """The public key of that name, an own one or a trusted one.

    Raises:
        UsageError: there is none.
        ArtifactError: it is damaged, or others may have put it there.
    """
    _refuse_open(root)
    for whose in WHOSE:
        path = root / whose / f"{checked_name(name)}.json"
        if path.is_file():
            return replace(PublicKey.of_file(path), name=name)
    raise _no_key(name)


def export_key(root: Path, name: str, out: Path) -> PublicKey:
    """Write the public half of an own key to ``out``, which must not be there yet.

    Raises:
        UsageError: there is no such key, or ``out`` is there.
    """
    public_file, private_file = _own(root, name)
    if not private_file.is_file():
        raise _no_key(name)
    key = PublicKey.of_file(public_file)
    _put_new(out, key.as_file(), mode=0o644)
    return key


def trust_key(root: Path, file: Path, name: str, *, today: date) -> PublicKey:
    """Take the public key in ``file`` for one whose signature is believed.

    Raises:
        UsageError: the name is taken, or the key is known by another or has expired.
        ArtifactError: the file is no public key, or altered.
    """
    key = PublicKey.of_file(file)
    for known in known_keys(root):
        if known.key.raw == key.raw or known.key.name == checked_name(name):
            same = "the same key" if known.key.raw == key.raw else "another key"
            raise UsageError(
                f"there is {same} already, by the name {known.key.name!r}",
                expected="a key and a name that are not there yet",
                do="see `medistill keys list`; `medistill keys forget` removes a trusted key",
            )
    if key.expired(today):
        raise UsageError(
            f"the key in {file} expired on {key.expires}",
            expected="a key that is still good",
            do="ask its owner for the one that is used now",
        )
    _put_new(_private_folder(root, "trusted") / f"{name}.json", key.as_file())
    return replace(key, name=name)


def forget_key(root: Path, name: str) -> PublicKey:
    """Trust a key no longer. Own keys are left alone: what they signed could not be told any more.

    Raises:
        UsageError: no trusted key has that name.
    """
    path = root / "trusted" / f"{checked_name(name)}.json"
    if not path.is_file():
        raise _no_key(name)
    key = PublicKey.of_file(path)
    path.unlink()
    return replace(key, name=name)


def _own(root: Path, name: str) -> tuple[Path, Path]:
    """The files of the public and of the private half of an own key."""
    return root / "own" / f"{checked_name(name)}.json", root / "own" / f"{name}.pem"


def _private_folder(root: Path, whose: Whose) -> Path:
    """Make the folder of those keys, which its owner alone can enter."""
    return private_folder(private_folder(root) / whose)


def _refuse_open(root: Path) -> None:
    """Refuse folders of keys in which others may write: a key that they put there would be trusted."""
    for folder in (root, *(root / whose for whose in WHOSE)):
        if folder.is_dir() and folder.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ArtifactError(
                f"others can write in the folder {folder}, so a key in it may not be one that you trusted",
                expected=f"mode {PRIVATE_FOLDER:04o}",
                do=f"chmod 700 {folder}, then forget what you do not know of what `medistill keys list` shows",
            )


def _read_private(path: Path) -> bytes:
    """The bytes of a private key, if its owner alone may read it."""
    try:
        with open(os.open(path, os.O_RDONLY), "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            held = file.read(MOST_FILE_BYTES)
    except FileNotFoundError:
        raise _no_key(path.stem) from None
    except OSError as error:
        raise damaged_key(path, error.strerror or str(error)) from None
    if stat.S_IMODE(mode) & ~PRIVATE_FILE:
        raise ArtifactError(
            f"the private key {path} has mode {stat.S_IMODE(mode):04o}, so others may have read it",
            expected=f"mode {PRIVATE_FILE:04o}",
            do=f"if nobody did, chmod 600 {path}; if you cannot tell, make a new key",
        )
    return held


def _is_locked(pem: bytes) -> bool:
    return b"BEGIN ENCRYPTED PRIVATE KEY" in pem


def _put_new(path: Path, held: bytes, *, mode: int = PRIVATE_FILE) -> None:
    """Write a file that is not there yet; nothing of it is left where that fails."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise UsageError(
            f"{path} is there already, and a key is never written over",
            expected="a name that is not taken",
            do="choose another name; `medistill keys list` shows those that are there",
        ) from None
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        with open(handle, "wb") as file:
            file.write(held)
            file.flush()
            os.fsync(file.fileno())
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise unwritable(path, error) from error
        raise


def _no_key(name: str) -> UsageError:
    return UsageError(
        f"there is no key named {name!r}",
        expected="a name that `medistill keys list` shows",
        do="make a key with `medistill keys new`, or take that of a sender with `medistill keys trust`",
    )
