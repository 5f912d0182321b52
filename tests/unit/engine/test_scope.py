"""What of a walk is matched (HoP-TM, ATT, PAD): each against the graph of the whole walk, left to autograd."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from medistill.engine.growing_mask import GrowingMask
from medistill.engine.images import Images
from medistill.engine.objectives.base import Evaluation
from medistill.engine.objectives.trajectory import DrawnSegments, TrajectoryMatching
from medistill.engine.outer import optimise, step
from medistill.engine.scope import MatchScope
from medistill.engine.segment import Segment, StudentSteps
from medistill.engine.shape import match_shape
from medistill.engine.student import Student
from medistill.errors import DivergedError, RecipeError
from medistill.progress import Silent
from medistill.recipe import load_recipe
from tests.factories.both_losses import Exactly
from tests.factories.outer_problem import LABELS, bits, problem_of, recipe_of, restored, source, start
from tests.naive_students import Sgd, naive_walk

SHOWN = torch.arange(4)
ALPHA = 0.05
KEPT = {"threshold": 1e-3, "growth": 1.5, "every": 2}
HOP = {"kept": KEPT, "shape": 3.0, "syn_steps": 5}


def vectors(count: int, length: int = 17) -> list[Tensor]:
    rng = torch.Generator().manual_seed(7)
    return list(torch.randn(count, length, generator=rng, dtype=torch.float64))


def naive_shape(student: list[Tensor], expert: list[Tensor]) -> Tensor:
    """The mean smooth L1 distance of all 27 cosines."""

    def cosines(walk: list[Tensor]) -> Tensor:
        points = torch.stack(walk)
        directions = F.normalize(points[None] - points[:, None], dim=2)
        return torch.einsum("ijp,ikp->ijk", directions, directions)

    return F.smooth_l1_loss(cosines(student), cosines(expert))


@pytest.mark.parametrize("expert_stands", [False, True])
@pytest.mark.parametrize("stretched", [1.0, 1e-3, -1.0])
def test_the_loss_of_shape_is_that_of_all_27_cosines(stretched: float, expert_stands: bool) -> None:
    first, middle, end, its_first, its_middle, its_end = vectors(6)
    expert = [its_first, its_first if expert_stands else its_middle, its_end]
    leaves = [(first + stretched * middle).requires_grad_(), end.requires_grad_()]
    loss = 2.5 * naive_shape([first, *leaves], expert)
    of_middle, of_end = torch.autograd.grad(loss, leaves)
    with torch.no_grad():
        found = match_shape((first, leaves[0], leaves[1]), tuple(expert), 2.5)  # type: ignore[arg-type]
    still = 2.5 * 2 * 0.5 / 27 if expert_stands else 0.0  # the cosine of its side with itself, 0 in place of 1, twice
    assert float(found.loss) + still == pytest.approx(loss.item(), rel=1e-12)
    torch.testing.assert_close(found.lambda_middle, of_middle, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(found.lambda_end, of_end, rtol=1e-12, atol=1e-14)


def test_a_student_that_has_not_moved_has_no_gradient_of_shape() -> None:
    first, end, *expert = vectors(5)
    found = match_shape((first, first, end), tuple(expert), 1.0)  # type: ignore[arg-type]
    assert torch.isfinite(found.lambda_middle).all()
    same = match_shape((first, end, expert[0]), (first, end, expert[0]), 1.0)
    assert (float(same.loss), float(same.lambda_end.norm())) == (0, 0)


def exactly(method: str, trajectories: Any, **settings: Any) -> TrajectoryMatching:
    """The objective in float64."""
    made = problem_of(recipe_of(method, **settings), trajectories).objective
    return replace(made, student=Student(made.student.network.double()), source=Middle(Exactly(made.source)))


class Middle:
    """A source whose states halfway are float64 too."""

    def __init__(self, inner: Exactly) -> None:
        self.inner, self.settings = inner, inner.settings

    def draw(self, *given: Any) -> Segment:
        drawn = self.inner.draw(*given)
        assert isinstance(drawn, Segment)
        return drawn if drawn.middle is None else replace(drawn, middle=drawn.middle.double())


def some_images() -> Images:
    rng = torch.Generator().manual_seed(4)
    pixels = torch.randn(4, 1, 8, 8, generator=rng, dtype=torch.float64)
    return Images(pixels, (2 * LABELS.double()).softmax(dim=1), torch.ones(4, dtype=torch.float64))


def starting(asked: TrajectoryMatching) -> dict[str, Tensor]:
    values = {name: one.start.clone() for name, one in asked.coordinates().items()}
    return {**values, "importance": values["importance"].double()}


def thetas_of(network: Any, images: Images, segment: Segment, alpha: Tensor) -> list[Tensor]:
    """All states of a student, with the graph between them."""
    states = [segment.start.clone().requires_grad_()]
    for at in range(len(segment.steps)):
        states.append(naive_walk(network, images, states[-1], segment.steps[at : at + 1], Sgd(alpha)))
    return states


def reachable(asked: TrajectoryMatching, images: Images, drawn: DrawnSegments, after: int) -> DrawnSegments:
    """The same with targets that students come closest to after so many steps, a step later in each further segment."""
    alpha, segments = starting(asked)["log_alpha"].exp(), []
    for more, segment in enumerate(drawn.segments):
        there = thetas_of(asked.student.network, images, segment, alpha)[after + more].detach()
        near = 1e-3 * torch.randn(len(there), generator=torch.Generator().manual_seed(after), dtype=torch.float64)
        segments.append(replace(segment, target=there + near))
    return replace(drawn, segments=segments)


def naive_loss(asked: TrajectoryMatching, images: Images, drawn: DrawnSegments, kept: Tensor, alpha: Tensor) -> Tensor:
    """The mean loss of an outer step, as the papers have it; the mask grows from segment to segment."""
    scope, losses = asked.scope, []
    for segment in drawn.segments:
        states = thetas_of(asked.student.network, images, segment, alpha)
        target, length = segment.target, len(states) - 1
        if scope.closest != "off":
            power = 1 if scope.closest == "l1" else 2
            apart = [float((theta.detach() - target).abs().pow(power).sum()) for theta in states[1:]]
            length = 1 + apart.index(min(apart))
        error, moved = (states[length] - target).square(), (segment.start - target).square()
        if scope.kept is not None:
            kept = kept | (error.detach() < KEPT["threshold"] * KEPT["growth"] ** (drawn.iteration // KEPT["every"]))
        else:
            kept = torch.ones_like(kept)
        deep = torch.arange(len(error)) >= int(scope.depth * len(error))
        loss = error[kept & deep].sum() / moved[kept & deep].sum()
        if scope.shape:
            walked = [states[0].detach(), states[length // 2], states[length]]
            loss = loss + scope.shape * naive_shape(walked, [segment.start, segment.middle, target])
        losses.append(loss)
    return sum(losses) / len(losses)


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "hop-tm": ("hop-tm", HOP),
    "hop-tm, even": ("hop-tm", {**HOP, "syn_steps": 4}),
    "hop-tm, two segments": ("hop-tm", {**HOP, "segments": 2, "batch_syn": 3}),
    "shape alone": ("hop-tm", {**HOP, "kept": {"threshold": 0.0}}),
    "mask alone": ("hop-tm", {**HOP, "shape": 0.0}),
    "att": ("att", {"syn_steps": 6}),
    "pad": ("pad", {"depth": 0.4, "labels": "hard"}),
    "pad, two segments": ("pad", {"depth": 0.9, "labels": "hard", "segments": 2}),
    "att by squares": ("att", {"syn_steps": 6, "closest": "l2", "segments": 3}),
}


@pytest.mark.parametrize("side_by_side", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_the_gradient_is_that_of_the_whole_walk(trajectories: Any, case: str, side_by_side: bool) -> None:
    method, settings = CASES[case]
    asked = exactly(method, trajectories, **settings)
    images, learned = some_images(), starting(asked)
    drawn = asked.draw(3, SHOWN)
    if method == "att":
        drawn = reachable(asked, images, drawn, 3)
    pixels, labels = images.pixels.clone().requires_grad_(), images.labels.clone().requires_grad_()
    alpha = learned["log_alpha"].exp().clone().requires_grad_()
    nothing = torch.zeros(len(drawn.segments[0].start), dtype=torch.bool)
    loss = naive_loss(asked, Images(pixels, labels, images.weights), drawn, nothing, alpha)
    of_pixels, of_labels, of_alpha = torch.autograd.grad(loss, (pixels, labels, alpha))
    for micro_batch in (1, 3, 4):
        found = evaluated(asked, images, learned, drawn, micro_batch, side_by_side=side_by_side)
        assert found.loss == pytest.approx(loss.item(), rel=1e-12)
        for mine, reference in ((found.grad_images, of_pixels), (found.grad_labels, of_labels)):
            assert float((mine - reference).norm() / reference.norm()) < 1e-12
        assert float(found.grad_learned["log_alpha"]) == pytest.approx(float(of_alpha * alpha.detach()), rel=1e-11)


def evaluated(asked: Any, images: Any, learned: Any, drawn: Any, micro_batch: int, *, side_by_side: bool) -> Evaluation:
    """The objective's answer; ``side_by_side`` is how a GPU walks segments."""
    if side_by_side:
        walk = asked._side_by_side
        asked = replace(asked)
        object.__setattr__(asked, "_one_by_one", walk)
    return asked.evaluate(images, learned, drawn, micro_batch)


