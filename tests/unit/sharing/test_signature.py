"""What `manifest.sig` holds, with a vector of the standard and with files that were changed."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from medistill.errors import ArtifactError
from medistill.sharing.keys import SigningKey, load_private, new_key
from medistill.sharing.public_key import verifies
from medistill.sharing.signature import CONTEXT, Signature, check_signature, sign

MANIFEST = b'{"schema": 1}\n'
TODAY = date(2026, 11, 21)
ORDER = 2**252 + 27742317777372353535851937790883648493
"""Order of the base point (RFC 8032, 5.1)."""


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    new_key(tmp_path, "ward-7", passphrase=None, valid_days=None, today=TODAY)
    return load_private(tmp_path, "ward-7", None, today=TODAY)


def test_a_signature_is_checked_and_names_its_key(key: SigningKey) -> None:
    found = check_signature(MANIFEST, sign(MANIFEST, key))
    assert (found.public_key, found.key_name) == (key.public.raw, "ward-7")
    assert found.fingerprint == key.public.fingerprint


def test_the_same_manifest_gives_the_same_signature(key: SigningKey) -> None:
    assert sign(MANIFEST, key) == sign(MANIFEST, key)


def test_one_byte_more_or_less_is_noticed(key: SigningKey) -> None:
    data = sign(MANIFEST, key)
    for other in (MANIFEST + b" ", MANIFEST[:-1], MANIFEST.replace(b"1", b"2"), b""):
        with pytest.raises(ArtifactError, match="does not fit the manifest"):
            check_signature(other, data)


def test_a_signature_over_the_bare_manifest_does_not_count(key: SigningKey) -> None:
    bare = Signature(key.public.raw, "ward-7", key.sign(MANIFEST))
    with pytest.raises(ArtifactError, match="does not fit"):
        check_signature(MANIFEST, bare.to_bytes())


def test_the_proof_of_a_public_key_is_no_signature_of_a_manifest(key: SigningKey) -> None:
    with pytest.raises(ArtifactError, match="does not fit"):
        check_signature(MANIFEST, Signature(key.public.raw, "ward-7", key.public.proof).to_bytes())


def test_a_signature_cannot_be_bent_into_a_second_one(key: SigningKey) -> None:
    first = key.sign(CONTEXT + MANIFEST)
    bent = first[:32] + (int.from_bytes(first[32:], "little") + ORDER).to_bytes(32, "little")
    assert verifies(key.public.raw, first, CONTEXT + MANIFEST)
    assert not verifies(key.public.raw, bent, CONTEXT + MANIFEST)


def test_the_vectors_of_the_standard_hold() -> None:
    # RFC 8032, 7.1, test 3
    public = bytes.fromhex("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025")
    signature = bytes.fromhex(
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
    )
    assert verifies(public, signature, bytes.fromhex("af82"))
    assert not verifies(public, signature, bytes.fromhex("af83"))


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"algorithm": "none"},
        {"algorithm": "RSA"},
        {"public_key": ""},
        {"public_key": None},
        {"public_key": "not base64"},
        {"key_name": "\x1b[2J"},
        {"key_name": "a/b"},
        {"signature": "AAAA"},
        {"signature": 1},
        {"more": 1},
    ],
)
def test_a_changed_signature_file_is_refused(key: SigningKey, change: dict[str, object]) -> None:
    value = json.loads(sign(MANIFEST, key)) | change
    with pytest.raises(ArtifactError):
        check_signature(MANIFEST, (json.dumps(value, indent=2) + "\n").encode())


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"[" * 10**6, b'{"schema": NaN}', b"\xff\xfe"])
def test_what_is_no_signature_file_is_refused(data: bytes) -> None:
    with pytest.raises(ArtifactError):
        check_signature(MANIFEST, data)


def test_another_spelling_of_the_same_is_refused(key: SigningKey) -> None:
    data = sign(MANIFEST, key)
    with pytest.raises(ArtifactError, match="spelt"):
        check_signature(MANIFEST, data.replace(b"\n", b"\r\n"))
    with pytest.raises(ArtifactError, match="twice"):
        check_signature(MANIFEST, data.replace(b'"schema": 1', b'"schema": 1, "schema": 1'))
