"""Both losses in one run: the hypergradient of W, how gradients are weighed, what rests, and resuming to the bit."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from medistill.artifacts.corpus import Corpus
from medistill.engine.checkpoint import load_checkpoint
from medistill.engine.coordinates import Adam
from medistill.engine.images import Images
from medistill.engine.objectives.combined import Combined, Resting, Shares
from medistill.engine.outer import optimise, step
from medistill.engine.state import State
from medistill.methods.optimising.origin import refuse_another_run
from medistill.progress import Silent
from tests.factories.both_losses import combined, combined_problem, in_float64, recipe_with
from tests.factories.drawn_corpus import drawn_corpus
from tests.factories.outer_problem import LABELS, bits, start

SHOWN = torch.arange(4)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Three classes, 12 training images each, of which the first two are drawn."""
    return drawn_corpus(tmp_path / "corpus", size=8)


def starting(both: Combined) -> dict[str, Tensor]:
    values = {name: one.start for name, one in both.coordinates().items()}
    return {**values, "importance": values["importance"].double()}


def some_images() -> Images:
    pixels = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    soft = (2 * LABELS.double()).softmax(dim=1)
    return Images(pixels, soft, torch.ones(4, dtype=torch.float64))


def real_alone(both: Combined, images: Images, learned: dict[str, Tensor], drawn: Any) -> Any:
    own = {name: learned[f"real_{name}"] for name in both.real.coordinates()}
    return both.real.evaluate(images, own, drawn.real, 3)


