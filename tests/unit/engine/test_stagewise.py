"""Experts of each stage's own: which a step follows, what they are made of, and that a run resumes to the same bits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from medistill.artifacts.trajectories import Trajectories
from medistill.engine.checkpoint import load_checkpoint, save_checkpoint
from medistill.engine.images import Images
from medistill.engine.objectives.stagewise import Stagewise
from medistill.engine.outer import optimise, step
from medistill.engine.problem import DistillationProblem
from medistill.engine.state import State
from medistill.methods.optimising.origin import checkpoint_origin, refuse_another_run
from medistill.progress import Silent
from medistill.recipe import load_recipe
from tests.factories.outer_problem import bits, problem_of, random_walks, recipe_of, start

STAGED = {"stages": 2, "new_experts": True, "max_start_epoch": 3, "validate_every": 1}


class Maker:
    """Makes random walks, and remembers what it was given."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.given = folder, list[tuple[int, Trajectories, Images, float]]()

    def __call__(self, stage: int, previous: Trajectories, images: Images, rate: float) -> Trajectories:
        self.given.append((stage, previous, images, rate))
        store = random_walks(self.folder / str(len(self.given)))
        for expert in range(store.count):  # others than those of the run
            walk = torch.stack([torch.from_numpy(store.snapshot(expert, epoch)) for epoch in range(store.epochs + 1)])
            store.save_expert(expert, (walk + 0.1 * stage).numpy())
        return store


def staged(trajectories: Any, maker: Maker, path: Path | None = None) -> DistillationProblem:
    recipe = recipe_of("pdd", **STAGED)
    made = problem_of(recipe, trajectories)

    def save(state: State) -> None:
        if path is not None:
            save_checkpoint(state, path, checkpoint_origin(recipe, trajectories.key))

    return replace(made, objective=Stagewise(made.objective, made.stage, maker), save=save)


def test_each_stage_follows_its_own_experts_over_the_whole_range(trajectories: Any, tmp_path: Path) -> None:
    made = staged(trajectories, Maker(tmp_path))
    plain = problem_of(recipe_of("pdd", **STAGED), trajectories)
    state, other = start(made), start(plain)
    settings = made.objective.matching.source.settings
    assert [list(settings.start_epochs(iteration)) for iteration in (0, 5)] == [[0, 1, 2]] * 2
    for iteration in range(6):
        if iteration == 3:
            assert made.objective.make.given == []
            before = {name: value.clone() for name, value in state.values.items()}
        step(state, made)
        step(other, plain)
        same = torch.equal(state.values["pixels"], other.values["pixels"])
        assert same == (iteration < 3)
    ((stage, previous, images, rate),) = made.objective.make.given
    assert (stage, previous) == (1, trajectories)
    assert torch.equal(images.pixels, before["pixels"][[0, 2]])
    assert images.labels.tolist() == [[1, 0], [0, 1]]
    assert rate == float(before["log_alpha"].exp())
    assert state.values["stage_lr"].tolist() == [pytest.approx(0.05), rate]


@pytest.mark.parametrize("dies_after", [1, 3, 5])
def test_resumes_to_the_same_bits_and_makes_the_same_experts_again(
    trajectories: Any, tmp_path: Path, dies_after: int
) -> None:
    whole = staged(trajectories, Maker(tmp_path / "whole"))
    expected = start(whole)
    optimise(expected, whole, Silent())

    class Dies(Silent):
        def task(self, title: str, total: int, *, done: int = 0) -> Any:
            task = super().task(title, total, done=done)
            count = iter(range(dies_after, 0, -1))

            def advance(steps: int = 1, *, figures: str = "") -> None:
                if next(count) == 1:
                    raise KeyboardInterrupt

            task.advance = advance  # type: ignore[method-assign]
            return task

    path = tmp_path / "checkpoint.safetensors"
    killed = staged(trajectories, Maker(tmp_path / "killed"), path)
    with pytest.raises(KeyboardInterrupt):
        optimise(start(killed), killed, Dies())
    going_on = staged(trajectories, Maker(tmp_path / "again"), path)
    recipe, state = recipe_of("pdd", **STAGED), start(going_on)
    load_checkpoint(state, path, refuse_another_run(path, recipe, trajectories.key))
    optimise(state, going_on, Silent())
    assert bits(state) == bits(expected)
    (first,), (again,) = whole.objective.make.given, going_on.objective.make.given
    assert torch.equal(first[2].pixels, again[2].pixels)
    assert first[3].hex() == again[3].hex()


def test_one_stage_is_mtt_to_the_last_bit(trajectories: Any, tmp_path: Path) -> None:
    recipe = recipe_of("pdd", stages=1, new_experts=True)
    made = problem_of(recipe, trajectories)
    made = replace(made, objective=Stagewise(made.objective, made.stage, Maker(tmp_path)))
    plain = problem_of(recipe_of("mtt"), trajectories)
    state, other = start(made), start(plain)
    optimise(state, made, Silent())
    optimise(other, plain, Silent())
    assert all(torch.equal(state.values[name], value) for name, value in other.values.items())
    assert made.objective.make.given == []


def test_stages_with_experts_of_their_own_need_no_share_of_the_starts() -> None:
    few = ["method.name=pdd", "method.min_start_epoch=8", "method.max_start_epoch=10"]
    assert load_recipe("demo", [*few, "method.new_experts=true"]).method.stage_count == 5
