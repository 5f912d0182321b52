"""The ledger: what it holds, who may read it, and that a damaged or lost one is told of."""

from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from medistill.errors import ArtifactError
from medistill.privacy.ledger import Ledger, ledger_root, new_entry, open_ledger, read_ledger
from medistill.privacy.spent import Release

RELEASE = Release(epsilon=1.2, delta=1e-5, unit="patient", sigma=5.0, sample_rate=0.5, steps=10)


def add(root: Path, name: str, *people: str) -> None:
    with open_ledger(root) as ledger:
        ledger.added([new_entry(name, "demo", RELEASE, ledger.known(("patient", one) for one in people))], {name: 0})


def names(root: Path, *people: str) -> list[str]:
    with open_ledger(root) as ledger:
        return [entry.id for entry in ledger.of(ledger.known(("patient", one) for one in people))]


def test_people_are_known_again_and_named_nowhere(tmp_path: Path) -> None:
    root = tmp_path / "ledger"
    add(root, "a", "ZQ1", "ZQ2")
    add(root, "b", "ZQ2", "ZQ3")
    assert names(root, "ZQ1") == ["a"]
    assert names(root, "ZQ2", "x") == ["a", "b"]
    assert names(root, "x") == []
    assert not any(b"ZQ" in file.read_bytes() for file in root.iterdir())
    with open_ledger(root) as one, open_ledger(tmp_path / "other") as other:
        assert one.known([("patient", "ZQ1")]) != other.known([("patient", "ZQ1")])
        assert one.name != other.name


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    root = tmp_path / "ledger"
    add(root, "a", "p")
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in root.iterdir()} == {0o600}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    add(tmp_path, "a", "p", "q")
    found = read_ledger(tmp_path)
    assert isinstance(found, Ledger)
    (entry,) = found.entries
    assert (entry.id, entry.recipe, entry.release) == ("a", "demo", RELEASE)
    assert len(entry.people) == 2
    assert read_ledger(tmp_path / "none") is None


def _lose(name: str) -> object:
    return lambda root: (root / name).unlink()


def _write(name: str, text: str) -> object:
    return lambda root: (root / name).write_text(text)


def _cheaper(root: Path) -> None:
    stored = json.loads((root / "ledger.json").read_text())
    stored["entries"][0]["epsilon"] = 0.1
    (root / "ledger.json").write_text(json.dumps(stored))


def _without_the_last(root: Path) -> None:
    stored = json.loads((root / "ledger.json").read_text())
    del stored["entries"][-1]
    (root / "ledger.json").write_text(json.dumps(stored))


@pytest.mark.parametrize(
    "harm",
    [
        _lose("ledger.json"),
        _lose("secret.json"),
        _write("ledger.json", "{"),
        _write("ledger.json", "[]"),
        _write("ledger.json", '{"schema": 2, "entries": []}'),
        _write("secret.json", '{"schema": 1, "secret": "00"}'),
        _write("secret.json", '{"schema": 1, "secret": "x"}'),
        _cheaper,
        _without_the_last,
    ],
)
def test_a_ledger_that_is_not_whole_is_never_an_empty_one(tmp_path: Path, harm: object) -> None:
    add(tmp_path, "a", "p")
    harm(tmp_path)  # type: ignore[operator]
    with pytest.raises(ArtifactError, match="is damaged") as caught, open_ledger(tmp_path):
        pass
    assert "move the folder away" in caught.value.do


def test_one_that_was_interrupted_while_it_was_begun_is_begun_again(tmp_path: Path) -> None:
    with open_ledger(tmp_path):
        pass
    (tmp_path / "secret.json").unlink()
    add(tmp_path, "a", "p")
    assert names(tmp_path, "p") == ["a"]


def test_one_that_cannot_be_written_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match=r"cannot be written.*file") as caught, open_ledger(tmp_path / "file"):
        pass
    assert "MEDISTILL_LEDGER" in caught.value.do


def test_nothing_is_lost_where_many_write_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: add(tmp_path, str(n), f"p{n}", "all"), range(24)))
    assert sorted(names(tmp_path, "all"), key=int) == [str(n) for n in range(24)]


def test_it_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDISTILL_LEDGER", str(tmp_path / "here"))
    assert ledger_root() == tmp_path / "here"
    monkeypatch.delenv("MEDISTILL_LEDGER")
    assert "medistill" in str(ledger_root())
