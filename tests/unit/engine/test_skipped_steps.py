"""Outer steps that give nothing to move along: skipped, counted, told, and too many of them refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from medistill.engine.checkpoint import load_checkpoint, save_checkpoint
from medistill.engine.coordinates import Coordinate, MomentumSGD, TakenOver, Values
from medistill.engine.images import Images
from medistill.engine.labels import HardLabels
from medistill.engine.objectives.base import Evaluation, Objective
from medistill.engine.outer import optimise, step
from medistill.engine.parameterisations.pixels import Pixels
from medistill.engine.problem import DistillationProblem, OuterSettings
from medistill.engine.state import State
from medistill.errors import DivergedError
from medistill.progress import Silent, SilentTask
from medistill.training.randomness import generator

CLASSES = torch.tensor([[1.0, 0], [0, 1]])


@dataclass(frozen=True)
class Brittle(Objective[int]):
    """Half the squared size of the images, which are not to be had at some outer steps; it counts the others it saw.

    Attributes:
        breaks: the outer steps, from 1, that are not usable.
        says: whether it says so.
        beyond: the size of the images beyond which no step is usable.
    """

    breaks: frozenset[int]
    says: bool = True
    beyond: float = math.inf

    unstable = "student_lr"

    def draw(self, iteration: int, shown: Tensor) -> int:
        return iteration + 1

    def evaluate(self, images: Images, learned: Values, drawn: int, micro_batch: int) -> Evaluation:
        broken = drawn in self.breaks or float(images.pixels.norm()) > self.beyond
        factor = math.nan if broken else 1.0
        seen = {"seen": learned["seen"] + 1}
        loss = factor * float(images.pixels.square().sum()) / 2
        return Evaluation(loss, factor * images.pixels, torch.zeros(2, 2), seen, usable=not (broken and self.says))

    def coordinates(self) -> dict[str, Coordinate]:
        return {"seen": Coordinate(torch.tensor(0), TakenOver())}

    def step_figures(self, learned: Values) -> dict[str, float]:
        return {"student_lr": 0.5}


def problem(*breaks: int, save: Callable[[State], None] | None = None, **settings: float) -> DistillationProblem:
    given = {"iterations": 40, "checkpoint_every": 1, **settings}
    return DistillationProblem(
        settings=OuterSettings(**given),
        objective=Brittle(frozenset(breaks)),
        parameterisation=Pixels(torch.randn(2, 1, 3, 3, generator=generator(0)), MomentumSGD(0.01, 0.5)),
        labels=HardLabels(CLASSES),
        stage=torch.zeros(2, dtype=torch.int64),
        precision="fp32",
        validate=None,
        save=save or (lambda state: None),
    )


def begun(made: DistillationProblem) -> State:
    state = State.start(made.coordinates)
    state.micro_batch = 2
    return state


class Hears(Silent):
    """Keeps what is said, and the figures beside the bar."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.figures: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)

    def task(self, title: str, total: int, *, done: int = 0) -> SilentTask:
        hears = self

        class Task(SilentTask):
            def advance(self, steps: int = 1, *, figures: str = "") -> None:
                hears.figures.append(figures)

        return Task()


def test_a_skipped_step_moves_nothing_and_counts() -> None:
    made = problem(3, ema=0.9)
    state, before = begun(made), {}
    for number in (1, 2, 3):
        before = {name: one.clone() for name, one in state.tensors().items()}
        step(state, made)
        still = {name for name, one in state.tensors().items() if torch.equal(one, before[name])}
        moving = {"pixels", "pixels.velocity", "pixels.average"}
        assert (moving <= still) == (number == 3)
    assert state.iteration == 3
    assert int(state.values["seen"]) == 3, "what the objective has to remember is taken over all the same"
    assert state.history.skipped == [3]
    assert state.history.loss[2] == state.history.loss[1] < state.history.loss[0]
    step(state, made)
    assert not torch.equal(state.values["pixels"], before["pixels"])
    assert state.history.skipped == [3]


def test_the_rest_of_the_run_is_as_if_the_step_had_not_been() -> None:
    """Images that shrink by SGD with momentum, written out; step 5 and 30 of 40 are left out."""
    made = problem(5, 30)
    state = begun(made)
    pixels, velocity, losses = state.values["pixels"].double(), 0.0, []
    optimise(state, made, Silent())
    for number in range(1, 41):
        if number in (5, 30):
            losses.append(losses[-1])
            continue
        losses.append(float(pixels.square().sum()) / 2)
        velocity = 0.5 * velocity + pixels
        pixels = pixels - 0.01 * velocity
    torch.testing.assert_close(state.values["pixels"].double(), pixels, rtol=1e-5, atol=1e-6)
    assert state.history.loss == pytest.approx(losses, rel=1e-5)


