"""The secret key of an installation: drawn once, private, and refused where it is not."""

from __future__ import annotations

import hashlib
import hmac
import stat
from pathlib import Path

import pytest

from medistill.artifacts.local_key import FILE, find_local_key, key_id, keys_root, local_key, seal
from medistill.errors import ArtifactError


@pytest.fixture(autouse=True)
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDISTILL_KEYS", str(tmp_path / "keys"))
    return tmp_path / "keys"


def test_it_is_drawn_once_and_only_its_owner_can_read_it(keys: Path) -> None:
    assert find_local_key() is None
    assert not keys.exists()
    key = local_key()
    assert len(key) == 32
    assert (local_key(), find_local_key(), keys_root()) == (key, key, keys)
    assert stat.S_IMODE((keys / FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700


def test_two_installations_have_two(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = local_key()
    monkeypatch.setenv("MEDISTILL_KEYS", str(tmp_path / "others"))
    assert local_key() != first
    assert key_id(local_key()) != key_id(first)


@pytest.mark.parametrize(("text", "mode"), [("ab" * 31, 0o600), ("zz" * 32, 0o600), ("", 0o600), ("ab" * 32, 0o640)])
def test_one_that_is_damaged_or_open_is_refused_and_not_shown(keys: Path, text: str, mode: int) -> None:
    local_key()
    (keys / FILE).write_text(text)
    (keys / FILE).chmod(mode)
    with pytest.raises(ArtifactError) as raised:
        local_key()
    assert "ab" * 8 not in str(raised.value)


def test_a_seal_is_hmac_sha256_over_purpose_and_parts_with_their_lengths() -> None:
    told = b"purpose" + (2).to_bytes(8, "big") + b"ab" + (1).to_bytes(8, "big") + b"c"
    assert seal(b"k" * 32, "purpose", b"ab", b"c") == hmac.new(b"k" * 32, told, hashlib.sha256).hexdigest()
    assert seal(b"k" * 32, "purpose", b"a", b"bc") != seal(b"k" * 32, "purpose", b"ab", b"c")
