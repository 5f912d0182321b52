"""Ledger: what was spent on whom under differential privacy, in a private file that no purge removes.

It holds no name. People are known again by keyed hashes of what a reading knows of them, with a secret beside the file.
"""

from __future__ import annotations

import base64
import hmac
import json
import math
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

from medistill.artifacts.atomic import private_folder, read_json, write_json
from medistill.artifacts.local_key import seal
from medistill.artifacts.lock import exclusive_lock
from medistill.errors import ArtifactError
from medistill.privacy.spent import Release
from medistill.recipe import UNITS

LEDGER_SCHEMA = 1
LEDGER, SECRET, LOCK = "ledger.json", "secret.json", ".lock"
HASH_BYTES = 8
"""Of each keyed hash: two people in a hundred million are taken for one by chance about once in 3,000 ledgers."""


@dataclass(frozen=True)
class Entry:
    """A release, and who was in it.

    Attributes:
        id: random; the store of the experts holds it too, so that experts that are there are not counted twice.
        day: on which it was written, by the machine's clock.
        recipe: name of the recipe.
        release: what it spends.
        people: keyed hashes of `HASH_BYTES` each, ascending.
    """

    id: str
    day: str
    recipe: str
    release: Release
    people: frozenset[bytes]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        people = base64.b64encode(b"".join(sorted(self.people))).decode()
        return {"id": self.id, "day": self.day, "recipe": self.recipe, **asdict(self.release), "people": people}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Entry:
        """The inverse of ``as_json``; raises ValueError, KeyError or TypeError where it is none."""
        known = dict(stored)
        joined = base64.b64decode(known.pop("people"), validate=True)
        people = frozenset(joined[n : n + HASH_BYTES] for n in range(0, len(joined), HASH_BYTES))
        entry = cls(known.pop("id"), known.pop("day"), known.pop("recipe"), Release(**known), people)
        sizes = (entry.release.epsilon, entry.release.delta, entry.release.sigma, entry.release.sample_rate)
        if not all(0 < size < math.inf for size in sizes) or entry.release.unit not in UNITS or entry.release.steps < 1:
            raise ValueError("a release that cannot be")
        return entry


@dataclass(frozen=True)
class Ledger:
    """All releases that this installation knows of.

    Attributes:
        root: its folder.
        secret: key of the hashes.
        began: the day on which it was made.
        entries: in the order in which they were written.
        drawn: of those that are one release of class statistics, the ids of which the noise was drawn: each covers one
            draw, wherever copies of its run lie.
        trainings: of those that are experts, by id, how many trainings were begun: an entry of n experts covers n,
            wherever copies of their store lie. One that is not in it was written by an earlier version, and covers no
            more.
    """

    root: Path
    secret: bytes
    began: str
    entries: tuple[Entry, ...]
    drawn: frozenset[str] = frozenset()
    trainings: Mapping[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Tells the hashes of this ledger from those of another; it says nothing of the secret."""
        return hmac.digest(self.secret, b"name", "sha256").hex()[:32]

    def known(self, words: Iterable[Sequence[str]]) -> frozenset[bytes]:
        """Keyed hashes of what is known of people, each given as its kind and its value."""
        return frozenset(
            hmac.digest(self.secret, json.dumps(list(one)).encode(), "sha256")[:HASH_BYTES] for one in words
        )

    def of(self, people: frozenset[bytes]) -> list[Entry]:
        """The releases from any of these people."""
        return [entry for entry in self.entries if not entry.people.isdisjoint(people)]

    def added(self, entries: Sequence[Entry], trainings: Mapping[str, int]) -> Ledger:
        """The same with more entries, of some of which trainings were begun already, written to disk."""
        ledger = replace(self, entries=(*self.entries, *entries), trainings={**self.trainings, **trainings})
        _write(ledger)
        return ledger

    def marked(self, name: str) -> Ledger:
        """The same with the noise of one entry drawn, written to disk."""
        ledger = replace(self, drawn=self.drawn | {name})
        _write(ledger)
        return ledger

    def begun(self, name: str) -> Ledger:
        """The same with one more training of an entry begun, written to disk."""
        ledger = replace(self, trainings={**self.trainings, name: self.trainings[name] + 1})
        _write(ledger)
        return ledger


def ledger_root() -> Path:
    """``$MEDISTILL_LEDGER``, or `ledger` in the platform's folder for data of medistill; it need not be there."""
    chosen = os.environ.get("MEDISTILL_LEDGER")
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_data_dir("medistill", appauthor=False)) / "ledger"


