"""Caveat: one thing that a report does not promise."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Caveat:
    """One thing that is not promised.

    Attributes:
        title: in a few words.
        text: in one or two sentences.
    """

    title: str
    text: str
