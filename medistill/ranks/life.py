"""Life: signs that each rank gives of itself, by which the others tell one that works from one that hangs or ended."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch.distributed.distributed_c10d import Store

from medistill.errors import RankError, SaidElsewhere

BEAT = 1.0
"""Least seconds between two signs of a rank, and between two looks at those of the others."""
GRACE = 3.0
"""Seconds that a rank which is to stop waits for the others to come to the same step."""
LONG_GRACE = 30.0
"""The same where it cannot say how far it is, and would lose the steps since the last saved state."""
STOPPED, FAILED = "stopped", "failed"
"""How a rank says that it ended."""
AGAIN = "repeat the command with --resume; nothing that was finished is lost"


class RanksStopped(KeyboardInterrupt):
    """Somebody wished to stop, and the other ranks did not come to the same step in time. Nothing is half done."""


class Life:
    """Signs of life in the launcher's store.

    Args:
        store: of this attempt.
        rank: this one.
        size: how many there are.
        patience: seconds without a sign after which a rank counts as hanging.
        check: raises KeyboardInterrupt where somebody wishes to stop.
    """

    def __init__(
        self, store: Store, rank: int, size: int, patience: float, check: Callable[[], None] = lambda: None
    ) -> None:
        self._store, self.rank, self.size, self.patience, self._check = store, rank, size, patience, check
        self._count, self._last, self._watched = 0, 0.0, 0.0
        self._heard: dict[int, tuple[str, float]] = {}
        self.doing = "starting"
        self.beat()

    def beat(self, doing: str = "") -> None:
        """Give a sign, but not more than one in `BEAT` seconds.

        Args:
            doing: what is being done, where that has changed.
        """
        changed = bool(doing) and doing != self.doing
        self.doing = doing or self.doing
        if changed or time.monotonic() - self._last >= BEAT:
            self._last = time.monotonic()
            self._count += 1
            self._tell([self._count, self.doing])

    def safe_point(self) -> None:
        """Give a sign, and stop where another rank has failed: what this one does would be for nothing.

        Raises:
            SaidElsewhere: one has.
        """
        if time.monotonic() - self._last >= BEAT:
            with reachable():
                failed = self._store.check([FAILED])
            if failed:
                raise SaidElsewhere("another rank ended with an error", expected="all ranks at work", do=AGAIN)
        self.beat()

    def end(self, how: str) -> None:
        """Say that this rank ended."""
        self._tell([how, self.doing])
        if how == FAILED:
            with reachable():
                self._store.set(FAILED, str(self.rank))

    def wait(
        self, keys: Mapping[int, Sequence[str]], has: Callable[[Iterable[str]], bool], *, grace: float = 0
    ) -> None:
        """Wait until all is there that some ranks are to bring.

        Args:
            keys: rank -> what it brings.
            has: whether all of them are there.
            grace: seconds by which a wish to stop is put off, since all ranks are about to stop together.

        Raises:
            RankError: a rank gave no sign for too long.
            SaidElsewhere: a rank failed.
            KeyboardInterrupt: somebody wished to stop, or a rank did.
        """
        everything = [key for of_rank in keys.values() for key in of_rank]
        pause, looked, wished = 1e-4, time.monotonic(), None
        while not has(everything):
            time.sleep(pause)
            pause = min(1.5 * pause, 0.02)
            now = time.monotonic()
            if now - looked < BEAT:
                continue
            looked = now
            self.beat()
            try:
                self._check()
            except KeyboardInterrupt:
                wished = now if wished is None else wished
                if not grace:
                    raise
                if now - wished > grace:
                    raise RanksStopped from None
            for rank, of_rank in keys.items():
                if rank != self.rank and not (of_rank and has(of_rank)):
                    self._look(rank, lambda: has(everything))

    def watch(self, rank: int, there: Callable[[], bool]) -> None:
        """Look at the last sign of a rank that will be awaited, not more than once in `BEAT` seconds.

        Args:
            rank: whose sign is looked at.
            there: whether it has brought what it is to bring.

        Raises:
            RankError: it gave no sign for too long.
            SaidElsewhere: it failed.
            KeyboardInterrupt: it stopped.
        """
        if time.monotonic() - self._watched >= BEAT:
            self._watched = time.monotonic()
            self._look(rank, there)

    def _look(self, rank: int, there: Callable[[], bool]) -> None:
        """Look at the last sign of a rank that is awaited."""
        with reachable():
            said = self._store.get(_key(rank)).decode() if self._store.check([_key(rank)]) else '[0, "starting"]'
        sign, doing = json.loads(said)
        if sign in (STOPPED, FAILED):
            if there():  # it brought its piece, and ended after
                return
            if sign == STOPPED:
                raise RanksStopped
            raise SaidElsewhere(f"rank {rank} ended with an error", expected="all ranks at work", do=AGAIN)
        before, since = self._heard.get(rank, ("", 0.0))
        if said != before:
            self._heard[rank] = said, time.monotonic()
        elif time.monotonic() - since > self.patience:
            raise RankError(
                f"rank {rank} gave no sign for {self.patience:g} s; its last words were: {doing}",
                expected="every rank at work (the limit is --rank-timeout)",
                do=f"look at the machine that it runs on, or end it; then {AGAIN}",
            )

    def _tell(self, sign: list[object]) -> None:
        with reachable():
            self._store.set(_key(self.rank), json.dumps(sign))


def _key(rank: int) -> str:
    return f"life {rank}"


def ended(store: Store, rank: int) -> bool:
    """Return whether a rank said that it ended."""
    return store.check([_key(rank)]) and json.loads(store.get(_key(rank)))[0] in (STOPPED, FAILED)


@contextmanager
def reachable() -> Iterator[None]:
    """Turn what torch says of a connection that broke into an error for users."""
    try:
        yield
    except RuntimeError as error:  # those of torch.distributed are its kin
        raise RankError(
            "the connection to another rank or to the launcher broke: one of them has ended",
            expected="all ranks and their launcher at work",
            do=AGAIN,
        ) from error
