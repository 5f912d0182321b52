"""The family in the outer loop: each method beside its own update, written out on the graph of the whole loop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from medistill.engine.divergence import ALPHA_LIMIT, LOGIT_LIMIT
from medistill.engine.matching import match
from medistill.engine.outer import ALPHA_STEP, Look, optimise, step
from medistill.engine.segment import Segment, draw_segment, start_epochs
from medistill.engine.unroll import Images, adjoint, unroll
from medistill.errors import DivergedError, MemoryShortError, RecipeError
from medistill.progress import Silent
from medistill.training.augmentation import augment, draw
from medistill.training.randomness import generator
from medistill.training.stages import image_stages, part, part_of
from tests.factories.outer_problem import CPU, LABELS, bits, fixed, recipe_of, start

ALL = torch.arange(4)


def double(segment: Segment) -> Segment:
    return replace(segment, start=segment.start.double(), target=segment.target.double())


def outer_loss(network, segment: Segment, pixels: Tensor, told: Tensor, alpha: Tensor) -> Tensor:
    """MTT's loss with the graph of all steps, for labels that are probabilities."""
    named = dict(network.named_parameters())
    sizes = [p.numel() for p in named.values()]
    theta = segment.start.clone().requires_grad_()
    for rows, drawn in zip(segment.batches, segment.draws, strict=True):
        parts = {name: t.view(p.shape) for (name, p), t in zip(named.items(), theta.split(sizes), strict=True)}
        logits = functional_call(network, parts, (augment(pixels[rows], drawn),))
        loss = (logits.logsumexp(dim=1) - (told[rows] * logits).sum(dim=1)).mean()
        (slope,) = torch.autograd.grad(loss, theta, create_graph=True)
        theta = theta - alpha * slope
    return (theta - segment.target).square().sum() / (segment.start - segment.target).square().sum()


@dataclass
class Walk:
    """Images, logits and alpha in double precision, moved by SGD with momentum as the recipe says."""

    recipe: object
    network: object
    pixels: Tensor
    logits: Tensor | None
    alpha: float
    velocities: Sequence[object] = (0.0, 0.0, 0.0)

    def gradient(self, segments: Sequence[Segment], pixels: Tensor) -> list[Tensor]:
        """Of the segments' mean loss, in pixels, alpha and (where there are any) logits."""
        leaves = [pixels.clone().requires_grad_(), torch.tensor(self.alpha, dtype=torch.float64, requires_grad=True)]
        told = LABELS.double()
        if self.logits is not None:
            leaves.append(self.logits.clone().requires_grad_())
            told = leaves[-1].exp() / leaves[-1].exp().sum(dim=1, keepdim=True)
        losses = [outer_loss(self.network, one, leaves[0], told, leaves[1]) for one in segments]
        return list(torch.autograd.grad(sum(losses) / len(losses), leaves))

    def move(self, of_pixels: Tensor, of_alpha: Tensor, of_logits: Tensor | None = None) -> None:
        settings = self.recipe.distill
        images, rate, labels = self.velocities
        images = settings.momentum * images + of_pixels
        rate = settings.momentum * rate + self.alpha * float(of_alpha)
        self.pixels = self.pixels - settings.image_lr * images
        self.alpha *= math.exp(-settings.student_lr_lr / settings.student_lr**2 * rate)
        if of_logits is not None:
            labels = settings.momentum * labels + of_logits
            self.logits = self.logits - settings.label_lr * labels
        self.velocities = (images, rate, labels)


def walk_of(recipe, state, made) -> Walk:
    logits = None if state.logits is None else state.logits.double()
    return Walk(recipe, made.student.network.double(), state.pixels.double(), logits, recipe.distill.student_lr)


def assert_same(state, walk: Walk) -> None:
    assert float((state.pixels - walk.pixels).norm() / walk.pixels.norm()) < 1e-4
    assert state.alpha == pytest.approx(walk.alpha, rel=1e-4)


def optimised(recipe, trajectories, **more):
    state = start(recipe, trajectories)
    optimise(state, fixed(recipe, trajectories, **more), Silent())
    return state


def test_satm_steps_along_the_gradient_at_the_shifted_images(trajectories):
    recipe = recipe_of("satm", sharpness=0.5)
    state, made = start(recipe, trajectories), fixed(recipe, trajectories)
    walk = walk_of(recipe, state, made)
    for iteration in range(recipe.distill.iterations):
        segments = [double(draw_segment(recipe, trajectories, ALL, iteration, CPU))]
        here = walk.gradient(segments, walk.pixels)[0]
        walk.move(*walk.gradient(segments, walk.pixels + 0.5 * here / here.square().sum().sqrt()))
    made.student.network.float()
    optimise(state, made, Silent())
    assert_same(state, walk)
    plain = optimised(recipe_of("mtt"), trajectories)
    assert float((plain.pixels - state.pixels).norm() / plain.pixels.norm()) > 1e-3


