"""Ranks: the leader's work, queues, gathering in a fixed order, and what is said of one that fails, hangs or drifts."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

import pytest
import torch
from torch.distributed import HashStore

from medistill.errors import DataError, RankError, SaidElsewhere, UsageError
from medistill.progress import Silent, Task
from medistill.ranks.in_step import CalledError, UntilCalled
from medistill.ranks.joined import Joined
from medistill.ranks.launch import launched
from medistill.ranks.life import FAILED, STOPPED, RanksStopped
from medistill.ranks.local import _prepare_environment
from medistill.ranks.outcome import OUTCOMES, exit_code_of, outcome_kept
from medistill.ranks.ranks import ALONE, Ranks
from tests.factories.several_ranks import several
from tests.factories.stopping import Stops


def test_the_leader_goes_first_and_all_have_its_word():
    order = list[int]()

    def work(ranks: Ranks) -> int:
        ranks.first(lambda: order.append(ranks.rank))
        return ranks.told(lambda: 40 + ranks.rank)

    assert several(3, work) == [40, 40, 40]
    assert order[0] == 0
    assert sorted(order) == [0, 1, 2]


def test_what_the_leader_refuses_all_refuse_and_one_tells_it():
    def refuse() -> None:
        raise DataError("class B has no image", expected="one at least", do="add some")

    def work(ranks) -> tuple[str, bool]:
        with pytest.raises(DataError) as caught:
            ranks.lead(refuse)
        return str(caught.value), ranks.said_elsewhere(caught.value)

    told = several(3, work)
    assert len({words for words, _ in told}) == 1
    assert [elsewhere for _, elsewhere in told] == [False, True, True]


def test_others_do_something_else_until_the_leader_is_done():
    begun = threading.Event()

    def work_on(task: Task, steps: list[int]) -> None:
        for step in range(10**5):
            steps.append(step)
            begun.set()
            time.sleep(0.001)
            task.advance()

    def work(ranks: Ranks) -> int:
        steps = list[int]()

        def otherwise(called: Callable[[], bool]) -> None:
            task = UntilCalled(Silent(), called).task("other work", 10**5)
            with pytest.raises(CalledError):
                work_on(task, steps)

        ranks.lead(begun.wait, otherwise)
        return len(steps)

    leader, *others = several(3, work)
    assert leader == 0
    assert min(others) >= 1


def test_other_work_ends_soon_after_the_leader_was_stopped():
    begun, stopped = threading.Event(), threading.Event()

    def stop(ranks: Joined) -> None:
        begun.wait()
        ranks.life.end(STOPPED)
        stopped.set()
        raise KeyboardInterrupt

    def work(ranks: Joined) -> float:
        def otherwise(called: Callable[[], bool]) -> None:
            task = UntilCalled(Silent(), called).task("other work", 10**5)
            begun.set()
            stopped.wait()
            for _ in range(10**3):
                time.sleep(0.01)
                task.advance()

        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            ranks.lead(lambda: stop(ranks), otherwise)
        return time.monotonic() - started

    assert max(several(2, work)) < 5


def test_other_work_ends_where_the_leader_hangs():
    begun, over = threading.Event(), threading.Event()

    def work(ranks: Joined) -> str:
        def otherwise(called: Callable[[], bool]) -> None:
            task = UntilCalled(Silent(), called).task("other work", 10**5)
            begun.set()
            for _ in range(10**3):
                time.sleep(0.01)
                task.advance()

        if ranks.leads:
            ranks.life.beat("distilling")
            ranks.lead(lambda: over.wait(8))
            return ""
        with pytest.raises(RankError, match="rank 0 gave no sign") as caught:
            ranks.lead(begun.wait, otherwise)
        over.set()
        return str(caught.value)

    assert "its last words were: distilling" in several(2, work, patience=2.0)[1]


def test_what_the_leader_refuses_is_heard_after_the_other_work():
    def refuse() -> None:
        raise DataError("class B has no image", expected="one at least", do="add some")

    def work(ranks: Ranks) -> bool:
        done = []
        with pytest.raises(DataError):
            ranks.lead(refuse, lambda called: done.append(called()))
        return bool(done)

    assert several(2, work) == [False, True]


def test_each_piece_of_a_queue_is_done_once_and_all_wait_for_its_end():
    done, elsewhere, lock = list[int](), {0: 0, 1: 0, 2: 0}, threading.Lock()

    def work(ranks: Ranks) -> tuple[int, dict]:
        def heard(count: int) -> None:
            elsewhere[ranks.rank] += count

        mine, queue = 0, ranks.queue(20, elsewhere=heard)
        for number in queue:
            time.sleep(0.002 * (number % 3))
            mine += 1
            with lock:
                done.append(number)
            if number in (4, 11):
                queue.report(number, {"by": number})
        assert len(done) == 20
        return mine, queue.reports

    told = several(3, work)
    assert sorted(done) == list(range(20))
    assert sum(mine for mine, _ in told) == 20
    assert all(reports == {4: {"by": 4}, 11: {"by": 11}} for _, reports in told)
    assert [elsewhere[rank] for rank in range(3)] == [20 - mine for mine, _ in told]


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_what_is_gathered_is_in_the_order_of_the_pieces_to_the_bit(size):
    pieces = [{"a": torch.randn(3, 2), "b": torch.tensor(0.1 * n, dtype=torch.float64)} for n in range(4)]

    def work(ranks: Ranks) -> list:
        for _ in range(3):
            found = ranks.gathered([pieces[n] for n in ranks.share(4)], 4, alike=[torch.ones(2)])
        return found

    for found in several(size, work):
        assert all(torch.equal(a[name], b[name]) for a, b in zip(pieces, found, strict=True) for name in ("a", "b"))
        assert all(one["b"].dtype == torch.float64 for one in found)


def test_plain_values_come_in_order_with_every_bit():
    values = [0.1, 1 / 3, 2.0**-1040]
    told = several(2, lambda ranks: ranks.in_order([values[n] for n in ranks.share(3)], 3))
    assert [[one.hex() for one in of_rank] for of_rank in told] == [[one.hex() for one in values]] * 2


def test_a_rank_that_rounds_otherwise_is_named():
    def work(ranks: Ranks) -> None:
        mine = torch.ones(2) + (1e-7 if ranks.rank == 1 else 0)
        ranks.gathered([{"a": mine}], 2, alike=[mine])

    with pytest.raises(RankError, match="rank 1 has other images than rank 0"):
        several(2, work)


def test_ranks_of_two_recipes_are_named():
    with pytest.raises(UsageError, match="rank 2 has another recipe than rank 0: b, not a"):
        several(3, lambda ranks: ranks.agree({"recipe": "aab"[ranks.rank]}, do="give every rank the same command"))


def test_a_rank_that_hangs_is_named_with_what_it_did_last():
    hangs = threading.Event()

    def work(ranks) -> None:
        if ranks.rank == 1:
            ranks.life.beat("Training experts")
            hangs.wait(30)
            return
        try:
            ranks.all_say("here")
        finally:
            hangs.set()

    with pytest.raises(RankError, match=r"rank 1 gave no sign for 1.5 s; its last words were: Training experts"):
        several(2, work, patience=1.5)


def busy(ranks) -> None:
    """Work for some seconds."""
    task = ranks.heard(Silent()).task("Working", 100)
    for _ in range(100):
        time.sleep(0.05)
        task.advance()


def test_a_rank_that_failed_stops_those_that_wait_and_those_that_work():
    def work(ranks) -> type[BaseException] | None:
        if ranks.rank == 0:
            ranks.life.end(FAILED)
            return None
        with pytest.raises(SaidElsewhere) as caught:
            ranks.told(lambda: 1) if ranks.rank == 1 else busy(ranks)
        return caught.type

    assert several(3, work) == [None, SaidElsewhere, SaidElsewhere]


def test_all_stop_at_the_same_step_where_one_wishes_to():
    def work(ranks) -> int:
        steps, task = list[int](), ranks.in_step(Stops(3) if ranks.rank == 1 else Silent()).task("Distilling", 9)

        def nine_steps() -> None:
            for number in range(9):
                ranks.gathered([{"a": torch.ones(1)}], 2)
                steps.append(number)
                task.advance()

        with pytest.raises(KeyboardInterrupt):
            nine_steps()
        return len(steps)

    assert several(2, work) == [4, 4]


def test_one_that_wishes_to_stop_does_not_wait_for_ever_for_the_others():
    def check() -> None:
        raise KeyboardInterrupt

    late = threading.Event()

    def work(ranks) -> None:
        if ranks.rank == 1:
            late.wait(30)
            return
        ranks.life._check = check
        try:
            ranks.gathered([{"a": torch.ones(1)}], 2)
        finally:
            late.set()

    with pytest.raises(RanksStopped):
        several(2, work)


def test_a_process_alone_shares_with_nobody():
    assert list(ALONE.share(3)) == [0, 1, 2]
    assert list(ALONE.queue(3)) == [0, 1, 2]
    assert ALONE.told(lambda: 7) == 7


def test_what_the_launcher_says(monkeypatch):
    assert launched() is None
    known = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_PORT": "1"}
    for name, value in {**known, "TORCHELASTIC_RESTART_COUNT": "2", "TORCHELASTIC_RUN_ID": "job7"}.items():
        monkeypatch.setenv(name, value)
    launch = launched()
    assert launch is not None
    assert (launch.rank, launch.size, launch.local_rank, launch.here, launch.attempt, launch.name) == (
        3,
        8,
        1,
        2,
        2,
        "job7",
    )
    for name in ("RANK", "MASTER_PORT", "TORCHELASTIC_RESTART_COUNT"):
        with monkeypatch.context() as without:
            without.delenv(name)
            assert launched() is None


def test_ranks_of_this_machine_stay_on_it_whatever_was_set(monkeypatch):
    for name in ("OMP_NUM_THREADS", "TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "TORCH_CPP_LOG_LEVEL"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "eth9")
    _prepare_environment(2)
    assert os.environ["GLOO_SOCKET_IFNAME"].startswith("lo")


@pytest.mark.parametrize(("code", "ends_with", "kept"), [(2, 0, 2), (None, 0, 0), (6, 6, 0)])
def test_an_error_that_was_told_does_not_look_like_a_lost_rank(code, ends_with, kept, tmp_path, monkeypatch):
    known = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_PORT": "1"}
    known |= {"TORCHELASTIC_RESTART_COUNT": "0", "TORCHELASTIC_RUN_ID": "x", OUTCOMES: str(tmp_path)}
    for name, value in known.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as end, outcome_kept():
        raise SystemExit(code)
    assert end.value.code == ends_with
    assert exit_code_of(tmp_path, 2) == kept


def test_signs_of_an_earlier_attempt_are_not_those_of_this_one():
    store = HashStore()
    assert several(2, lambda ranks: ranks.told(lambda: 1), store=store) == [1, 1]
