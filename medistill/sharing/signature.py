"""Signature: what `manifest.sig` holds, how it is made, and how it is checked."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass

from medistill.artifacts.atomic import parse_json
from medistill.errors import ArtifactError
from medistill.sharing.keys import SigningKey
from medistill.sharing.public_key import ALGORITHM, checked_name, fingerprint, verifies

SIGNATURE_SCHEMA = 1
CONTEXT = b"medistill bundle manifest v1\0"
"""Stands before the manifest in what is signed, so that no signature made for something else fits."""


@dataclass(frozen=True)
class Signature:
    """A signature over a manifest.

    Attributes:
        public_key: the 32 bytes of the key that made it.
        key_name: what its owner calls that key: a claim, like all that a sender says.
        signature: 64 bytes.
    """

    public_key: bytes
    key_name: str
    signature: bytes

    @property
    def fingerprint(self) -> str:
        """That of the key."""
        return fingerprint(self.public_key)

    def to_bytes(self) -> bytes:
        """What ``manifest.sig`` holds."""
        value = {
            "schema": SIGNATURE_SCHEMA,
            "algorithm": ALGORITHM,
            "public_key": base64.b64encode(self.public_key).decode(),
            "key_name": self.key_name,
            "signature": base64.b64encode(self.signature).decode(),
        }
        return (json.dumps(value, indent=2) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Signature:
        """The inverse of `to_bytes`, byte for byte; whether the signature is right is not asked.

        Raises:
            ArtifactError: of another schema, or spelt otherwise.
        """
        value = parse_json(data, "manifest.sig", "signature")
        if value.get("schema") != SIGNATURE_SCHEMA or value.get("algorithm") != ALGORITHM:
            raise ArtifactError(
                "manifest.sig is of another schema or algorithm",
                expected=f"schema {SIGNATURE_SCHEMA} and {ALGORITHM}",
                do="verify the bundle with the version of medistill that made it",
            )
        try:
            found = cls(
                public_key=base64.b64decode(value["public_key"], validate=True),
                key_name=checked_name(value["key_name"]),
                signature=base64.b64decode(value["signature"], validate=True),
            )
        except (KeyError, TypeError, ValueError):
            raise _refused("a part of it is missing or of another kind") from None
        if found.to_bytes() != data:
            raise _refused("it is spelt otherwise than medistill spells it")
        return found


def sign(manifest: bytes, key: SigningKey) -> bytes:
    """Sign the bytes of a manifest; what comes back is the content of ``manifest.sig``."""
    return Signature(key.public.raw, key.public.name, key.sign(CONTEXT + manifest)).to_bytes()


def check_signature(manifest: bytes, data: bytes) -> Signature:
    """Read ``manifest.sig`` and check that it is by the key that it names. Whose key that is, is another question.

    Raises:
        ArtifactError: it cannot be read, or the manifest is not the one that was signed.
    """
    found = Signature.from_bytes(data)
    if not verifies(found.public_key, found.signature, CONTEXT + manifest):
        raise _refused("it does not fit the manifest, so one of the two was altered")
    return found


def _refused(why: str) -> ArtifactError:
    return ArtifactError(
        f"manifest.sig of the bundle is refused: {why}",
        expected="the signature that the sender made",
        do="do not use the bundle; have it sent again",
    )