def test_the_loss_that_satm_reports_is_that_of_the_images_themselves(trajectories):
    losses = [
        step(start(recipe, trajectories), fixed(recipe, trajectories))
        for recipe in (recipe_of("mtt"), recipe_of("satm", sharpness=0.5))
    ]
    assert losses[0] == losses[1]


def test_datm_learns_the_logits_of_its_labels(trajectories):
    recipe = recipe_of("datm", label_lr=5.0, max_start_epoch=3)
    state, made = start(recipe, trajectories), fixed(recipe, trajectories)
    walk = walk_of(recipe, state, made)
    first = state.logits.clone()
    for iteration in range(recipe.distill.iterations):
        segments = [double(draw_segment(recipe, trajectories, ALL, iteration, CPU))]
        walk.move(*walk.gradient(segments, walk.pixels))
    made.student.network.float()
    optimise(state, made, Silent())
    assert_same(state, walk)
    moved = (walk.logits - first).norm()
    assert float(moved) > 0.01
    assert float((state.logits - walk.logits).norm() / moved) < 1e-3


def test_the_best_look_keeps_the_labels_of_its_images(trajectories):
    scores, seen = iter([0.6, 0.9, 0.7]), []

    def validate(images, alpha: float) -> Look:
        seen.append(images.soft_labels.clone())
        return Look(0.5, next(scores))

    state = optimised(recipe_of("datm", label_lr=5.0), trajectories, validate=validate)
    assert state.best_step == 4
    assert torch.equal(state.best_logits.softmax(dim=1), seen[1])
    assert not torch.equal(seen[1], seen[2])


def test_pdd_moves_one_stage_after_the_other(trajectories):
    """Iterations 0-2 move images 0 and 2 alone; 3-5 move 1 and 3, with batches from all, from the best look on."""
    recipe = recipe_of("pdd", stages=2, validate_every=1)
    scores, seen = iter([0.5, 0.9, 0.7, 0.4, 0.6, 0.8]), []

    def validate(images, alpha: float) -> Look:
        seen.append(images)
        return Look(0.5, next(scores))

    state, made = start(recipe, trajectories), fixed(recipe, trajectories, validate=validate)
    walk, first = walk_of(recipe, state, made), state.pixels.clone()
    kept, expected = None, []
    for iteration in range(6):
        rows, own = (torch.tensor([0, 2]),) * 2 if iteration < 3 else (ALL, torch.tensor([1, 3]))
        drawn = double(draw_segment(recipe, trajectories, rows, iteration, CPU))
        of_pixels, of_alpha = walk.gradient([drawn], walk.pixels)
        mask = torch.zeros(4, 1, 1, 1, dtype=torch.float64)
        mask[own] = 1
        walk.move(of_pixels * mask, of_alpha)
        expected.append(walk.pixels[rows])
        if iteration == 1:
            kept = walk.pixels.clone()
        if iteration == 2:
            walk.pixels, walk.velocities = kept, (0.0, walk.velocities[1], 0.0)
    made.student.network.float()
    optimise(state, made, Silent())
    assert_same(state, walk)
    for images, wanted in zip(seen, expected, strict=True):
        assert torch.allclose(images.pixels.double(), wanted, rtol=0, atol=2e-3)
    assert [images.labels.tolist() for images in seen] == [[0, 1]] * 3 + [[0, 0, 1, 1]] * 3
    assert [images.stage.tolist() for images in seen] == [[0, 0]] * 3 + [[0, 1, 0, 1]] * 3
    assert state.history.stage == [0, 0, 0, 1, 1, 1]
    assert state.best_step == 6
    for images in seen[3:]:
        assert torch.equal(images.pixels[[0, 2]], seen[1].pixels)  # frozen to the bit, at the best look of their stage
    assert torch.equal(state.best_pixels[[0, 2]], seen[1].pixels)
    assert not torch.equal(state.pixels[[1, 3]], first[[1, 3]])


def test_every_stage_ends_with_a_look_and_the_average_does_not_move_what_is_frozen(trajectories):
    recipe = recipe_of("pdd", stages=2, validate_every=100, ema=0.9)
    seen = []
    state = optimised(recipe, trajectories, validate=lambda images, alpha: seen.append(images) or Look(0, 0.5))
    assert state.history.looks == [3, 6]
    assert torch.equal(seen[1].pixels[[0, 2]], seen[0].pixels)
    assert torch.equal(state.average[[0, 2]], seen[0].pixels)


