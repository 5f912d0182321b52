"""Messages: what a site and the server send each other, and how what arrives is checked before anything else sees it.

A message is a few named pieces of plain bytes: a head, which is JSON, and files. Nothing else of what the engine hands
over is looked at, so no object that it could have unpacked reaches this package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from medistill.artifacts.atomic import parse_json
from medistill.artifacts.record import Record
from medistill.errors import ArtifactError
from medistill.federation.figures import HomeFigures
from medistill.privacy.criterion import Verdict
from medistill.sharing.audit_file import json_bytes
from medistill.workflow.environment import versions

PROTOCOL = 1
MAKE, TEST = "medistill_make", "medistill_test"
"""Tasks: make a set and send its bundle; test a classifier at home and send figures."""
HEAD, BUNDLE, WEIGHTS, PREPROCESSING = "head", "bundle", "weights", "preprocessing"
"""Names of the pieces."""
MOST = {HEAD: 2**18, BUNDLE: 2**30, WEIGHTS: 2**30, PREPROCESSING: 2**22}
"""Most bytes of a piece."""
MOST_RECIPE = 2**16

Code = Literal[
    "done", "other version", "site file", "recipe", "data", "set", "audit", "gate", "classifier", "figures", "stopped"
]
"""How a task ended at a site. No site says more: its own words stay in its own log."""
WORDS: Mapping[Code, str] = {
    "other version": "it runs another version of medistill",
    "site file": "its site file is missing or cannot be used",
    "recipe": "its site file does not agree to this recipe",
    "data": "its images could not be read with this recipe",
    "set": "its set could not be made",
    "audit": "its set could not be audited",
    "gate": "its set did not pass the gate",
    "classifier": "it refused the classifier",
    "figures": "it could not test the classifier",
    "stopped": "its work there ended early, on an error that was not foreseen or for want of memory",
}
"""What a code means: the end of "it takes no part, because ..."."""


class Head(Record):
    """What every message says first."""

    protocol: Literal[1]
    medistill: Annotated[str, Field(max_length=40)]


class MakeRequest(Head):
    """Make a set by this recipe."""

    recipe: Annotated[str, Field(max_length=MOST_RECIPE)]
    """TOML text."""


class HomeRequest(Head):
    """Test the classifier that comes with it."""

    recipe_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Answer(Head):
    """How a task ended at a site."""

    code: Code
    verdict: Verdict | None = None
    """Of the gate, where the set did not pass it."""
    figures: HomeFigures | None = None


@dataclass(frozen=True)
class Parcel:
    """A message that was checked for its form.

    Attributes:
        head: plain values of its JSON.
        files: name of a piece -> its bytes.
    """

    head: dict[str, Any]
    files: dict[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def same_version(self) -> bool:
        """Whether it comes from this version of medistill, and so from somebody who means the same by the rest."""
        return self.head.get("protocol") == PROTOCOL and self.head.get("medistill") == own_version()


def own_version() -> str:
    """The version of medistill that is installed here."""
    return versions()["medistill"]


def message(head: Head, **files: bytes) -> dict[str, bytes]:
    """The pieces of a message."""
    return {HEAD: json_bytes(head.as_json()), **files}


def opened(received: object, origin: str, *files: str) -> Parcel:
    """Check the form of what arrived: the pieces that are asked for, each plain bytes of a bearable length.

    Args:
        received: what the engine handed over; only the pieces are read.
        origin: who sent it, for messages.
        files: pieces that must be there beside the head.

    Raises:
        ArtifactError: it is no mapping, a piece is missing, no bytes or too long, or the head is no JSON object.
    """
    if not isinstance(received, Mapping):
        raise _refused(f"what {origin} sent is no message")
    pieces = {name: received.get(name) for name in (HEAD, *files)}
    checked: dict[str, bytes] = {}
    for name, piece in pieces.items():
        if type(piece) is not bytes:
            raise _refused(f"the piece '{name}' of what {origin} sent is {'missing' if piece is None else 'no bytes'}")
        if len(piece) > MOST[name]:
            raise _refused(f"the piece '{name}' of what {origin} sent has {len(piece)} bytes, more than {MOST[name]}")
        checked[name] = piece
    head = parse_json(checked.pop(HEAD), f"the head of what {origin} sent", "message")
    return Parcel(head, checked)


def _refused(why: str) -> ArtifactError:
    return ArtifactError(
        why, expected="a message of the same version of medistill", do="install the same version at every site"
    )