@pytest.mark.parametrize("breaks", [(1,), (1, 2), (2,), (1, 3), (40,)])
def test_the_history_has_a_finite_loss_for_every_step_and_is_json(breaks: tuple[int, ...]) -> None:
    made = problem(*breaks)
    state = begun(made)
    optimise(state, made, Silent())
    history = json.loads(json.dumps(asdict(state.history), allow_nan=False))
    assert len(history["loss"]) == len(history["figures"]["student_lr"]) == 40
    assert all(math.isfinite(loss) for loss in history["loss"])
    assert history["figures"]["skipped"] == list(breaks)
    first_taken = min(set(range(1, 41)) - set(breaks))
    assert history["loss"][:first_taken] == [history["loss"][0]] * first_taken


def test_a_run_in_which_none_was_skipped_has_no_such_figure() -> None:
    made = problem()
    state = begun(made)
    optimise(state, made, Silent())
    assert state.history.skipped == []
    assert set(state.history.figures) == {"student_lr"}


@pytest.mark.parametrize(
    ("breaks", "iterations", "ends"),
    [
        ((3, 7), 40, None),  # a tenth of the first twenty
        ((3, 7, 11), 40, 20),  # more, which is asked for from there on
        ((3, 7, 29), 40, 29),
        ((3, 7, 30), 40, None),
        (tuple(range(1, 20)), 40, 20),  # the first step that could be taken comes too late
        ((2,), 10, None),
        ((2, 4), 10, 10),  # a short run asks at its end
        ((1, 2, 3), 3, 3),
    ],
)
def test_more_than_a_tenth_ends_the_run_with_the_setting_to_lower(
    breaks: tuple[int, ...], iterations: int, ends: int | None
) -> None:
    saved: list[int] = []
    made = problem(*breaks, iterations=iterations, save=lambda state: saved.append(state.iteration))
    state = begun(made)
    if ends is None:
        optimise(state, made, Silent())
        assert state.iteration == iterations
        return
    with pytest.raises(DivergedError, match=rf"at outer step {ends}: {len(breaks)} of .*lower method\.student_lr by"):
        optimise(state, made, Silent())
    assert state.iteration == saved[-1] == ends - 1
    with pytest.raises(DivergedError, match=rf"at outer step {ends}: "):  # which going on does not get round
        optimise(state, made, Silent())


def test_it_is_told_the_first_time_the_second_and_the_fourth() -> None:
    breaks, heard = (30, 40, 50, 60, 70), Hears()
    made = problem(*breaks, iterations=80)
    optimise(begun(made), made, heard)
    assert [sentence.split(",")[0] for sentence in heard.said] == [
        f"Outer step {number} was skipped" for number in (30, 40, 60)
    ]
    assert "(4 skipped so far)" in heard.said[-1]
    assert [number for number, figures in enumerate(heard.figures, start=1) if "skipped" in figures] == list(breaks)
    assert not any("nan" in figures for figures in heard.figures)


@pytest.mark.parametrize("stopped_after", [1, 5, 6])
def test_a_resumed_run_ends_in_the_same_bits(tmp_path: Path, stopped_after: int) -> None:
    made = problem(1, 6, 31)
    whole = begun(made)
    optimise(whole, made, Silent())
    path = tmp_path / "checkpoint.safetensors"
    part = begun(made)
    for _ in range(stopped_after):
        step(part, made)
    save_checkpoint(part, path, {})
    resumed = State.start(made.coordinates)
    load_checkpoint(resumed, path, lambda origin: None)
    assert resumed.history.skipped == [number for number in (1, 6) if number <= stopped_after]
    optimise(resumed, made, Silent())
    assert resumed.history == whole.history
    for name, one in whole.tensors().items():
        assert torch.equal(resumed.tensors()[name], one), name


def test_what_was_skipped_before_a_stop_counts_after_it(tmp_path: Path) -> None:
    made, path = problem(3, 7, 11), tmp_path / "checkpoint.safetensors"
    part = begun(made)
    for _ in range(12):
        step(part, made)
    save_checkpoint(part, path, {})
    resumed = State.start(made.coordinates)
    load_checkpoint(resumed, path, lambda origin: None)
    with pytest.raises(DivergedError, match="at outer step 20: 3 of"):
        optimise(resumed, made, Silent())


def test_a_sharpness_aware_step_is_skipped_where_the_shifted_images_alone_break() -> None:
    made = problem(sharpness=1.0)
    size = float(made.parameterisation.start.norm())
    made = replace(made, objective=Brittle(frozenset(), beyond=size + 0.5))
    state = begun(made)
    step(state, made)
    assert state.history.skipped == [1]
    assert torch.equal(state.values["pixels"], made.parameterisation.start)


def test_an_objective_that_does_not_say_so_is_refused_at_once() -> None:
    made = replace(problem(), objective=Brittle(frozenset({3}), says=False))
    state = begun(made)
    with pytest.raises(DivergedError, match=r"at outer step 3: the loss is nan.*lower method\.student_lr by"):
        optimise(state, made, Silent())
    assert state.iteration == len(state.history.loss) == 2
