"""Making: how a distilled set came to be, sealed by the installation that saw it made, so that audits may speak of it.

A chain of keyed digests runs from the images at the start through every saved state to the images at the end. Whoever
changes a state, the set, or what the set says of itself, and has not the key, breaks it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from medistill.artifacts.atomic import read_json, write_json
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.local_key import key_id, seal
from medistill.artifacts.record import Record

FILE = "making.json"
UNSEALED = ("schema", "kind", "seal")
"""Keys of the record that its seal does not cover."""


def array_digest(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        array = np.asarray(array, order="C")
        digest.update(json.dumps([name, array.dtype.str, list(array.shape)]).encode())
        digest.update(array.data if array.ndim else array.tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Chain:
    """The states of an optimisation so far.

    Attributes:
        key: the secret key of this installation.
        origin: SHA-256 of all that the optimisation began from.
        head: seal of the last state, which covers those before it.
        links: how many states it has.
        whole: every state was written by this installation.
    """

    key: bytes
    origin: str
    head: str
    links: int = 0
    whole: bool = True

    @classmethod
    def start(cls, key: bytes, origin: Mapping[str, Any]) -> Chain:
        """The chain before the first state; ``origin`` is all that the optimisation begins from, as plain values."""
        digest = hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()
        return cls(key, digest, seal(key, "start of a making", digest.encode()))

    def linked(self, state: str) -> Chain:
        """The chain with one more state, of which ``state`` is the digest."""
        return replace(self, head=self._seal(self.head, self.links + 1, state), links=self.links + 1)

    def as_text(self, before: Chain) -> str:
        """What is kept with a state; ``before`` is the chain without it."""
        known = {"key": key_id(self.key), "before": before.head, "head": self.head}
        return json.dumps({**known, "links": self.links, "whole": self.whole})

    def resumed(self, text: str | None, state: str) -> Chain | None:
        """The chain whose last state has the digest ``state``; ``text`` is what was kept with it.

        One that another installation wrote, or an earlier version, goes on as a chain that is not whole.

        Returns:
            None where this installation wrote the text, and the state is not the one that it was written with.
        """
        try:
            known = json.loads(text or "{}")
            if known.get("key") != key_id(self.key):
                return replace(self, whole=False)
            before, links, whole = str(known["before"]), int(known["links"]), known["whole"] is True
            head = replace(self, whole=whole)._seal(before, links, state)
            same = hmac.compare_digest(head.encode(), str(known["head"]).encode())
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
        return replace(self, head=head, links=links, whole=whole) if same else None

    def _seal(self, before: str, links: int, state: str) -> str:
        told = [self.origin, before, links, self.whole, state]
        return seal(self.key, "state of a making", json.dumps(told).encode())


class Making(Record):
    """``making.json`` in the folder of a run, mode 0600."""

    EXPECTED: ClassVar[str] = "the record of a making as this version of medistill writes it"
    DO: ClassVar[str] = "remove it: the set's making is then not known, and no audit of it passes"

    schema_number: Literal[1] = Field(default=1, alias="schema")
    kind: Literal["medistill making"] = "medistill making"
    corpus: str
    """Content hash of the corpus."""
    recipe_digest: str
    """Of the recipe."""
    seed: int
    """Of the recipe."""
    experts: str
    """Key, or under differential privacy digest, of the experts that were followed; empty where none were."""
    start: str
    """SHA-256 of the images at the start; empty where the method has no outer steps."""
    origin: str
    """SHA-256 of all of these."""
    links: int
    """Saved states."""
    head: str
    """Seal of the last one."""
    whole: bool
    """Every state that was gone on from was written by this installation."""
    set_digest: str
    """Of the set."""
    provenance: str
    """SHA-256 of what the set says of its own making."""
    key: str
    """Which key sealed it."""
    seal: str = ""
    """Over all of these."""

    def sealed(self, key: bytes) -> Making:
        """Return the same with its seal."""
        told = {name: value for name, value in self.as_json().items() if name not in UNSEALED}
        return self.replaced(seal=seal(key, "making", json.dumps(told, sort_keys=True).encode()))

    def sealed_by(self, key: bytes | None) -> bool:
        """Return whether that key sealed it, as it is."""
        return key is not None and hmac.compare_digest(self.sealed(key).seal.encode(), self.seal.encode())

    def is_of(self, distilled: DistilledSet) -> bool:
        """Return whether it tells of this very set, and of all that the set says of itself."""
        mine = (self.set_digest, self.provenance)
        return mine == (distilled.digest(), provenance_digest(distilled))

    def save(self, run: Path) -> None:
        """Write it into the folder of a run."""
        write_json(run / FILE, self.as_json(), private=True)


def making(chain: Chain, origin: Mapping[str, Any], distilled: DistilledSet) -> Making:
    """The sealed record of a set that was just made.

    Args:
        chain: of the optimisation, up to its last state.
        origin: what it began from, as for `Chain.start`.
    """
    known = Making(
        **origin,
        origin=chain.origin,
        links=chain.links,
        head=chain.head,
        whole=chain.whole,
        set_digest=distilled.digest(),
        provenance=provenance_digest(distilled),
        key=key_id(chain.key),
    )
    return known.sealed(chain.key)


def load_making(run: Path) -> Making | None:
    """The record in the folder of a run; None where there is none.

    Raises:
        ArtifactError: damaged, or of another schema.
    """
    path = run / FILE
    if not path.is_file():
        return None
    return Making.from_json(read_json(path, "making of a set"), str(path))


def provenance_digest(distilled: DistilledSet) -> str:
    """SHA-256 of what a set says of its own making, and of its classes."""
    told = [distilled.provenance.as_json(), list(distilled.class_names)]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