def test_segments_are_averaged(trajectories):
    recipe = recipe_of("mtt", segments=3)
    state, made = start(recipe, trajectories), fixed(recipe, trajectories)
    walk = walk_of(recipe, state, made)
    for iteration in range(recipe.distill.iterations):
        segments = [double(draw_segment(recipe, trajectories, ALL, iteration, CPU, k)) for k in range(3)]
        assert len({(one.start.sum().item(), tuple(one.batches[0].tolist())) for one in segments}) > 1
        walk.move(*walk.gradient(segments, walk.pixels))
    made.student.network.float()
    optimise(state, made, Silent())
    assert_same(state, walk)


def plain_segment(recipe, trajectories, iteration: int) -> Segment:
    """What a step drew before there was a family: start epochs below ``max_start_epoch``, batches of all images."""
    settings, numbers = recipe.distill, generator(recipe.seed, "segment", iteration)
    expert = int(torch.randint(trajectories.count, (), generator=numbers))
    epoch = int(torch.randint(settings.max_start_epoch, (), generator=numbers))
    ends = [torch.from_numpy(trajectories.snapshot(expert, i)) for i in (epoch, epoch + settings.expert_epochs)]
    batches = [torch.randperm(4, generator=numbers) for _ in range(settings.syn_steps)]
    return Segment(*ends, batches, [draw(recipe.augmentation, 4, numbers, CPU) for _ in batches])


@pytest.mark.parametrize("direction", ["frozen", "descent"])
def test_all_turned_off_is_the_plain_loop_to_the_bit(trajectories, direction):
    recipe = recipe_of(importance={"direction": direction})
    assert recipe.distill.segments == recipe.distill.stages == 1
    assert recipe.distill.sharpness == recipe.distill.start_growth == 0
    state, plain, made = start(recipe, trajectories), start(recipe, trajectories), fixed(recipe, trajectories)
    pixels, velocity = plain.pixels, torch.zeros_like(plain.pixels)
    log_alpha, log_velocity = torch.tensor(recipe.distill.student_lr, dtype=torch.float64).log(), 0.0
    for iteration in range(recipe.distill.iterations):
        segment, alpha = plain_segment(recipe, trajectories, iteration), float(log_alpha.exp())
        images = Images(pixels, LABELS, torch.ones(4))
        thetas = unroll(made.student, images, alpha, segment, micro_batch=3)
        matched = match(thetas[-1], segment, plain.importance.weights, plain.importance.sizes)
        gradient = adjoint(made.student, images, alpha, segment, thetas, matched.lambda_end, micro_batch=3)
        velocity = 0.5 * velocity + gradient.images
        pixels = pixels - recipe.distill.image_lr * velocity
        log_velocity = 0.5 * log_velocity + alpha * float(gradient.alpha)
        rate = recipe.distill.student_lr_lr / recipe.distill.student_lr**2
        log_alpha = log_alpha - min(max(rate * log_velocity, -ALPHA_STEP), ALPHA_STEP)
        plain.importance.update(matched.of_importance, recipe.importance)
    optimise(state, made, Silent())
    assert state.pixels.numpy().tobytes() == pixels.numpy().tobytes()
    assert state.alpha.hex() == float(log_alpha.exp()).hex()
    assert torch.equal(state.importance.weights, plain.importance.weights)


def test_the_start_range_grows_linearly_and_then_stays():
    settings = recipe_of("datm", start_growth=0.5, iterations=40, min_start_epoch=0, max_start_epoch=3).distill
    lasts = [start_epochs(settings, iteration).stop - 1 for iteration in range(40)]
    assert [start_epochs(settings, iteration).start for iteration in range(40)] == [0] * 40
    assert lasts == [*np.floor(np.arange(20) / 20 * 2).astype(int), *[2] * 20]


def test_every_start_epoch_is_drawn_and_none_outside(trajectories):
    recipe = recipe_of("mtt", min_start_epoch=1, max_start_epoch=3, iterations=60)
    drawn = {draw_segment(recipe, trajectories, ALL, iteration, CPU).start.numpy().tobytes() for iteration in range(60)}
    assert drawn == {trajectories.snapshot(expert, epoch).tobytes() for expert in (0, 1) for epoch in (1, 2)}


@pytest.mark.parametrize(("total", "parts"), [(1, 1), (7, 3), (10, 5), (12, 5), (1000, 7), (3, 5)])
def test_parts_are_even_and_make_up_the_whole(total, parts):
    ranges = [part(total, parts, k) for k in range(parts)]
    assert [index for one in ranges for index in one] == list(range(total))
    assert max(map(len, ranges)) - min(map(len, ranges)) <= 1
    assert all(part_of(index, total, parts) == k for k, one in enumerate(ranges) for index in one)


