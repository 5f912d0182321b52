"""Kinds: what a value of a report is, and so how every renderer writes it."""

from __future__ import annotations

from typing import Literal

Kind = Literal[
    "text", "class", "arm", "count", "number", "percent", "general", "seconds", "size",
    "estimate", "difference", "share", "points", "bare", "bare share", "limits", "thresholds",
]  # fmt: skip
"""What a value is, and so how it is written.

Words: text; class, the name of a class or site as folders have it; arm. Numbers: count; number, with `Column.digits`;
percent, of a share; general, as many digits as it needs; seconds; size, in bytes; thresholds, of several networks.
Estimates with their intervals: estimate, difference, share, points (`estimates.Form`); bare and bare share, without the
interval; limits, the interval alone.
"""
ESTIMATES: tuple[Kind, ...] = ("estimate", "difference", "share", "points", "bare", "bare share", "limits")
RIGHT: tuple[Kind, ...] = ("count", "number", "percent", "general", "seconds", "size", "bare share")
"""Kinds whose columns are set flush right."""
