"""The day, which says whether a key is still good."""

from __future__ import annotations

from datetime import UTC, date, datetime


def today() -> date:
    """Today, in UTC: the same on every machine."""
    return datetime.now(UTC).date()