def test_att_leaves_what_comes_after_the_closest_step_alone(trajectories: Any) -> None:
    asked = exactly("att", trajectories, syn_steps=4, batch_syn=1)
    images, learned = some_images(), starting(asked)
    for length in range(1, 5):
        drawn = reachable(asked, images, asked.draw(length, SHOWN), length)
        found = asked.evaluate(images, learned, drawn, 4)
        assert float(found.grad_learned["matched_steps"]) == length
        used = {int(row) for rows in drawn.segments[0].steps.batches[:length] for row in rows}
        assert {row for row in range(4) if found.grad_images[row].any()} == used
        assert len(used) == length


def test_of_equally_near_states_the_last_counts_and_the_start_never() -> None:
    near, far = torch.zeros(3), torch.ones(3)
    scope = MatchScope(closest="l1")
    assert scope.length([near, far, -far, 2 * far], near) == 2
    assert scope.length([near, 3 * far], near) == 1
    assert MatchScope().length([near, near, far], near) == 2


AT_REST: dict[str, dict[str, Any]] = {
    "hop-tm": {"kept": {"threshold": 0.0}, "shape": 0.0},
    "att": {"closest": "off"},
    "pad": {
        "depth": 0.0,
        "labels": "hard",
        "start_growth": 0.0,
        "selection": {"start_share": 1.0, "drop_first": 0.0, "drop_last": 0.0},
    },
}
"""The settings that make a method what it is, at rest."""


