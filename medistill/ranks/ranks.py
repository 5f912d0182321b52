"""Ranks: what a run asks of the processes that work on it. A process alone is one rank, and does everything itself.

All ranks run the same code on the same files. What only one may write is written by the first, which leads; what is
independent is taken from a queue; what is summed is gathered in an order that does not depend on how many they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from medistill.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor

Result = TypeVar("Result")
Found = Mapping[str, Any]
"""Plain values, as JSON gives them back."""
Meanwhile = Callable[[Callable[[], bool]], None]
"""What is done while another rank works, given what says whether that one is done."""


class Queue:
    """Pieces of work by number, each given to one rank.

    Args:
        count: pieces.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.reports: dict[int, Found] = {}

    def __iter__(self) -> Iterator[int]:
        """Yield the numbers that fall to this rank. It ends when the pieces of all ranks are done."""
        yield from range(self.count)

    def report(self, number: int, found: Found) -> None:
        """Tell all ranks something of a piece of this one's; at the end ``reports`` has what all told."""
        self.reports[number] = found


class Ranks:
    """The ranks of a run as one of them sees them. This is a process alone; `medistill.ranks.joined.Joined` is several.

    Attributes:
        rank: the number of this one, from 0.
        size: how many there are.
        here: how many of them run on this machine.
        attempt: how often the launcher has started them again.
        lost: why it did, as the end of a sentence; empty where it did not.
        exchanging: seconds that went into exchange.
        waiting: seconds that this one waited for others to be where it was.
    """

    rank = 0
    size = 1
    here = 1
    attempt = 0
    lost = ""
    exchanging = 0.0
    waiting = 0.0

    @property
    def leads(self) -> bool:
        """Whether this one writes what is written once, and talks to the terminal."""
        return self.rank == 0

    def first(self, work: Callable[[], Result], then: Callable[[], Result] | None = None) -> Result:
        """Have the leader do some work, and all others after it: what it left in the cache, they find there.

        Args:
            work: what the leader does.
            then: what the others do in its place; None repeats it.

        Raises:
            MedistillError: on all ranks, what the leader raised.
        """
        return work()

    def lead(self, work: Callable[[], object], meanwhile: Meanwhile | None = None) -> None:
        """Have the leader alone do some work, while the others wait.

        Args:
            work: what the leader does.
            meanwhile: what each of the others does before it waits. It is given what says whether the leader is done,
                and returns soon after that.

        Raises:
            MedistillError: on all ranks, what the leader raised.
        """
        work()

    def told(self, work: Callable[[], Result]) -> Result:
        """Return on all ranks the plain value that the leader's work gives, as JSON gives it back.

        Raises:
            MedistillError: on all ranks, what the leader raised.
        """
        return work()

    def agree(self, values: Mapping[str, str], do: str) -> None:
        """Refuse to go on unless all ranks have the same values.

        Args:
            values: what each value is -> the value.
            do: what to do where they differ.

        Raises:
            UsageError: with the values that differ, and whose they are.
        """

    def all_say(self, words: str) -> list[str]:
        """Return what each rank says, when all have come here."""
        return [words]

    def queue(self, count: int, *, elsewhere: Callable[[int], None] = lambda _: None) -> Queue:
        """Return pieces of work that all ranks share.

        Args:
            count: pieces.
            elsewhere: told now and then how many more the other ranks have finished.
        """
        return Queue(count)

    def share(self, count: int) -> range:
        """Return the numbers of the pieces that this rank always has, of ``count`` that are done over and over."""
        return range(self.rank, count, self.size)

    def gathered(
        self, mine: Sequence[Mapping[str, Tensor]], count: int, *, alike: Sequence[Tensor] = ()
    ) -> list[Mapping[str, Tensor]]:
        """Return what all ranks made of their share, in the order of the pieces' numbers, to the same bits.

        Args:
            mine: tensors of floating point numbers by name for each piece of `share`, of the same shapes for all.
            count: pieces in all.
            alike: tensors that have to be the same on all ranks; this is looked at.

        Raises:
            RankError: they are not, or a rank is lost.
        """
        return list(mine)

    def in_order(self, mine: Sequence[Result], count: int) -> list[Result]:
        """Return the plain values that all ranks found for their `share`, in the order of the pieces' numbers.

        Args:
            mine: of this rank, as JSON gives them back.
            count: pieces in all.
        """
        return list(mine)

    def heard(self, progress: Progress) -> Progress:
        """Return a progress by whose words the other ranks know that this one works."""
        return progress

    def in_step(self, progress: Progress) -> Progress:
        """Return a progress whose tasks all ranks stop at the same step, where they gather in each."""
        return progress

    def goes_on(self, launch: str | None) -> bool:
        """Return whether a run that a launcher started is this launcher's, which has started its ranks again."""
        return False

    @property
    def launch(self) -> str | None:
        """The launcher's name; None of a process alone."""
        return None


ALONE = Ranks()
