"""Joined: several ranks. They talk through the launcher's store, and gather tensors through torch.distributed.

Whoever waits looks at the others' signs of life: one that ended is known at once, one that hangs after a time. Nothing
waits in a collective for a rank that has not arrived.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.distributed.distributed_c10d import ProcessGroup, Store

from medistill import errors
from medistill.errors import MedistillError, RankError, SaidElsewhere, UsageError
from medistill.progress import Progress
from medistill.ranks.in_step import Heard, InStep
from medistill.ranks.launch import Launch
from medistill.ranks.life import BEAT, GRACE, LONG_GRACE, Life, reachable
from medistill.ranks.packing import Layout, layout_of, length, packed, unpacked
from medistill.ranks.ranks import Found, Meanwhile, Queue, Ranks, Result

DRIFTED = (
    "run all ranks on machines of one kind with the same PyTorch, or give one rank alone its command with --resume"
)


class Joined(Ranks):
    """One of several ranks.

    Args:
        launch: what the launcher says of this one.
        store: of the launcher, for this attempt alone.
        life: signs of life of all ranks.
        group: of torch, in which tensors are gathered.
        lost: why the ranks were started again, as the end of a sentence; empty where they were not.
    """

    def __init__(self, launch: Launch, store: Store, life: Life, group: ProcessGroup, lost: str = "") -> None:
        self.rank, self.size, self._launch, self._store, self.life = launch.rank, launch.size, launch, store, life
        self._group = group
        self.here, self.attempt, self.lost = launch.here, launch.attempt, lost
        self.wants_stop = self.stops = False
        self._relayed: MedistillError | None = None
        self._met, self._said, self._layout = 0, "", list[Any]()
        self.exchanging = self.waiting = 0.0

    @property
    def launch(self) -> str | None:
        """The launcher's name."""
        return self._launch.name

    def goes_on(self, launch: str | None) -> bool:
        """Return whether a run is this launcher's own."""
        return launch == self._launch.name

    def first(self, work: Callable[[], Result], then: Callable[[], Result] | None = None) -> Result:
        """Have the leader do it, then the others."""
        if self.leads:
            return self._led(work, lambda _: None)
        self._outcome()
        return (then or work)()

    def lead(self, work: Callable[[], object], meanwhile: Meanwhile | None = None) -> None:
        """Have the leader do it, while the others do something else, or wait."""
        if self.leads:
            self._led(work, lambda _: None)
        else:
            self._outcome(meanwhile)

    def told(self, work: Callable[[], Result]) -> Result:
        """Return what the leader's work gives."""
        if self.leads:
            return cast(Result, json.loads(json.dumps(self._led(work, lambda value: value))))
        return cast(Result, self._outcome())

    def agree(self, values: Mapping[str, str], do: str) -> None:
        """Compare."""
        answers = [json.loads(answer) for answer in self._meet(json.dumps(dict(values)))]
        for name in values:
            seen = [str(answer.get(name)) for answer in answers]
            other = next((number for number, one in enumerate(seen) if one != seen[0]), None)
            if other is not None:
                raise UsageError(
                    f"rank {other} has another {name} than rank 0: {_short(seen[other])}, not {_short(seen[0])}",
                    expected="the same on every rank",
                    do=do,
                )

    def queue(self, count: int, *, elsewhere: Callable[[int], None] = lambda _: None) -> Queue:
        """Return pieces that are counted in the store."""
        return _Shared(self, self._key("queue"), count, elsewhere)

    def gathered(
        self, mine: Sequence[Mapping[str, Tensor]], count: int, *, alike: Sequence[Tensor] = ()
    ) -> list[Mapping[str, Tensor]]:
        """Gather through torch.distributed, when all have arrived."""
        began = time.perf_counter()
        row, device = [packed(one) for one in mine], alike[0].device if alike else torch.device("cpu")
        if self.leads and not self._layout:
            self._layout = layout_of(mine[0])
        state = 0
        for one in alike:
            state = zlib.crc32(one.detach().cpu().contiguous().numpy().tobytes(), state)
        started = time.perf_counter()
        words = json.dumps([self.wants_stop, state, self._layout])
        answers = [json.loads(answer) for answer in self._meet(words, grace=GRACE)]
        arrived = time.perf_counter()
        self.stops = any(answer[0] for answer in answers)
        other = next((number for number, answer in enumerate(answers) if answer[1] != answers[0][1]), None)
        if other is not None:
            raise RankError(
                f"rank {other} has other images than rank 0 after the same steps: it rounds otherwise",
                expected="the same bits on every rank",
                do=DRIFTED,
            )
        self._layout = answers[0][2]
        found = self._exchanged(row, self._layout, count)
        made: list[Mapping[str, Tensor]] = [unpacked(one, self._layout, device) for one in found]
        self.waiting += arrived - started
        self.exchanging += time.perf_counter() - arrived + started - began
        return made

    def all_say(self, words: str) -> list[str]:
        """Return what each rank says."""
        return self._meet(words)

    def in_order(self, mine: Sequence[Result], count: int) -> list[Result]:
        """Tell each other in JSON, which keeps every bit of a number."""
        found = [json.loads(words) for words in self._meet(json.dumps(list(mine)), grace=LONG_GRACE)]
        return [found[number % self.size][number // self.size] for number in range(count)]

    def heard(self, progress: Progress) -> Progress:
        """Return a progress that gives signs of life."""
        return Heard(progress, self.life)

    def in_step(self, progress: Progress) -> Progress:
        """Return a progress that stops where all have said so."""
        return InStep(progress, self)

    def _exchanged(self, rows: Sequence[Tensor], layout: Layout, count: int) -> list[Tensor]:
        """Return the rows of all ranks in the order of their pieces."""
        each, size = -(-count // self.size), length(layout)
        mine = torch.zeros(each, size, dtype=torch.uint8)
        for place, row in enumerate(rows):
            mine[place] = row
        everything = [torch.empty_like(mine) for _ in range(self.size)]
        with reachable():
            self._group.allgather([everything], [mine]).wait()
        return [everything[number % self.size][number // self.size] for number in range(count)]

    def _key(self, what: str) -> str:
        self._met += 1
        return f"{self._met} {what}"

    def _led(self, work: Callable[[], Result], told: Callable[[Result], object]) -> Result:
        """Do the leader's work, and tell the others what came of it."""
        key = self._key("led")
        try:
            made = work()
        except MedistillError as error:
            self.put(key, json.dumps({"error": [type(error).__name__, error.seen, error.expected, error.do]}))
            raise
        self.put(key, json.dumps({"value": told(made)}))
        return made

    def _outcome(self, meanwhile: Meanwhile | None = None) -> object:
        """Wait until the leader has done its work, and return what it told.

        Args:
            meanwhile: as for `Ranks.lead`.

        Raises:
            MedistillError: what it raised.
        """
        key = self._key("led")

        def called() -> bool:
            self.life.watch(0, lambda: self.has([key]))
            return self.has([key])

        if meanwhile is not None:
            meanwhile(called)
        self.life.wait({0: [key]}, self.has)
        answer = json.loads(self.get(key))
        if "error" in answer:
            kind, seen, expected, do = answer["error"]
            self._relayed = getattr(errors, kind, MedistillError)(seen, expected=expected, do=do)
            raise self._relayed
        return answer["value"]

    def _meet(self, words: str, *, grace: float = 0) -> list[str]:
        """Wait until all ranks are here, and return what each says.

        Args:
            words: of this one.
            grace: seconds by which a wish to stop is put off, where all ranks stop together.
        """
        key = self._key("meet")
        said = [f"{key} {rank}" for rank in range(self.size)]
        self.put(said[self.rank], words)
        self.life.wait({rank: [one] for rank, one in enumerate(said)}, self.has, grace=grace)
        with reachable():
            found = [one.decode() for one in self._store.multi_get(said)]
            if self._said:
                self._store.delete_key(self._said)  # all have read it who are here
        self._said = said[self.rank]
        return found

    def has(self, keys: Iterable[str]) -> bool:
        """Return whether the store has keys."""
        with reachable():
            return self._store.check(list(keys))

    def put(self, key: str, words: str) -> None:
        """Write into the store."""
        with reachable():
            self._store.set(key, words)

    def get(self, key: str) -> str:
        """Read from the store, where it is known to be."""
        with reachable():
            return self._store.get(key).decode()

    def add(self, key: str, amount: int) -> int:
        """Count in the store; return the sum."""
        with reachable():
            return self._store.add(key, amount)

    def said_elsewhere(self, error: MedistillError) -> bool:
        """Return whether another rank tells the user of the same, or has."""
        if isinstance(error, SaidElsewhere) or error is self._relayed:
            return True
        if not self.leads:
            time.sleep(BEAT)  # the leader's words come first
        return self.add(f"said {zlib.crc32(str(error).encode())}", 1) > 1


class _Shared(Queue):
    """A queue over ranks.

    Args:
        ranks: all of them.
        key: of the queue in the store.
        count: pieces.
        elsewhere: as for `Ranks.queue`.
    """

    def __init__(self, ranks: Joined, key: str, count: int, elsewhere: Callable[[int], None]) -> None:
        super().__init__(count)
        self._ranks, self._key, self._elsewhere = ranks, key, elsewhere
        self._seen = self._own = 0

    def __iter__(self) -> Iterator[int]:
        """Take numbers from the store's counter, and wait at the end for those of the others."""
        ranks = self._ranks
        while (number := ranks.add(f"{self._key} taken", 1) - 1) < self.count:
            yield number
            self._own += 1
            self._look(ranks.add(f"{self._key} done", 1))
        ranks.life.wait({rank: [] for rank in range(ranks.size)}, lambda _: self._all_done())
        for place in range(ranks.add(f"{self._key} reports", 0)):
            number, found = json.loads(ranks.get(f"{self._key} report {place + 1}"))
            self.reports[number] = found

    def report(self, number: int, found: Found) -> None:
        """Tell; it is there when the piece counts as done."""
        place = self._ranks.add(f"{self._key} reports", 1)
        self._ranks.put(f"{self._key} report {place}", json.dumps([number, dict(found)]))

    def _all_done(self) -> bool:
        done = self._ranks.add(f"{self._key} done", 0)
        self._look(done)
        return done >= self.count

    def _look(self, done: int) -> None:
        """Tell how many pieces others have done since the last look."""
        news = done - self._own - self._seen
        if news > 0:
            self._seen += news
            self._elsewhere(news)


def _short(words: str) -> str:
    return words if len(words) <= 64 else f"{words[:12]}..."