def test_stages_share_out_images_and_start_epochs():
    assert image_stages([5, 5], 2).tolist() == [0, 0, 1, 1, 1] * 2
    settings = recipe_of("pdd", stages=2, iterations=7, max_start_epoch=3).distill
    assert [list(start_epochs(settings, iteration)) for iteration in range(7)] == [[0]] * 3 + [[1, 2]] * 4


def test_more_stages_than_outer_steps_are_refused():
    with pytest.raises(RecipeError, match=r"distill\.stages 2 needs as many .* outer steps"):
        recipe_of("pdd", stages=2, iterations=1)


@pytest.mark.parametrize(
    ("method", "settings", "blamed"),
    [
        ("mtt", {"image_lr": 1e9}, "image_lr"),
        ("mtt", {"image_lr": 1e38}, "image_lr"),
        ("datm", {"label_lr": 1e9}, "label_lr"),
        ("satm", {"sharpness": 1e38}, "sharpness"),
        ("mtt", {"student_lr": 1e30}, "student_lr"),
    ],
)
def test_divergence_names_the_setting_that_left_its_range_first(trajectories, tmp_path, method, settings, blamed):
    recipe, path = recipe_of(method, **settings), tmp_path / "checkpoint.safetensors"
    state = start(recipe, trajectories)
    with pytest.raises(DivergedError, match=rf"lower distill\.{blamed} by"):
        optimise(state, fixed(recipe, trajectories, path), Silent())
    kept = start(recipe, trajectories)
    kept.restore(path, recipe, trajectories.key)
    assert bits(kept) == bits(state)
    assert kept.iteration == len(kept.history.loss)
    assert float(kept.pixels.abs().max()) < 1e4
    assert kept.logits is None or float(kept.logits.abs().max()) <= LOGIT_LIMIT


@pytest.mark.parametrize("growth", [0.99 * ALPHA_LIMIT, 1e9])
def test_a_learning_rate_that_grew_is_to_blame_before_and_after_the_loss_overflows(trajectories, growth):
    """The first grows beyond its limit while the student still walks; at the second the student leaves the numbers."""
    recipe = recipe_of("mtt", student_lr=1e-6 if growth < ALPHA_LIMIT else 1e25, student_lr_lr=1e30, momentum=0.0)
    state = start(recipe, trajectories)
    state.log_alpha = state.log_alpha + math.log(growth)
    before = bits(state)
    with pytest.raises(DivergedError, match=r"lower distill\.student_lr_lr by"):
        step(state, fixed(recipe, trajectories))
    assert bits(state) == before


class Hears(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


CPU_SHORT = RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried")
SHORT = [CPU_SHORT, MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")]


def too_large(made, most: int, error: BaseException):
    """The problem with a student that cannot take more than ``most`` images at once."""
    whole = made.student.loss

    def loss(parts, images, labels, weights):
        if len(images) > most:
            raise error
        return whole(parts, images, labels, weights)

    made.student.loss = loss
    return made


@pytest.mark.parametrize("error", SHORT, ids=lambda error: type(error).__name__)
def test_out_of_memory_halves_the_micro_batch_and_repeats_the_step(trajectories, error):
    recipe, heard = recipe_of(), Hears()
    state = start(recipe, trajectories)
    optimise(state, too_large(replace(fixed(recipe, trajectories), micro_batch=2**31), 2, error), heard)
    halved = start(recipe, trajectories)
    optimise(halved, replace(fixed(recipe, trajectories), micro_batch=2), Silent())
    assert bits(state) == bits(halved)
    assert len(heard.said) == 1
    assert "compute.micro_batch = 2" in heard.said[0]


@pytest.mark.parametrize(
    ("given", "expected"), [(4, r"compute\.micro_batch = 1; .*distill\.syn_steps"), (1, "syn_steps")]
)
def test_out_of_memory_again_is_an_error_that_names_what_to_change(trajectories, tmp_path, given, expected):
    recipe, path = recipe_of(), tmp_path / "checkpoint.safetensors"
    made = too_large(replace(fixed(recipe, trajectories, path), micro_batch=given), 0, CPU_SHORT)
    state = start(recipe, trajectories)
    before = bits(state)
    with pytest.raises(MemoryShortError, match=expected):
        optimise(state, made, Silent())
    assert bits(state) == before
    kept = start(recipe, trajectories)
    kept.restore(path, recipe, trajectories.key)
    assert bits(kept) == before


def test_another_error_of_the_student_is_not_taken_for_a_lack_of_memory(trajectories):
    recipe = recipe_of()
    made = too_large(fixed(recipe, trajectories), 0, RuntimeError("a wrong shape"))
    with pytest.raises(RuntimeError, match="a wrong shape"):
        optimise(start(recipe, trajectories), made, Silent())