@pytest.mark.parametrize("method", AT_REST)
def test_at_rest_it_is_mtt_to_the_last_bit(trajectories: Any, method: str) -> None:
    settings = {"segments": 2, "batch_syn": 3}
    states = []
    for recipe in (recipe_of(method, **settings, **AT_REST[method]), recipe_of("mtt", **settings)):
        made = problem_of(recipe, trajectories)
        states.append(start(made))
        optimise(states[-1], made, Silent())
    assert bits(states[0]) == bits(states[1])


def test_where_everything_is_kept_and_shape_has_no_weight_it_is_mtt_to_the_last_bit(trajectories: Any) -> None:
    made, plain = (
        problem_of(recipe, trajectories)
        for recipe in (recipe_of("hop-tm", kept={"threshold": 1e30}, shape=0.0), recipe_of("mtt"))
    )
    state, other = start(made), start(plain)
    optimise(state, made, Silent())
    optimise(other, plain, Silent())
    assert state.values["kept"].all()
    assert all(torch.equal(state.values[name], value) for name, value in other.values.items())
    assert state.history.loss == other.history.loss


def test_parameters_join_for_good_and_by_a_growing_threshold(trajectories: Any) -> None:
    recipe = recipe_of("hop-tm", kept=KEPT, shape=0.0, iterations=8)
    made = problem_of(recipe, trajectories)
    state = start(made)
    expected, shares = torch.zeros_like(state.values["kept"]), []
    for iteration in range(8):
        segment = source(recipe, trajectories).draw(iteration, SHOWN)
        images = made.images(state.values)
        with torch.enable_grad():
            alpha = state.values["log_alpha"].exp().float()
            end = thetas_of(made.objective.student.network, images, segment, alpha)[-1].detach()
        squares, limit = (end - segment.target).square(), 1e-3 * 1.5 ** (iteration // 2)
        expected |= squares < limit
        step(state, made)
        near = (squares - limit).abs() < 1e-4 * limit  # where rounding may decide
        assert torch.equal(state.values["kept"][~near], expected[~near])
        expected = state.values["kept"].clone()
        shares.append(float(expected.double().mean()))
    assert state.history.figures["kept_share"] == shares == sorted(shares)
    assert 0 < shares[0] < shares[-1] < 1


def test_the_published_threshold_grows_every_500_steps() -> None:
    mask = GrowingMask(1e-10, 1.3, 500)
    limits = [mask.limit(step) for step in (0, 499, 500, 9_999)]
    assert limits == pytest.approx([1e-10, 1e-10, 1.3e-10, 1e-10 * 1.3**19], rel=1e-12)
    assert GrowingMask(1e-10, 10.0, 1).limit(100_000) > 1e300


@pytest.mark.parametrize("dies_after", [1, 4])
def test_a_run_resumes_to_the_same_bits(trajectories: Any, tmp_path: Path, dies_after: int) -> None:
    recipe = recipe_of("hop-tm", kept=KEPT, shape=2.0, segments=2, ema=0.9)
    whole = problem_of(recipe, trajectories)
    expected = start(whole)
    optimise(expected, whole, Silent())
    path = tmp_path / "checkpoint.safetensors"
    made = problem_of(recipe, trajectories, path)
    state = start(made)
    for _ in range(dies_after):
        step(state, made)
    made.save(state)
    resumed = restored(path, recipe, trajectories)
    assert resumed.values["kept"].any()
    assert torch.equal(resumed.values["kept"], state.values["kept"])
    optimise(resumed, made, Silent())
    assert {n: t for n, t in resumed.values.items() if not torch.equal(t, expected.values[n])} == {}


def test_nothing_easy_enough_is_an_error_that_names_the_threshold(trajectories: Any, tmp_path: Path) -> None:
    recipe, path = recipe_of("hop-tm", kept={"threshold": 1e-30}), tmp_path / "checkpoint.safetensors"
    made = problem_of(recipe, trajectories, path)
    with pytest.raises(DivergedError, match=r"outer step 1 no parameter is easy enough .*method\.kept\.threshold"):
        optimise(start(made), made, Silent())
    assert restored(path, recipe, trajectories).iteration == 0


def test_parameters_that_never_move_are_not_enough_to_match() -> None:
    start_at, live = torch.tensor([0.0, 1.0]), torch.tensor([False, True])
    segment = Segment(start_at, torch.tensor([1e-9, 2.0]), StudentSteps([], []))
    with pytest.raises(DivergedError, match=r"smallest squared error is 0\.25"):
        GrowingMask(1e-3, 1.3, 500).grown(torch.zeros(2, dtype=torch.bool), torch.tensor([0.0, 1.5]), segment, live, 0)


@pytest.mark.parametrize("short", ["method.expert_epochs=1", "method.syn_steps=1"])
def test_walks_without_a_middle_have_no_shape(short: str) -> None:
    with pytest.raises(RecipeError, match=r"method\.shape 1 needs a middle of both walks"):
        load_recipe("demo", ["method.name=hop-tm", short])
    load_recipe("demo", ["method.name=hop-tm", "method.shape=0", short])
