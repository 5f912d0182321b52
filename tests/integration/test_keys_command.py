"""`medistill keys` as it is typed: made, listed, exported, trusted and forgotten by two houses."""

from __future__ import annotations

import json
import os
import pty
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medistill_cli.main import app

SECRET = "four words that rhyme not"


@pytest.fixture(autouse=True)
def keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of keys of this test's own, in which it works."""
    monkeypatch.setenv("MEDISTILL_KEYS", str(tmp_path / "ours"))
    monkeypatch.delenv("MEDISTILL_PASSPHRASE", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "ours"


def keys(*words: str) -> tuple[int, str, str]:
    told = CliRunner().invoke(app, ["keys", *words])
    return told.exit_code, told.stdout, told.stderr


def told(*words: str) -> dict:
    code, out, err = keys(*words, "--json")
    assert code == 0, err
    return json.loads(out)


def test_two_houses_exchange_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = told("new", "st-example", "--valid-days", "730")
    exported = told("export", "st-example")
    sent = Path(exported["out"])
    assert sent.name == "st-example.key.json"
    assert "PRIVATE" not in sent.read_text()
    monkeypatch.setenv("MEDISTILL_KEYS", str(tmp_path / "theirs"))
    assert told("list")["keys"] == []
    trusted = told("trust", str(sent), "--as", "friends")
    assert trusted["fingerprint"] == made["fingerprint"]
    (listed,) = told("list")["keys"]
    assert (listed["name"], listed["given_name"], listed["whose"]) == ("friends", "st-example", "trusted")
    assert told("forget", "friends")["forgotten"]["name"] == "friends"
    assert told("list")["keys"] == []


def test_the_words_on_the_terminal_name_what_to_do(keyring: Path) -> None:
    code, out, _ = keys("new", "ward-7")
    assert code == 0
    assert "whoever gets the file can sign in your name" in out
    assert "medistill keys export ward-7" in out
    assert stat.S_IMODE((keyring / "own" / "ward-7.pem").stat().st_mode) == 0o600
    code, out, _ = keys("list")
    fingerprint = told("list")["keys"][0]["fingerprint"]
    assert code == 0
    assert fingerprint in out
    code, out, _ = keys("export", "ward-7")
    assert code == 0
    assert "by another way" in out
    assert fingerprint in out


def test_a_key_is_never_written_over(keyring: Path) -> None:
    keys("new", "ward-7")
    before = (keyring / "own" / "ward-7.pem").read_bytes()
    code, _, err = keys("new", "ward-7")
    assert code == 2
    assert "never written over" in err
    assert (keyring / "own" / "ward-7.pem").read_bytes() == before


def test_the_passphrase_of_the_environment_locks_the_key(keyring: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDISTILL_PASSPHRASE", SECRET)
    code, out, err = keys("new", "ward-7")
    assert code == 0
    assert SECRET not in out + err
    assert b"ENCRYPTED" in (keyring / "own" / "ward-7.pem").read_bytes()


def test_with_nobody_to_ask_for_a_passphrase_no_key_is_made(keyring: Path) -> None:
    code, _, err = keys("new", "ward-7", "--passphrase")
    assert code == 2
    assert "nobody to ask" in err
    assert not keyring.exists()


def test_a_passphrase_is_typed_twice_at_a_terminal_and_not_shown(keyring: Path) -> None:
    parent, child = pty.openpty()
    command = [sys.executable, "-m", "medistill_cli.main", "keys", "new", "ward-7", "--passphrase"]
    running = subprocess.Popen(command, stdin=child, stdout=child, stderr=child, start_new_session=True)
    os.close(child)
    seen = b""
    try:
        for question in (b"Passphrase of the key ward-7: ", b"Repeat for confirmation: "):
            while question not in seen:
                seen += os.read(parent, 4096)
            os.write(parent, SECRET.encode() + b"\n")
        while True:
            try:
                seen += os.read(parent, 4096)
            except OSError:  # the other end is closed
                break
    finally:
        os.close(parent)
    assert running.wait(30) == 0
    assert SECRET.encode() not in seen
    assert b"ENCRYPTED" in (keyring / "own" / "ward-7.pem").read_bytes()


def test_a_key_whose_file_others_may_read_is_named(keyring: Path) -> None:
    keys("new", "ward-7")
    (keyring / "own" / "ward-7.pem").chmod(0o644)
    code, _, err = keys("list")
    assert code == 3
    assert "chmod 600" in err


def test_names_and_files_that_are_not_there_are_refused(tmp_path: Path) -> None:
    assert keys("export", "nobody")[0] == 2
    assert keys("forget", "nobody")[0] == 2
    assert keys("trust", str(tmp_path / "none.json"), "--as", "friends")[0] == 3
    assert keys("new", "../ward")[0] == 2
