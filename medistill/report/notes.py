"""Notes: why figures of a page are missing, each reason once, numbered where the figures stand."""

from __future__ import annotations

from collections.abc import Iterator


class Notes:
    """The reasons that a page has given so far, in the order in which it first gave them."""

    def __init__(self) -> None:
        self._reasons: dict[str, int] = {}

    def number(self, reason: str) -> int:
        """The number of a reason, from 1 on; a new one is added at the end."""
        return self._reasons.setdefault(reason, len(self._reasons) + 1)

    def __iter__(self) -> Iterator[tuple[int, str]]:
        """Number and reason of each."""
        return iter((number, reason) for reason, number in self._reasons.items())

    def __len__(self) -> int:
        return len(self._reasons)
