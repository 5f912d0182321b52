"""The outer loop: MTT as a special case, resuming to the same bits, diverging, choosing on validation."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from medistill.artifacts.atomic import read_tensors, write_tensors
from medistill.engine.images import Images
from medistill.engine.objectives.trajectory import ALPHA_STEP, student_lr
from medistill.engine.outer import optimise
from medistill.engine.problem import ValidationScore
from medistill.errors import ArtifactError, DivergedError, UsageError
from medistill.progress import Silent, SilentTask
from medistill.training.images import LabelledImages
from tests.factories.outer_problem import LABELS, bits, problem_of, recipe_of, restored, source, start
from tests.naive_unroll import naive_gradient


def optimised(recipe, trajectories, **more):
    made = problem_of(recipe, trajectories, **more)
    state = start(made)
    optimise(state, made, Silent())
    return state


def test_frozen_importance_is_mtt_written_out(trajectories):
    recipe = recipe_of(importance={"direction": "frozen"}, ema=0.0)
    made = problem_of(recipe, trajectories)
    state = start(made)
    pixels, alpha = state.values["pixels"].clone().double(), recipe.method.student_lr
    velocity, alpha_velocity = torch.zeros_like(pixels), 0.0
    network = made.objective.student.network.double()
    for iteration in range(recipe.method.iterations):
        drawn = source(recipe, trajectories).draw(iteration, torch.arange(4))
        segment = replace(drawn, start=drawn.start.double(), target=drawn.target.double())
        images = Images(pixels, LABELS, torch.ones(4, dtype=torch.float64))
        _, of_pixels, of_alpha, _ = naive_gradient(network, segment, images, alpha)
        velocity = 0.5 * velocity + of_pixels
        pixels = pixels - recipe.method.image_lr * velocity
        alpha_velocity = 0.5 * alpha_velocity + alpha * float(of_alpha)
        alpha *= math.exp(-recipe.method.student_lr_lr / recipe.method.student_lr**2 * alpha_velocity)
    network.float()
    optimise(state, made, Silent())
    assert float((state.values["pixels"] - pixels).norm() / pixels.norm()) < 1e-4
    assert student_lr(state.values) == pytest.approx(alpha, rel=1e-4)
    assert bool((state.values["importance"] == 1).all())


def test_importance_at_rate_zero_gives_the_bits_of_mtt(trajectories):
    results = []
    for importance in ({"direction": "frozen"}, {"direction": "descent", "lr": 0.0, "constraint": "none"}):
        recipe = recipe_of(importance=importance)
        state = optimised(recipe, trajectories)
        state.moments["importance"] = {}  # a velocity that moves nothing
        results.append(bits(state))
    assert results[0] == results[1]


def test_alpha_starts_at_the_published_speed(trajectories):
    recipe = recipe_of(iterations=1, student_lr_lr=1e-9, momentum=0.0)
    made = problem_of(recipe, trajectories)
    state = start(made)
    segment = source(recipe, trajectories).draw(0, torch.arange(4))
    images = Images(state.values["pixels"].clone(), LABELS, torch.ones(4))
    _, _, of_alpha, _ = naive_gradient(made.objective.student.network, segment, images, 0.05)
    optimise(state, made, Silent())
    assert 0.05 - student_lr(state.values) == pytest.approx(1e-9 * float(of_alpha), rel=1e-3)


def test_alpha_stays_positive_and_moves_by_a_bounded_factor(trajectories):
    wild = recipe_of(student_lr_lr=1.0)
    state = optimised(wild, trajectories)
    walked = [wild.method.student_lr, *state.history.figures["student_lr"]]
    factors = [after / before for before, after in pairwise(walked)]
    assert max(factors) <= math.exp(ALPHA_STEP) * (1 + 1e-12)
    assert min(factors) >= math.exp(-ALPHA_STEP) * (1 - 1e-12)
    assert max(abs(math.log(factor)) for factor in factors) == pytest.approx(ALPHA_STEP)


class Killed(Exception):
    """Stands for a signal that leaves no time to save."""


@pytest.mark.parametrize(
    "settings",
    [
        {"importance": {"lr": 0.05}},
        {"importance": {"granularity": "scalar", "lr": 5.0}, "segments": 2},
        {"method": "satm", "sharpness": 0.5},
        {"method": "pdd", "stages": 2},
        {"method": "datm", "max_start_epoch": 3},
    ],
    ids=str,
)
@pytest.mark.parametrize("dies_after", [1, 3, 5])
def test_resumes_to_the_same_bits(trajectories, tmp_path, settings, dies_after):
    recipe = recipe_of(**settings, ema=0.9, batch_syn=3)
    whole = optimised(recipe, trajectories)

    class Dies(Silent):
        def task(self, title, total, *, done=0):
            class Task(SilentTask):
                seen = 0

                def advance(self, steps=1, *, figures=""):
                    self.seen += 1
                    if self.seen == dies_after:
                        raise Killed

            return Task()

    path = tmp_path / "state" / "checkpoint.safetensors"
    path.parent.mkdir()
    made = problem_of(recipe, trajectories, path)
    with pytest.raises(Killed):
        optimise(start(made), made, Dies())
    resumed = restored(path, recipe, trajectories)
    assert resumed.iteration == dies_after
    optimise(resumed, made, Silent())
    assert bits(resumed) == bits(whole)


def test_interrupting_saves(trajectories, tmp_path):
    recipe = recipe_of(checkpoint_every=100, validate_every=100)

    class Stops(Silent):
        def task(self, title, total, *, done=0):
            class Task(SilentTask):
                def advance(self, steps=1, *, figures=""):
                    raise KeyboardInterrupt

            return Task()

    path = tmp_path / "checkpoint.safetensors"
    made = problem_of(recipe, trajectories, path)
    with pytest.raises(KeyboardInterrupt):
        optimise(start(made), made, Stops())
    assert restored(path, recipe, trajectories).iteration == 1
    assert path.stat().st_mode & 0o777 == 0o600


def test_another_recipe_is_refused_by_name(trajectories, tmp_path):
    recipe, path = recipe_of(), tmp_path / "checkpoint.safetensors"
    made = problem_of(recipe, trajectories, path)
    made.save(start(made))
    with pytest.raises(UsageError, match=r"method\.image_lr: 20\.0, not 10\.0"):
        restored(path, recipe_of(image_lr=20.0), trajectories)


def test_a_damaged_or_foreign_checkpoint_is_refused(trajectories, tmp_path):
    recipe, path = recipe_of(), tmp_path / "checkpoint.safetensors"
    made = problem_of(recipe, trajectories, path)
    made.save(start(made))
    with pytest.raises(ArtifactError, match="other experts"):
        restored(path, recipe, trajectories, "another key")
    whole = path.read_bytes()
    altered = bytearray(whole)
    altered[-5] ^= 64
    for damaged in (whole[: len(whole) // 2], bytes(altered), b"", b"not a checkpoint at all"):
        path.write_bytes(damaged)
        with pytest.raises(ArtifactError, match="checkpoint"):
            restored(path, recipe, trajectories)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"schema": "2"}, "it has schema '2', not 3"),
        ({"origin": "[]"}, "cannot be read"),
        ({"origin": '{"made_from": "walks"}'}, "its recipe cannot be read"),
        ({"iteration": "many"}, "its metadata cannot be read"),
    ],
)
def test_a_checkpoint_of_another_version_is_refused_with_its_reason(trajectories, tmp_path, changes, why):
    recipe, path = recipe_of(), tmp_path / "checkpoint.safetensors"
    made = problem_of(recipe, trajectories, path)
    made.save(start(made))
    arrays, metadata = read_tensors(path, "checkpoint")
    write_tensors(path, arrays, {**metadata, **changes}, private=True)
    with pytest.raises(ArtifactError, match=why):
        restored(path, recipe, trajectories)


def test_divergence_keeps_the_last_good_state(trajectories, tmp_path):
    recipe, path = recipe_of(image_lr=1e38, iterations=50), tmp_path / "checkpoint.safetensors"
    made = problem_of(recipe, trajectories, path)
    state = start(made)
    with pytest.raises(DivergedError, match="diverged at outer step"):
        optimise(state, made, Silent())
    kept = restored(path, recipe, trajectories)
    assert bool(torch.isfinite(kept.values["pixels"]).all())
    assert kept.iteration == state.iteration == len(kept.history.loss)


def test_keeps_the_best_score_not_the_last(trajectories):
    scores = iter([0.6, 0.9, 0.7])
    seen = []

    def validate(images: LabelledImages, values, iteration) -> ValidationScore:
        seen.append((images.pixels.clone(), student_lr(values)))
        return ValidationScore(0.5, next(scores))

    state = optimised(recipe_of(), trajectories, validate=validate)
    assert state.best_step == 4
    assert torch.equal(state.best["pixels"], seen[1][0])
    assert student_lr(state.best) == seen[1][1]
    assert state.history.validation_steps == [2, 4, 6]
    assert state.history.auc == [0.6, 0.9, 0.7]


def test_the_moving_average_is_what_is_validated(trajectories):
    first = start(problem_of(recipe_of(), trajectories)).values["pixels"]
    walked = []

    def validate(images: LabelledImages, values, iteration) -> ValidationScore:
        walked.append(images.pixels)
        return ValidationScore(0, 1)

    one = optimised(recipe_of(iterations=1), trajectories).values["pixels"]
    two = optimised(recipe_of(iterations=2), trajectories).values["pixels"]
    optimised(recipe_of(ema=0.5, iterations=2), trajectories, validate=validate)
    expected = 0.25 * first + 0.25 * one + 0.5 * two
    assert torch.allclose(walked[0], expected, atol=1e-6)
