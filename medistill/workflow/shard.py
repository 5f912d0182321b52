"""A shard: the part of the experts that one of several machines trains."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from medistill.errors import UsageError


@dataclass(frozen=True)
class Shard:
    """Shard ``number`` of ``of``, counted from 1. It has every expert whose number leaves ``number - 1`` over."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``2/8``.

        Raises:
            UsageError: the text has another form, or the number is not from 1 to the count of shards.
        """
        parts = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        if parts is None or not 1 <= int(parts[1]) <= int(parts[2]):
            raise UsageError(
                f"--shard {text}",
                expected="the shard's number and how many there are, counted from 1, as in 2/8",
                do="give each machine a number of its own from 1/N to N/N",
            )
        return cls(int(parts[1]), int(parts[2]))

    def has(self, expert: int) -> bool:
        """Whether this shard trains the expert of that number (from 0)."""
        return expert % self.of == self.number - 1
