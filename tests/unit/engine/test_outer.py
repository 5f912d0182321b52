"""The outer loop: MTT as a special case, resuming to the same bits, diverging, choosing on validation."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from medistill.engine.outer import ALPHA_STEP, Look, optimise
from medistill.engine.segment import draw_segment
from medistill.engine.unroll import Images
from medistill.errors import ArtifactError, DivergedError, UsageError
from medistill.progress import Silent, SilentTask
from medistill.training.images import LabelledImages
from tests.factories.outer_problem import CPU, LABELS, bits, fixed, recipe_of, start
from tests.naive_unroll import naive_gradient


def test_frozen_importance_is_mtt_written_out(trajectories):
    recipe = recipe_of(importance={"direction": "frozen"}, ema=0.0)
    state, made = start(recipe, trajectories), fixed(recipe, trajectories)
    pixels, alpha = state.pixels.clone().double(), recipe.distill.student_lr
    velocity, alpha_velocity = torch.zeros_like(pixels), 0.0
    network = made.student.network.double()
    for iteration in range(recipe.distill.iterations):
        drawn = draw_segment(recipe, trajectories, torch.arange(4), iteration, CPU)
        segment = replace(drawn, start=drawn.start.double(), target=drawn.target.double())
        images = Images(pixels, LABELS, torch.ones(4, dtype=torch.float64))
        _, of_pixels, of_alpha, _ = naive_gradient(network, segment, images, alpha)
        velocity = 0.5 * velocity + of_pixels
        pixels = pixels - recipe.distill.image_lr * velocity
        alpha_velocity = 0.5 * alpha_velocity + alpha * float(of_alpha)
        alpha *= math.exp(-recipe.distill.student_lr_lr / recipe.distill.student_lr**2 * alpha_velocity)
    network.float()
    optimise(state, made, Silent())
    assert float((state.pixels - pixels).norm() / pixels.norm()) < 1e-4
    assert state.alpha == pytest.approx(alpha, rel=1e-4)
    assert bool((state.importance.weights == 1).all())


def test_importance_at_rate_zero_gives_the_bits_of_mtt(trajectories):
    results = []
    for importance in ({"direction": "frozen"}, {"direction": "descent", "lr": 0.0, "constraint": "none"}):
        recipe = recipe_of(importance=importance)
        state = start(recipe, trajectories)
        optimise(state, fixed(recipe, trajectories), Silent())
        results.append(bits(state))
    assert results[0] == results[1]


def test_alpha_starts_at_the_published_speed(trajectories):
    recipe = recipe_of(iterations=1, student_lr_lr=1e-9, momentum=0.0)
    state = start(recipe, trajectories)
    segment = draw_segment(recipe, trajectories, torch.arange(4), 0, CPU)
    made = fixed(recipe, trajectories)
    images = Images(state.pixels.clone(), LABELS, torch.ones(4))
    _, _, of_alpha, _ = naive_gradient(made.student.network, segment, images, 0.05)
    optimise(state, made, Silent())
    assert 0.05 - state.alpha == pytest.approx(1e-9 * float(of_alpha), rel=1e-3)


def test_alpha_stays_positive_and_moves_by_a_bounded_factor(trajectories):
    wild = recipe_of(student_lr_lr=1.0)
    state = start(wild, trajectories)
    optimise(state, fixed(wild, trajectories), Silent())
    walked = [wild.distill.student_lr, *state.history.student_lr]
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
    whole = start(recipe, trajectories)
    optimise(whole, fixed(recipe, trajectories), Silent())

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
    with pytest.raises(Killed):
        optimise(start(recipe, trajectories), fixed(recipe, trajectories, path), Dies())
    resumed = start(recipe, trajectories)
    resumed.restore(path, recipe, trajectories.key)
    assert resumed.iteration == dies_after
    optimise(resumed, fixed(recipe, trajectories, path), Silent())
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
    with pytest.raises(KeyboardInterrupt):
        optimise(start(recipe, trajectories), fixed(recipe, trajectories, path), Stops())
    state = start(recipe, trajectories)
    state.restore(path, recipe, trajectories.key)
    assert state.iteration == 1
    assert path.stat().st_mode & 0o777 == 0o600


def test_another_recipe_is_refused_by_name(trajectories, tmp_path):
    recipe, path = recipe_of(), tmp_path / "checkpoint.safetensors"
    start(recipe, trajectories).save(path, recipe, trajectories.key)
    other = recipe_of(image_lr=20.0)
    with pytest.raises(UsageError, match=r"distill\.image_lr: 20\.0, not 10\.0"):
        start(other, trajectories).restore(path, other, trajectories.key)


def test_a_damaged_or_foreign_checkpoint_is_refused(trajectories, tmp_path):
    recipe, path = recipe_of(), tmp_path / "checkpoint.safetensors"
    start(recipe, trajectories).save(path, recipe, trajectories.key)
    with pytest.raises(ArtifactError, match="other experts"):
        start(recipe, trajectories).restore(path, recipe, "another key")
    whole = path.read_bytes()
    altered = bytearray(whole)
    altered[-5] ^= 64
    for damaged in (whole[: len(whole) // 2], bytes(altered), b"", b"not a checkpoint at all"):
        path.write_bytes(damaged)
        with pytest.raises(ArtifactError, match="checkpoint"):
            start(recipe, trajectories).restore(path, recipe, trajectories.key)


def test_divergence_keeps_the_last_good_state(trajectories, tmp_path):
    recipe, path = recipe_of(image_lr=1e38, iterations=50), tmp_path / "checkpoint.safetensors"
    state = start(recipe, trajectories)
    with pytest.raises(DivergedError, match="diverged at outer step"):
        optimise(state, fixed(recipe, trajectories, path), Silent())
    kept = start(recipe, trajectories)
    kept.restore(path, recipe, trajectories.key)
    assert bool(torch.isfinite(kept.pixels).all())
    assert kept.iteration == state.iteration == len(kept.history.loss)


def test_keeps_the_best_look_not_the_last(trajectories):
    scores = iter([0.6, 0.9, 0.7])
    seen = []

    def validate(images: LabelledImages, alpha: float) -> Look:
        seen.append((images.pixels.clone(), alpha))
        return Look(0.5, next(scores))

    recipe = recipe_of()
    state = start(recipe, trajectories)
    optimise(state, fixed(recipe, trajectories, validate=validate), Silent())
    assert state.best_step == 4
    assert torch.equal(state.best_pixels, seen[1][0])
    assert state.best_alpha == seen[1][1]
    assert state.history.looks == [2, 4, 6]
    assert state.history.auc == [0.6, 0.9, 0.7]


def test_the_moving_average_is_what_is_validated(trajectories):
    recipe = recipe_of(ema=0.5, iterations=2)
    state = start(recipe, trajectories)
    first = state.pixels.clone()
    walked = []
    made = fixed(recipe, trajectories, validate=lambda images, alpha: walked.append(images.pixels) or Look(0, 1))
    plain = start(recipe_of(iterations=2), trajectories)
    one = start(recipe_of(iterations=1), trajectories)
    optimise(one, fixed(recipe_of(iterations=1), trajectories), Silent())
    optimise(plain, fixed(recipe_of(iterations=2), trajectories), Silent())
    optimise(state, made, Silent())
    expected = 0.25 * first + 0.25 * one.pixels + 0.5 * plain.pixels
    assert torch.allclose(walked[0], expected, atol=1e-6)
