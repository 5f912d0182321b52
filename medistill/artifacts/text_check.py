"""TextCheck: how text that is burnt into the pixels was looked for."""

from __future__ import annotations

from typing import Literal

from medistill.artifacts.record import Record


class TextCheck(Record):
    """How text that is burnt into the pixels was looked for."""

    by: str
    """The programs that looked, with their versions."""
    policy: Literal["mask", "quarantine"]
    """What was done about text other than side markers: it was masked, or the file put into quarantine."""