@pytest.mark.parametrize("mask", ["none", "hard"])
@pytest.mark.parametrize("granularity", ["tensor", "scalar"])
def test_the_hypergradient_is_that_of_the_real_loss_after_an_outer_step(
    trajectories, corpus, granularity: str, mask: str
) -> None:
    importance = {"direction": "usefulness", "granularity": granularity}
    recipe = recipe_with({"window": 5}, importance=importance, segments=2, mask={"rule": mask})  # the whole walk
    both = in_float64(combined(recipe, trajectories, corpus))
    images, learned, rate, h = some_images(), starting(both), 0.5, 1e-4
    drawn = both.draw(2, SHOWN)

    def after(weights: Tensor) -> Images:
        seen = both.trajectory.evaluate(images, {**learned, "importance": weights}, drawn.trajectory, 3)
        return replace(images, pixels=images.pixels - rate * seen.grad_images)

    w = learned["importance"]
    direction = real_alone(both, after(w), learned, drawn).grad_images
    found = -rate * both.trajectory.importance_along(images, learned, drawn.trajectory, direction, 3)
    asked = range(0, len(w), max(1, len(w) // 6))
    for group in asked:
        shift = torch.zeros_like(w)
        shift[group] = h
        up, down = (real_alone(both, after(w + sign * shift), learned, drawn).loss for sign in (1, -1))
        assert float(found[group]) == pytest.approx((up - down) / (2 * h), rel=1e-4, abs=1e-4 * float(found.norm()))
    assert found.any()


def test_w_by_usefulness_moves_along_it_and_its_gradient_has_length_one_at_first(trajectories, corpus) -> None:
    both = in_float64(combined(recipe_with(importance={"direction": "usefulness"}), trajectories, corpus))
    images, learned, drawn = some_images(), starting(both), both.draw(0, SHOWN)
    seen = both.evaluate(images, learned, drawn, 3)
    plain = both.trajectory.evaluate(images, learned, drawn.trajectory, 3)
    u = real_alone(both, images, learned, drawn).grad_images
    along = both.trajectory.importance_along(images, learned, drawn.trajectory, u, 3)
    torch.testing.assert_close(seen.grad_learned["importance"], -along / along.norm())
    assert torch.equal(seen.grad_images, plain.grad_images), "images move as without it"
    assert torch.equal(seen.grad_labels, plain.grad_labels)
    assert seen.loss == plain.loss


def test_each_gradient_is_divided_by_its_own_running_norm(trajectories, corpus) -> None:
    both = in_float64(combined(recipe_with({"weight": 0.25}), trajectories, corpus))
    images, learned = some_images(), starting(both)
    sizes: dict[str, Tensor] = {}
    for iteration in range(3):
        drawn = both.draw(iteration, SHOWN)
        seen = both.evaluate(images, learned, drawn, 3)
        alone = {
            "trajectory": both.trajectory.evaluate(images, learned, drawn.trajectory, 3),
            "real": real_alone(both, images, learned, drawn),
        }
        for name, one in alone.items():
            now = torch.stack([one.grad_images.norm(), one.grad_labels.norm()])
            sizes[name] = now if iteration == 0 else 0.9 * sizes[name] + 0.1 * now
        for k, kind in enumerate(("grad_images", "grad_labels")):
            expected = sum(
                share * getattr(alone[name], kind) / sizes[name][k]
                for name, share in (("trajectory", 0.75), ("real", 0.25))
            )
            torch.testing.assert_close(getattr(seen, kind), expected)
        assert seen.loss == pytest.approx(0.75 * alone["trajectory"].loss + 0.25 * alone["real"].loss)
        learned = {**learned, **{name: seen.grad_learned[name] for name in ("norm_trajectory", "norm_real")}}


def test_after_trajectories_the_real_loss_counts_alone_and_what_is_not_asked_rests(trajectories, corpus) -> None:
    problem = combined_problem(recipe_with({"begins": 0.5}, iterations=4), trajectories, corpus)
    state, seen = start(problem), []
    for _ in range(4):
        step(state, problem)
        seen.append({name: tensor.clone() for name, tensor in state.tensors().items() if not name.endswith(".best")})
    moved = [
        {name for name in before if not torch.equal(before[name], after[name])} for before, after in pairwise(seen)
    ]
    of_trajectory = {"log_alpha", "log_alpha.velocity", "importance", "importance.velocity", "norm_trajectory"}
    assert of_trajectory <= moved[0]
    assert not any(name.startswith("real_") or name == "norm_real" for name in moved[0])
    for later in moved[1:]:
        assert not of_trajectory & later
        assert {"pixels", "real_log_alpha", "norm_real"} <= later


@pytest.mark.parametrize(
    ("weight", "begins", "expected"),
    [
        (0.0, 1.0, [0, 0, 0, 0]),
        (0.0, 0.5, [0, 0, 1, 1]),
        (0.3, 0.75, [0.3, 0.3, 0.3, 1]),
        (1.0, 1.0, [1] * 4),
        (0.2, 0.0, [1] * 4),
    ],
)
def test_the_shares_over_a_run(weight: float, begins: float, expected: list[float]) -> None:
    shares = Shares(weight, begins, 4)
    assert [shares.of_real(iteration) for iteration in range(4)] == expected
    assert shares.mixes == any(expected)


def test_the_set_is_trained_on_at_the_rate_of_the_loss_that_counted_more_when_its_images_were_made(
    trajectories, corpus
) -> None:
    both = combined(recipe_with({"weight": 0.1, "begins": 0.5}), trajectories, corpus)
    rates = {"log_alpha": torch.tensor(0.5).log(), "real_log_alpha": torch.tensor(0.25).log()}
    begun = {name: one.start for name, one in both.coordinates().items()} | rates
    assert both.student_lr(begun) == pytest.approx(0.5)
    images = Images(torch.randn(4, 1, 8, 8), LABELS, torch.ones(4))
    last = both.shares.iterations - 1
    for iteration, expected in ((0, 0.5), (last, 0.25)):
        seen = both.evaluate(images, begun, both.draw(iteration, SHOWN), 4)
        after = begun | {"share_of_real": seen.grad_learned["share_of_real"]}
        assert both.student_lr(after) == pytest.approx(expected)


def test_a_resting_coordinate_keeps_what_is_remembered_of_it() -> None:
    rule, value = Resting(Adam(0.1)), torch.tensor([1.0, 2.0])
    value, moments = rule.update(value, torch.tensor([0.5, 0.0]), rule.moments(value))
    still, kept = rule.update(value, torch.zeros(2), moments)
    assert torch.equal(still, value)
    assert kept is moments
    assert float(moments["count"]) == 1


@pytest.mark.parametrize(
    ("real", "settings"),
    [
        ({"weight": 0.5}, {"labels": "soft"}),
        ({"begins": 0.5, "pool": 2, "window": 2}, {"importance": {"direction": "usefulness"}}),
        ({"pool": 2, "window": 2}, {"importance": {"direction": "usefulness"}}),
    ],
)
def test_a_resumed_run_has_the_same_bits(trajectories, corpus, tmp_path, real: dict, settings: dict) -> None:
    recipe, path = recipe_with(real, **settings), tmp_path / "state.safetensors"
    whole = combined_problem(recipe, trajectories, corpus)
    expected = start(whole)
    optimise(expected, whole, Silent())
    for stop in (1, 3, 4):
        first = combined_problem(recipe, trajectories, corpus, path)
        state = start(first)
        for _ in range(stop):
            step(state, first)
        first.save(state)
        second = combined_problem(recipe, trajectories, corpus)
        again = State.start(second.coordinates)
        load_checkpoint(again, path, refuse_another_run(path, recipe, trajectories.key))
        optimise(again, second, Silent())
        assert bits(again) == bits(expected)


def test_a_step_whose_student_left_the_finite_numbers_leaves_the_running_norms(
    trajectories, corpus, monkeypatch
) -> None:
    both = combined(recipe_with({"weight": 0.5, "window": 3}), trajectories, corpus)
    learned = {name: one.start for name, one in both.coordinates().items()}
    learned |= {"norm_real": torch.full((2,), 0.25, dtype=torch.float64)}
    images = Images(torch.randn(4, 1, 8, 8), LABELS, torch.ones(4))
    drawn = both.draw(2, SHOWN)
    monkeypatch.setattr(
        type(both.real), "loss", lambda real, theta, *rest: (float("nan"), torch.full_like(theta, torch.nan))
    )
    seen = both.evaluate(images, learned, drawn, 4)
    assert not seen.usable
    for name in ("norm_real", "norm_trajectory"):
        assert torch.equal(seen.grad_learned[name], learned[name]), name
