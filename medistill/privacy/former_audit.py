"""Former audits: what earlier versions wrote into ``audit.json``, as this version would write it.

Schema 1 did not look for text. Up to schema 2 a criterion did not say what it asks for, and at first none of schema 3
said which attack asks; both follow from its name. The tables are of those versions, and do not change.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

AUDIT_SCHEMA = 3
WITHOUT_TEXT, BY_NAME = 1, 2
"""Schemas that can still be read; an audit of the first does not pass."""
_ASKED = {
    "Images whose making is known": ("making", "at least", "count", "", False),
    "Settings laxer ": ("laxer settings", "at most", "count", "", False),
    "Held-out ": ("held out", "at least", "count", "least_held_out", False),
    "Copies in ": ("copies", "at most", "share", "most_copies", False),
    "Images that single out ": ("recovered", "at most", "share", "most_recovered", False),
    "Images traceable ": ("traced", "at most", "share", "", False),
    "Fewest ": ("smallest mean", "at least", "count", "least_cluster", False),
    "Patients found ": ("found", "at most", "share", "most_found", False),
    "Membership inference": ("found", "at most", "share", "most_found", False),
    "AUC (": ("auc", "at most", "share", "most_auc", False),
    "Chance of as many ": ("repeated canaries", "at least", "share", "canary_chance", False),
    "Share of the originals looked through ": ("originals read", "at least", "share", "", True),
    "Images, or means of them, ": ("letters", "at most", "count", "", True),
    "Sites whose overlay ": ("overlays", "at most", "count", "", False),
}
"""How the name of a criterion began -> `Asked`, field by field."""
_ATTACKS = {
    "Copies in pixels": "copies in pixels",
    "Copies in structural similarity": "copies in structure",
    "Copies in own detail": "copies in own detail",
    "Copies in the order of grey values": "copies under grey curves",
    "Copies in blurred originals": "copies in blur",
    "Copies in other poses": "copies in other poses",
    "Copies in parts of the image": "copies in parts",
    "Copies in mixtures of three": "copies in mixtures",
    "Copies in network features": "copies in features",
    "Copies in the encoder’s features": "copies in the encoder's features",
    "Copies in target vectors": "copies in target vectors",
    "Images that single out ": "initialisation leakage",
    "Images traceable ": "initialisation leakage",
    "Fewest ": "initialisation leakage",
    "Chance of as many ": "canaries",
    "Share of the originals looked through ": "letters",
    "Images, or means of them, ": "letters",
    "Sites whose overlay ": "letters",
}
"""How the name of a criterion began -> the attack that asks for it."""
_OF_PEOPLE = re.compile(r"(?:Patients found|AUC) \((.+?) attack[,)]")
"""How it names one on membership."""
_SINCE: Mapping[tuple[str, ...], Mapping[str, Any]] = {
    (): {"held_out_left_out": None, "date": "", "recipe": "", "method": "", "images": 0},
    ("rules",): {"false_alarms": None, "blind": False},
    ("residue",): {"recovered_if_all": None, "traced_if_all": None},
    ("membership",): {"one_run": None, "soft_labels": None},
    ("membership", "attacks", "cells", "detections"): {"if_all": None},
    ("membership", "canaries"): {"smallest": None},
    ("membership", "soft_labels", "tests"): {"guesses": None},
}
"""Where records lie -> what schema 3 did not say of them at first."""
_FIELDS = ("key", "bound", "reads_as", "setting", "passes_unseen")
_UNKNOWN = ("other", "at most", "share", "", False)


def brought_up(known: Mapping[str, Any]) -> Mapping[str, Any]:
    """A record of an earlier schema as this version would write it; any other as it is."""
    schema, criteria = known.get("schema"), known.get("criteria")
    if isinstance(criteria, list | tuple):
        criteria = [_with_attack(one) for one in criteria]
        known = {**known, "criteria": criteria}
    for path, since in _SINCE.items():
        known = _with(known, path, since)
    if schema not in (WITHOUT_TEXT, BY_NAME) or isinstance(schema, bool) or not isinstance(criteria, list | tuple):
        return known
    text = {"text": None} if schema == WITHOUT_TEXT else {}
    return {**known, **text, "schema": AUDIT_SCHEMA, "criteria": [_with_asked(one) for one in criteria]}


def _with(value: Any, path: tuple[str, ...], since: Mapping[str, Any]) -> Any:
    """A record, or a list of them, with fields that those of earlier versions did not have where a path leads."""
    if isinstance(value, list | tuple):
        return [_with(one, path, since) for one in value]
    if not isinstance(value, Mapping):
        return value
    if not path:
        return {**since, **value}
    return {**value, path[0]: _with(value[path[0]], path[1:], since)} if path[0] in value else value


def asks_otherwise(name: str, bound: str, setting: str) -> bool:
    """Whether a criterion is named like one that a setting was the threshold of, and has another threshold or bound.

    Else one under a key that nobody declares could bear the name of a known one, and be held against anything.
    """
    known = next((asked for start, asked in _ASKED.items() if name.startswith(start)), _UNKNOWN)
    return bool(known[3]) and (known[1], known[3]) != (bound, setting)


def _with_attack(criterion: Any) -> Any:
    """The criterion, with the attack that asks for it."""
    if not isinstance(criterion, Mapping) or "attack" in criterion:
        return criterion
    name = str(criterion.get("name"))
    of_people = _OF_PEOPLE.match(name)
    named = next((attack for start, attack in _ATTACKS.items() if name.startswith(start)), "")
    return {**criterion, "attack": of_people[1] if of_people else named}


def _with_asked(criterion: Any) -> Any:
    """The criterion, with what it asks for beside what it found."""
    if not isinstance(criterion, Mapping) or "asked" in criterion:
        return criterion
    name = str(criterion.get("name"))
    asked = next((asked for start, asked in _ASKED.items() if name.startswith(start)), _UNKNOWN)
    return {**criterion, "asked": dict(zip(_FIELDS, asked, strict=True))}
