"""Keys, checked with openssl where it is there, and with what an attacker or a careless owner does to their files."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from datetime import date, timedelta
from pathlib import Path

import pytest

from medistill.errors import ArtifactError, MedistillError, UsageError
from medistill.sharing import keys
from medistill.sharing.keys import (
    export_key,
    find_key,
    forget_key,
    is_locked,
    known_keys,
    load_private,
    new_key,
    trust_key,
)
from medistill.sharing.public_key import PublicKey, fingerprint, verifies

TODAY = date(2026, 11, 21)
SECRET = "four words that rhyme not"


def make(root: Path, name: str = "ward-7", passphrase: str | None = None, valid_days: int | None = None) -> PublicKey:
    return new_key(root, name, passphrase=passphrase, valid_days=valid_days, today=TODAY)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_a_private_key_is_its_owners_alone_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        make(tmp_path / "keys")
    finally:
        os.umask(before)
    assert mode(tmp_path / "keys") == mode(tmp_path / "keys" / "own") == 0o700
    assert mode(tmp_path / "keys" / "own" / "ward-7.pem") == 0o600


@pytest.mark.parametrize("passphrase", [None, SECRET])
def test_what_it_signs_is_by_it_alone(tmp_path: Path, passphrase: str | None) -> None:
    public, other = make(tmp_path, passphrase=passphrase), make(tmp_path, "ward-8")
    key = load_private(tmp_path, "ward-7", passphrase, today=TODAY)
    signature = key.sign(b"message")
    assert verifies(public.raw, signature, b"message")
    assert not verifies(public.raw, signature, b"massage")
    assert not verifies(other.raw, signature, b"message")
    assert not verifies(b"short", signature, b"message")
    assert is_locked(tmp_path, "ward-7") is (passphrase is not None)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
@pytest.mark.parametrize("passphrase", [None, SECRET])
def test_openssl_reads_the_key_and_makes_the_same_signature(tmp_path: Path, passphrase: str | None) -> None:
    make(tmp_path, passphrase=passphrase)
    (tmp_path / "message").write_bytes(b"message")
    pem = tmp_path / "own" / "ward-7.pem"
    command = ["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", pem, "-in", tmp_path / "message"]
    told = subprocess.run([*command, "-passin", f"pass:{passphrase or ''}"], capture_output=True, check=True)
    assert told.stdout == load_private(tmp_path, "ward-7", passphrase, today=TODAY).sign(b"message")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_a_key_that_openssl_locked_with_scrypt_opens(tmp_path: Path) -> None:
    make(tmp_path)
    pem = tmp_path / "own" / "ward-7.pem"
    locked = ["openssl", "pkcs8", "-topk8", "-scrypt", "-in", pem, "-passout", f"pass:{SECRET}"]
    pem.write_bytes(subprocess.run(locked, capture_output=True, check=True).stdout)
    assert is_locked(tmp_path, "ward-7")
    assert load_private(tmp_path, "ward-7", SECRET, today=TODAY).public.name == "ward-7"


def test_a_passphrase_that_is_missing_wrong_or_short_is_refused(tmp_path: Path) -> None:
    make(tmp_path, passphrase=SECRET)
    with pytest.raises(UsageError, match="is locked"):
        load_private(tmp_path, "ward-7", None, today=TODAY)
    with pytest.raises(UsageError, match="does not open") as refused:
        load_private(tmp_path, "ward-7", SECRET + "x", today=TODAY)
    assert SECRET not in str(refused.value)
    with pytest.raises(UsageError, match="has 5 characters"):
        make(tmp_path, "ward-8", passphrase="short")
    assert [one.key.name for one in known_keys(tmp_path)] == ["ward-7"]


@pytest.mark.parametrize("wider", [0o640, 0o604, 0o660, 0o610, 0o700])
def test_a_private_key_that_others_may_have_read_is_refused(tmp_path: Path, wider: int) -> None:
    make(tmp_path)
    (tmp_path / "own" / "ward-7.pem").chmod(wider)
    with pytest.raises(ArtifactError, match=f"mode 0{wider:o}"):
        load_private(tmp_path, "ward-7", None, today=TODAY)


def test_no_key_is_written_over(tmp_path: Path) -> None:
    make(tmp_path)
    held = {path: path.read_bytes() for path in (tmp_path / "own").iterdir()}
    with pytest.raises(UsageError, match="never written over"):
        make(tmp_path)
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(UsageError, match="never written over"):
        export_key(tmp_path, "ward-7", tmp_path / "taken")
    assert {path: path.read_bytes() for path in (tmp_path / "own").iterdir()} == held
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.parametrize("write", [1, 2])
def test_a_full_disk_leaves_no_half_of_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: int) -> None:
    calls = []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) == write:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(keys.os, "fsync", full)
    with pytest.raises(ArtifactError, match="disk is full"):
        make(tmp_path)
    assert list((tmp_path / "own").iterdir()) == []


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "-x", "a b", "x" * 49, "ä", "a\n", "a\0"])
def test_names_that_could_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    for act in (lambda: make(tmp_path, name), lambda: find_key(tmp_path, name), lambda: forget_key(tmp_path, name)):
        with pytest.raises(UsageError, match="name of a key"):
            act()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("days", [0, -1, 10**9])
def test_days_that_end_before_they_begin_or_never_are_refused(tmp_path: Path, days: int) -> None:
    with pytest.raises(UsageError, match="valid-days"):
        make(tmp_path, valid_days=days)


def test_a_key_expires_after_its_last_day(tmp_path: Path) -> None:
    make(tmp_path, valid_days=30)
    last = TODAY + timedelta(days=30)
    assert load_private(tmp_path, "ward-7", None, today=last).public.expires == last
    with pytest.raises(UsageError, match="expired on 2026-12-21"):
        load_private(tmp_path, "ward-7", None, today=last + timedelta(days=1))


@pytest.fixture
def sent(tmp_path: Path) -> Path:
    """The file of a public key that came from elsewhere."""
    make(tmp_path / "theirs", "st-example", valid_days=30)
    export_key(tmp_path / "theirs", "st-example", tmp_path / "sent.json")
    return tmp_path / "sent.json"


def test_a_key_is_trusted_found_and_forgotten(tmp_path: Path, sent: Path) -> None:
    ours = tmp_path / "ours"
    make(ours)
    trusted = trust_key(ours, sent, "friends", today=TODAY)
    assert (trusted.name, trusted.given_name) == ("friends", "st-example")
    assert find_key(ours, "friends") == trusted
    assert [(one.whose, one.key.name) for one in known_keys(ours)] == [("own", "ward-7"), ("trusted", "friends")]
    assert forget_key(ours, "friends") == trusted
    with pytest.raises(UsageError, match="no key named 'friends'"):
        find_key(ours, "friends")
    with pytest.raises(UsageError, match="no key named 'ward-7'"):
        forget_key(ours, "ward-7")  # an own one


def test_a_key_or_a_name_is_not_taken_twice(tmp_path: Path, sent: Path) -> None:
    ours = tmp_path / "ours"
    make(ours)
    with pytest.raises(UsageError, match="another key already, by the name 'ward-7'"):
        trust_key(ours, sent, "ward-7", today=TODAY)
    trust_key(ours, sent, "friends", today=TODAY)
    with pytest.raises(UsageError, match="the same key already, by the name 'friends'"):
        trust_key(ours, sent, "others", today=TODAY)


def test_an_expired_key_is_not_taken(tmp_path: Path, sent: Path) -> None:
    with pytest.raises(UsageError, match="expired on 2026-12-21"):
        trust_key(tmp_path / "ours", sent, "friends", today=date(2026, 12, 22))


@pytest.mark.parametrize(
    "change",
    [
        {"expires": "2099-01-01"},
        {"expires": None},
        {"expires": "20261221"},
        {"expires": 7},
        {"created": "2020-01"},
        {"created": "2026-11-21"},
        {"name": "another"},
        {"name": "../../x"},
        {"name": ["x"]},
        {"algorithm": "none"},
        {"schema": 2},
        {"kind": "medistill bundle"},
        {"public_key": "AAAA"},
        {"public_key": "A" * 43 + "="},
        {"proof": ""},
        {"proof": None},
        {"more": 1},
    ],
)
def test_a_public_key_that_was_changed_on_its_way_is_refused(
    tmp_path: Path, sent: Path, change: dict[str, object]
) -> None:
    sent.write_text(json.dumps(json.loads(sent.read_text()) | change))
    with pytest.raises(ArtifactError):
        trust_key(tmp_path / "ours", sent, "friends", today=TODAY)
    assert not (tmp_path / "ours" / "trusted").exists()


@pytest.mark.parametrize("held", [b"", b"[]", b"\xff", b"{" * 10**4, b" " * 10**5, b'{"kind": 1, "kind": 2}'])
def test_what_is_no_key_is_refused(tmp_path: Path, held: bytes) -> None:
    (tmp_path / "file").write_bytes(held)
    with pytest.raises(MedistillError):
        trust_key(tmp_path, tmp_path / "file", "friends", today=TODAY)


def test_a_private_key_sent_by_mistake_is_named_as_such(tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(ArtifactError, match="no longer secret"):
        trust_key(tmp_path / "ours", tmp_path / "own" / "ward-7.pem", "friends", today=TODAY)


def test_a_private_key_of_another_pair_is_refused(tmp_path: Path) -> None:
    make(tmp_path)
    make(tmp_path, "ward-8")
    shutil.copy(tmp_path / "own" / "ward-8.pem", tmp_path / "own" / "ward-7.pem")
    with pytest.raises(ArtifactError, match="does not belong"):
        load_private(tmp_path, "ward-7", None, today=TODAY)


def test_the_fingerprint_is_sha256_of_the_raw_key() -> None:
    # printf "%032d" 0 | sha256sum
    assert fingerprint(b"0" * 32) == "84e0 c0ea faa9 5a34 c293 f278 ac52 e45c"


@pytest.mark.parametrize("folder", [".", "trusted"])
@pytest.mark.parametrize("wide", [0o770, 0o707])
def test_a_key_that_others_may_have_put_there_is_not_trusted(tmp_path: Path, folder: str, wide: int) -> None:
    make(tmp_path / "theirs")
    export_key(tmp_path / "theirs", "ward-7", tmp_path / "sent.json")
    trust_key(tmp_path / "ours", tmp_path / "sent.json", "ward-7", today=TODAY)
    assert find_key(tmp_path / "ours", "ward-7").name == "ward-7"
    (tmp_path / "ours" / folder).chmod(wide)
    for look in (lambda: known_keys(tmp_path / "ours"), lambda: find_key(tmp_path / "ours", "ward-7")):
        with pytest.raises(ArtifactError, match="others can write"):
            look()