@contextmanager
def open_ledger(root: Path) -> Iterator[Ledger]:
    """The ledger, for this process alone as long as the block lasts; a new one is begun where there is none.

    Raises:
        ArtifactError: it is damaged, a part of it is lost, or it cannot be written.
    """
    with ExitStack() as stack:
        try:
            private_folder(root)
            stack.enter_context(exclusive_lock(root / LOCK, when_taken=lambda: None, keep=True))
        except ArtifactError as error:
            raise _unwritten(error) from error
        yield read_ledger(root) or _begin(root)


def read_ledger(root: Path) -> Ledger | None:
    """The ledger as it stands; None where none was ever begun.

    Raises:
        ArtifactError: it is damaged, or a part of it is lost.
    """
    if not (root / LEDGER).is_file() and not (root / SECRET).is_file():
        return None
    try:
        return _parsed(root)
    except ArtifactError as error:
        raise _damaged(root, error.seen) from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(root, f"it is not as it was written ({error})") from None


def _parsed(root: Path) -> Ledger | None:
    """The ledger; None where it was interrupted while it was begun."""
    stored = read_json(root / LEDGER, "its releases")
    if stored["schema"] != LEDGER_SCHEMA:
        raise ValueError(f"schema {stored['schema']!r}, and {LEDGER_SCHEMA} is read here"[:80])
    if not (root / SECRET).is_file() and not stored["entries"]:
        return None
    secret = bytes.fromhex(read_json(root / SECRET, "its secret")["secret"])
    if not hmac.compare_digest(stored.pop("seal"), _seal(secret, stored)):
        raise ValueError("its seal is broken")
    entries, drawn = tuple(Entry.from_json(entry) for entry in stored["entries"]), frozenset(stored.get("drawn", ()))
    trainings = {str(name): int(count) for name, count in stored.get("trainings", {}).items()}
    return Ledger(root, secret, stored["began"], entries, drawn, trainings)


def new_entry(name: str, recipe: str, release: Release, people: frozenset[bytes]) -> Entry:
    """An entry of today."""
    return Entry(name, date.today().isoformat(), recipe, release, people)


def _begin(root: Path) -> Ledger:
    """An empty ledger; the secret comes last, so that one that was interrupted is begun again."""
    ledger = Ledger(root, secrets.token_bytes(32), date.today().isoformat(), ())
    _write(ledger)
    _put(root / SECRET, {"schema": LEDGER_SCHEMA, "secret": ledger.secret.hex()})
    return ledger


def _write(ledger: Ledger) -> None:
    stored = {
        "schema": LEDGER_SCHEMA,
        "began": ledger.began,
        "entries": [entry.as_json() for entry in ledger.entries],
        "drawn": sorted(ledger.drawn),
        "trainings": dict(ledger.trainings),
    }
    _put(ledger.root / LEDGER, {**stored, "seal": _seal(ledger.secret, stored)})


def _put(path: Path, stored: Mapping[str, Any]) -> None:
    try:
        write_json(path, stored, private=True)
    except ArtifactError as error:
        raise _unwritten(error) from error


def _seal(secret: bytes, stored: Mapping[str, Any]) -> str:
    """Tells a ledger that was altered or damaged."""
    return seal(secret, "ledger", json.dumps(stored, sort_keys=True).encode())


def _unwritten(error: ArtifactError) -> ArtifactError:
    return ArtifactError(
        f"the ledger of what was spent under differential privacy cannot be written: {error.seen}",
        expected="a ledger, since a release that is in none would make every later total too small",
        do="let it be written, or name another folder for it in MEDISTILL_LEDGER",
    )


def _damaged(root: Path, why: str) -> ArtifactError:
    return ArtifactError(
        f"the ledger of what was spent under differential privacy, in {root}, is damaged: {why}",
        expected=f"{LEDGER} and {SECRET} as they were written",
        do="bring both back from a backup. If there is none, what was spent is not known any more: move the folder "
        "away to begin a new ledger, and tell whoever relies on a total",
    )
