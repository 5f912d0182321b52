"""A public key: the file in which it travels, with what its owner says of it, and its fingerprint.

The file is JSON: a name, the month in which the key was made, the day on which it expires, and a signature of the key
itself over all of that, so that nobody else can change it. The fingerprint is compared by another way than the one that
the file came by.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from medistill.artifacts.atomic import parse_json
from medistill.errors import ArtifactError, UsageError

SCHEMA = 1
KIND = "medistill public key"
ALGORITHM = "Ed25519"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,47}")
"""What a key may be called. The name goes out with every bundle that the key signs."""
MOST_FILE_BYTES = 2**14
_CONTEXT = b"medistill public key v1\0"


@dataclass(frozen=True)
class PublicKey:
    """A public key and what its owner says of it.

    Attributes:
        name: what it is called here; `proof` covers what its owner calls it, which is `given_name`.
        raw: the 32 bytes of RFC 8032.
        created: the month, ``2026-11``.
        expires: the last day on which it is good; none: no end.
        given_name: what its owner calls it.
        proof: signature of the key itself over the above, so that nobody else changes them.
    """

    name: str
    raw: bytes
    created: str
    expires: date | None
    given_name: str
    proof: bytes

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the key, the first 128 bits, in groups to read aloud."""
        return fingerprint(self.raw)

    def expired(self, today: date) -> bool:
        """Whether its last day has passed."""
        return self.expires is not None and today > self.expires

    def as_file(self) -> bytes:
        """The bytes of its file, which `of_file` reads."""
        value = {**_claims(self), "proof": base64.b64encode(self.proof).decode()}
        return (json.dumps(value, indent=2) + "\n").encode()

    @classmethod
    def of_file(cls, path: Path) -> PublicKey:
        """Read the file of a public key.

        Raises:
            ArtifactError: missing, a private key, of another schema, or altered.
        """
        value = parse_json(_read(path), path, "public key")
        if value.get("kind") != KIND or value.get("schema") != SCHEMA:
            raise ArtifactError(
                f"{path} has kind {value.get('kind')!r:.60} and schema {value.get('schema')!r:.20}",
                expected=f"{KIND!r} and schema {SCHEMA}",
                do="ask its owner for the file that `medistill keys export` writes",
            )
        try:
            last = value["expires"]
            key = cls(
                name=checked_name(value["name"]),
                raw=base64.b64decode(value["public_key"], validate=True),
                created=value["created"],
                expires=None if last is None else date.fromisoformat(last),
                given_name=value["name"],
                proof=base64.b64decode(value["proof"], validate=True),
            )
            if {**_claims(key), "proof": value["proof"]} != value or not re.fullmatch(r"\d{4}-\d{2}", key.created):
                raise ValueError("it says more or other than the file of a key does")
        except (KeyError, TypeError, ValueError) as error:
            raise damaged_key(path, str(error)) from None
        if not verifies(key.raw, key.proof, statement(key)):
            raise damaged_key(path, "its own signature does not fit what it says")
        return key


def fingerprint(raw: bytes) -> str:
    """SHA-256 of a public key, the first 128 bits, as eight groups of four digits."""
    digits = hashlib.sha256(raw).hexdigest()[:32]
    return " ".join(digits[k : k + 4] for k in range(0, 32, 4))


def verifies(raw: bytes, signature: bytes, message: bytes) -> bool:
    """Whether ``signature`` (64 bytes) over ``message`` is by the public key ``raw`` (32 bytes); RFC 8032."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(raw).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _claims(key: PublicKey) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "kind": KIND,
        "algorithm": ALGORITHM,
        "name": key.given_name,
        "public_key": base64.b64encode(key.raw).decode(),
        "created": key.created,
        "expires": None if key.expires is None else key.expires.isoformat(),
    }


def statement(key: PublicKey) -> bytes:
    """What a key signs of itself."""
    return _CONTEXT + json.dumps(_claims(key), sort_keys=True).encode()


def checked_name(name: object) -> str:
    """The name, if a key may be called that.

    Raises:
        UsageError: it may not.
    """
    if isinstance(name, str) and NAME.fullmatch(name):
        return name
    raise UsageError(
        "the name of a key has characters that it cannot have, is too long, or empty",
        expected="letters, digits, dots, dashes and underscores, at most 48, as in ward-7.2026",
        do="choose another name; that of a house or a study, not of a person: it goes out with every bundle",
    )


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            held = file.read(MOST_FILE_BYTES + 1)
    except OSError as error:
        raise ArtifactError(
            f"{path} cannot be read: {error.strerror or error}", expected="the file of a key", do="check the path"
        ) from None
    if len(held) > MOST_FILE_BYTES:
        raise ArtifactError(f"{path} is longer than a key", expected="the file of a key", do="check the path")
    if b"PRIVATE KEY-----" in held:
        raise ArtifactError(
            f"{path} is a private key",
            expected="the file of a public key",
            do="if somebody sent it to you, tell them that this key is no longer secret",
        )
    return held


def damaged_key(path: Path, why: str) -> ArtifactError:
    """Say why the file of a key cannot be used."""
    return ArtifactError(
        f"the key {path} cannot be used: {why}",
        expected="the file as medistill wrote it",
        do="restore it, or ask its owner to export it again",
    )
