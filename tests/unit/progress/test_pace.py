"""The time left: from the pace of late, against what a simulated task then really took; or that it is not known."""

from __future__ import annotations

import numpy as np
import pytest

from medistill.pace import Pace, duration
from medistill.progress import by_pass


def told(costs: list[float], *, every: float) -> list[tuple[float, float | None]]:
    """Seconds truly left and seconds told, at looks every so often, of a task whose steps cost so much each."""
    ends, looks = np.cumsum(costs), []
    pace, done = Pace(len(costs), 0, 0.0), 0
    for now in np.arange(every, ends[-1], every):
        while ends[done] <= now:
            pace.advance(1, ends[done])
            done += 1
        looks.append((float(ends[-1] - now), pace.left(float(now))))
    return looks


def test_steps_that_are_alike_are_told_to_the_second() -> None:
    for true, said in told([30.0] * 8, every=10.0)[6:]:
        assert said == pytest.approx(true, abs=1e-6)


def test_within_a_step_the_time_left_runs_down_and_never_up() -> None:
    """The mean over all that has passed, as it was before, goes up for as long as a step lasts."""
    said = [left for _, left in told([60.0] * 4, every=5.0) if left is not None]
    assert len(said) > 20
    assert said == sorted(said, reverse=True)


def test_a_pace_that_changes_is_followed() -> None:
    looks = told([0.1] * 1000 + [1.0] * 600, every=10.0)
    late = [(true, said) for true, said in looks if true < 400]
    assert all(said is not None and abs(said - true) < 0.02 * true + 1.5 for true, said in late)


def test_what_began_slowly_is_told_once_it_is_fast() -> None:
    looks = told([20.0] + [0.5] * 800, every=10.0)
    assert [said for _, said in looks[:2]] == [None, None]  # one step says nothing of others
    assert all(said is not None and abs(said - true) < 0.05 * true + 1.0 for true, said in looks if true < 270)


def test_of_pieces_that_are_unlike_nothing_is_told() -> None:
    pace = Pace(9, 0, 0.0)
    for end in (1.0, 2.0, 3.0, 103.0):
        pace.advance(1, end)
    assert pace.left(104.0) is None
    assert pace.words(104.0) == "; time left not known yet"


def test_a_step_that_takes_longer_than_those_before_is_not_taken_to_be_over() -> None:
    pace = Pace(4, 0, 0.0)
    pace.advance(1, 60.0)
    pace.advance(1, 120.0)
    assert pace.left(150.0) == pytest.approx(90.0)
    assert pace.left(1000.0) == pytest.approx(60.0)


def test_seconds_are_told_where_there_are_less_than_a_minute_of_them() -> None:
    pace = Pace(4, 0, 0.0)
    assert pace.words(1.0) == ""
    pace.advance(1, 2.0)
    pace.advance(1, 4.0)
    pace.advance(1, 6.0)
    assert pace.words(6.0) == "; about 2 s left"


def test_what_an_earlier_call_did_says_nothing_of_the_pace() -> None:
    pace = Pace(100, 80, 0.0)
    assert pace.left(5.0) is None
    for end in (4.0, 8.0, 12.0):
        pace.advance(1, end)
    assert pace.left(12.0) == pytest.approx(17 * 4.0)


def test_work_in_passes_tells_which_one_it_is_in() -> None:
    class Heard:
        figures = ""

        def advance(self, steps: int = 1, *, figures: str = "") -> None:
            assert steps == 0
            self.figures = figures

    task = Heard()
    tick = by_pass(task, 10, 21)  # type: ignore[arg-type]
    for batch, pass_ in ((6, 1), (4, 1), (6, 2), (4, 2), (6, 3)):
        tick(batch)
        assert task.figures == f"pass {pass_} of at most 21"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (185, "3 min 5 s"), (7800, "2 h 10 min")]
)
def test_durations_are_said_as_a_person_would(seconds: float, words: str) -> None:
    assert duration(seconds) == words
