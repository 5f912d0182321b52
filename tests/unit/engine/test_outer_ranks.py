"""The outer loop over ranks: the same bits whatever their number, also where a run is resumed under another one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from medistill.engine.objectives.trajectory import TrajectoryMatching
from medistill.engine.outer import optimise
from medistill.engine.problem import DistillationProblem
from medistill.progress import Silent
from medistill.ranks.ranks import ALONE, Ranks
from tests.factories.outer_problem import bits, problem_of, recipe_of, restored, start
from tests.factories.several_ranks import several
from tests.factories.stopping import Stops


def shared(problem: DistillationProblem, ranks: Ranks) -> DistillationProblem:
    """The problem with its segments shared; only the leader saves."""
    assert isinstance(problem.objective, TrajectoryMatching)
    objective = replace(problem.objective, ranks=ranks)
    return replace(problem, objective=objective, save=problem.save if ranks.leads else lambda _: None)


def made(recipe, trajectories, ranks: Ranks) -> list[object]:
    problem = shared(problem_of(recipe, trajectories), ranks)
    state = start(problem)
    optimise(state, problem, ranks.in_step(Silent()), alone=False)
    return bits(state)


@pytest.mark.parametrize(
    ("method", "settings"),
    [("satm", {}), ("datm", {}), ("iadd", {"importance": {"direction": "descent"}})],
)
def test_one_two_three_and_six_ranks_make_the_same_bits(method, settings, trajectories):
    recipe = recipe_of(method, segments=4, iterations=3, **settings)
    alone = made(recipe, trajectories, ALONE)
    for size in (2, 3, 6):
        assert all(of_rank == alone for of_rank in several(size, lambda ranks: made(recipe, trajectories, ranks)))


def test_another_number_of_ranks_goes_on_to_the_same_bits(trajectories, tmp_path):
    recipe = recipe_of(segments=3)
    path = tmp_path / "checkpoint.safetensors"

    def stopped(ranks: Ranks) -> None:
        problem = shared(problem_of(recipe, trajectories, path), ranks)
        with pytest.raises(KeyboardInterrupt):
            optimise(start(problem), problem, ranks.in_step(Stops(2) if ranks.leads else Silent()), alone=False)

    def resumed(ranks: Ranks) -> list[object]:
        state = restored(path, recipe, trajectories)
        assert 0 < state.iteration < 6
        problem = shared(problem_of(recipe, trajectories), ranks)
        optimise(state, problem, ranks.in_step(Silent()), alone=False)
        return bits(state)

    undisturbed = made(recipe, trajectories, ALONE)
    several(2, stopped)
    for size in (1, 3):
        assert all(of_rank == undisturbed for of_rank in several(size, resumed))
