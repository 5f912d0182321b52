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

from medistill.engine.images import Images
from medistill.engine.labels import LOGIT_LIMIT
from medistill.engine.matching import match
from medistill.engine.objectives.trajectory import ALPHA_LIMIT, ALPHA_STEP, student_lr
from medistill.engine.outer import optimise, step
from medistill.engine.problem import ValidationScore
from medistill.engine.segment import Segment, StudentSteps
from medistill.errors import DivergedError, MemoryShortError, RecipeError
from medistill.progress import Silent
from medistill.training.augmentation import augment, draw
from medistill.training.randomness import generator
from medistill.training.stages import even_slice, image_stages, slice_of
from tests.factories.heard import Heard
from tests.factories.outer_problem import CPU, LABELS, bits, problem_of, recipe_of, restored, source, start
from tests.factories.student_walk import walk as student_walk
from tests.factories.student_walk import walk_back

ALL = torch.arange(4)


def double(segment: Segment) -> Segment:
    return replace(segment, start=segment.start.double(), target=segment.target.double())


def outer_loss(network, segment: Segment, pixels: Tensor, told: Tensor, alpha: Tensor) -> Tensor:
    """MTT's loss with the graph of all steps, for labels that are probabilities."""
    named = dict(network.named_parameters())
    sizes = [p.numel() for p in named.values()]
    theta = segment.start.clone().requires_grad_()
    for rows, drawn in zip(segment.steps.batches, segment.steps.draws, strict=True):
        parts = {name: t.view(p.shape) for (name, p), t in zip(named.items(), theta.split(sizes), strict=True)}
        logits = functional_call(network, parts, (augment(pixels[rows], drawn),))
        loss = (logits.logsumexp(dim=1) - (told[rows] * logits).sum(dim=1)).mean()
        (gradient,) = torch.autograd.grad(loss, theta, create_graph=True)
        theta = theta - alpha * gradient
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
        settings = self.recipe.method.whole
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
    logits = state.values["logits"].double() if "logits" in state.values else None
    network = made.objective.student.network.double()
    return Walk(recipe, network, state.values["pixels"].double(), logits, recipe.method.student_lr)


def assert_same(state, walk: Walk) -> None:
    assert float((state.values["pixels"] - walk.pixels).norm() / walk.pixels.norm()) < 1e-4
    assert student_lr(state.values) == pytest.approx(walk.alpha, rel=1e-4)


def optimised(recipe, trajectories, **more):
    made = problem_of(recipe, trajectories, **more)
    state = start(made)
    optimise(state, made, Silent())
    return state


def test_satm_steps_along_the_gradient_at_the_shifted_images(trajectories):
    recipe = recipe_of("satm", sharpness=0.5)
    made = problem_of(recipe, trajectories)
    state = start(made)
    walk = walk_of(recipe, state, made)
    for iteration in range(recipe.method.iterations):
        segments = [double(source(recipe, trajectories).draw(iteration, ALL))]
        here = walk.gradient(segments, walk.pixels)[0]
        walk.move(*walk.gradient(segments, walk.pixels + 0.5 * here / here.square().sum().sqrt()))
    made.objective.student.network.float()
    optimise(state, made, Silent())
    assert_same(state, walk)
    plain = optimised(recipe_of("mtt"), trajectories)
    plain, sharp = plain.values["pixels"], state.values["pixels"]
    assert float((plain - sharp).norm() / plain.norm()) > 1e-3


def test_the_loss_that_satm_reports_is_that_of_the_images_themselves(trajectories):
    problems = [problem_of(recipe, trajectories) for recipe in (recipe_of("mtt"), recipe_of("satm", sharpness=0.5))]
    losses = [step(start(made), made) for made in problems]
    assert losses[0] == losses[1]


def test_datm_learns_the_logits_of_its_labels(trajectories):
    recipe = recipe_of("datm", label_lr=5.0, max_start_epoch=3)
    made = problem_of(recipe, trajectories)
    state = start(made)
    walk = walk_of(recipe, state, made)
    first = state.values["logits"].clone()
    for iteration in range(recipe.method.iterations):
        segments = [double(source(recipe, trajectories).draw(iteration, ALL))]
        walk.move(*walk.gradient(segments, walk.pixels))
    made.objective.student.network.float()
    optimise(state, made, Silent())
    assert_same(state, walk)
    moved = (walk.logits - first).norm()
    assert float(moved) > 0.01
    assert float((state.values["logits"] - walk.logits).norm() / moved) < 1e-3


def test_the_best_score_keeps_the_labels_of_its_images(trajectories):
    scores, seen = iter([0.6, 0.9, 0.7]), []

    def validate(images, values, iteration) -> ValidationScore:
        seen.append(images.soft_labels.clone())
        return ValidationScore(0.5, next(scores))

    state = optimised(recipe_of("datm", label_lr=5.0), trajectories, validate=validate)
    assert state.best_step == 4
    assert torch.equal(state.best["logits"].softmax(dim=1), seen[1])
    assert not torch.equal(seen[1], seen[2])


def test_pdd_moves_one_stage_after_the_other(trajectories):
    """Iterations 0-2 move images 0 and 2 alone; 3-5 move 1 and 3, with batches from all, from the best score on."""
    recipe = recipe_of("pdd", stages=2, validate_every=1)
    scores, seen = iter([0.5, 0.9, 0.7, 0.4, 0.6, 0.8]), []

    def validate(images, values, iteration) -> ValidationScore:
        seen.append(images)
        return ValidationScore(0.5, next(scores))

    made = problem_of(recipe, trajectories, validate=validate)
    state = start(made)
    walk, first = walk_of(recipe, state, made), state.values["pixels"].clone()
    kept, expected = None, []
    for iteration in range(6):
        rows, own = (torch.tensor([0, 2]),) * 2 if iteration < 3 else (ALL, torch.tensor([1, 3]))
        drawn = double(source(recipe, trajectories).draw(iteration, rows))
        of_pixels, of_alpha = walk.gradient([drawn], walk.pixels)
        mask = torch.zeros(4, 1, 1, 1, dtype=torch.float64)
        mask[own] = 1
        walk.move(of_pixels * mask, of_alpha)
        expected.append(walk.pixels[rows])
        if iteration == 1:
            kept = walk.pixels.clone()
        if iteration == 2:
            walk.pixels, walk.velocities = kept, (0.0, walk.velocities[1], 0.0)
    made.objective.student.network.float()
    optimise(state, made, Silent())
    assert_same(state, walk)
    for images, wanted in zip(seen, expected, strict=True):
        assert torch.allclose(images.pixels.double(), wanted, rtol=0, atol=2e-3)
    assert [images.labels.tolist() for images in seen] == [[0, 1]] * 3 + [[0, 0, 1, 1]] * 3
    assert [images.stage.tolist() for images in seen] == [[0, 0]] * 3 + [[0, 1, 0, 1]] * 3
    assert state.history.stage == [0, 0, 0, 1, 1, 1]
    assert state.best_step == 6
    for images in seen[3:]:
        assert torch.equal(images.pixels[[0, 2]], seen[1].pixels)  # frozen to the bit, at the best score of their stage
    assert torch.equal(state.best["pixels"][[0, 2]], seen[1].pixels)
    assert not torch.equal(state.values["pixels"][[1, 3]], first[[1, 3]])


def test_every_stage_ends_with_a_score_and_the_average_does_not_move_what_is_frozen(trajectories):
    recipe = recipe_of("pdd", stages=2, validate_every=100, ema=0.9)
    seen = []
    state = optimised(
        recipe, trajectories, validate=lambda images, values, iteration: seen.append(images) or ValidationScore(0, 0.5)
    )
    assert state.history.validation_steps == [3, 6]
    assert torch.equal(seen[1].pixels[[0, 2]], seen[0].pixels)
    assert torch.equal(state.averages["pixels"][[0, 2]], seen[0].pixels)


def test_segments_are_averaged(trajectories):
    recipe = recipe_of("mtt", segments=3)
    made = problem_of(recipe, trajectories)
    state = start(made)
    walk = walk_of(recipe, state, made)
    for iteration in range(recipe.method.iterations):
        segments = [double(source(recipe, trajectories).draw(iteration, ALL, k)) for k in range(3)]
        assert len({(one.start.sum().item(), tuple(one.steps.batches[0].tolist())) for one in segments}) > 1
        walk.move(*walk.gradient(segments, walk.pixels))
    made.objective.student.network.float()
    optimise(state, made, Silent())
    assert_same(state, walk)


def plain_segment(recipe, trajectories, iteration: int) -> Segment:
    """What a step drew before there was a family: start epochs below ``max_start_epoch``, batches of all images."""
    settings, numbers = recipe.method.whole, generator(recipe.seed, "segment", iteration)
    expert = int(torch.randint(trajectories.count, (), generator=numbers))
    epoch = int(torch.randint(settings.max_start_epoch, (), generator=numbers))
    ends = [torch.from_numpy(trajectories.snapshot(expert, i)) for i in (epoch, epoch + settings.expert_epochs)]
    batches = [torch.randperm(4, generator=numbers) for _ in range(settings.syn_steps)]
    draws = [draw(recipe.augmentation, 4, numbers, CPU) for _ in batches]
    return Segment(*ends, StudentSteps(batches, draws))


@pytest.mark.parametrize("direction", ["frozen", "descent"])
def test_all_turned_off_is_the_plain_loop_to_the_bit(trajectories, direction):
    recipe = recipe_of(importance={"direction": direction})
    assert recipe.method.segments == recipe.method.whole.stages == 1
    assert recipe.method.whole.sharpness == recipe.method.whole.start_growth == 0
    made = problem_of(recipe, trajectories)
    objective, state = made.objective, start(made)
    pixels = state.values["pixels"]
    velocity = torch.zeros_like(pixels)
    weights, rule = state.values["importance"], made.coordinates["importance"].rule
    moments = rule.moments(weights)
    log_alpha, log_velocity = torch.tensor(recipe.method.student_lr, dtype=torch.float64).log(), 0.0
    for iteration in range(recipe.method.iterations):
        segment, alpha = plain_segment(recipe, trajectories, iteration), float(log_alpha.exp())
        images = Images(pixels, LABELS, torch.ones(4))
        thetas = student_walk(objective.student, images, alpha, segment, 3)
        matched = match(thetas[-1], segment, weights, objective.groups.sizes)
        gradient = walk_back(objective.student, images, alpha, segment, thetas, matched.lambda_end, 3)
        velocity = 0.5 * velocity + gradient.images
        pixels = pixels - recipe.method.image_lr * velocity
        log_velocity = 0.5 * log_velocity + alpha * float(gradient.alpha)
        rate = recipe.method.student_lr_lr / recipe.method.student_lr**2
        log_alpha = log_alpha - min(max(rate * log_velocity, -ALPHA_STEP), ALPHA_STEP)
        weights, moments = rule.update(weights, matched.grad_importance, moments)
    optimise(state, made, Silent())
    assert state.values["pixels"].numpy().tobytes() == pixels.numpy().tobytes()
    assert student_lr(state.values).hex() == float(log_alpha.exp()).hex()
    assert torch.equal(state.values["importance"], weights)


def test_the_start_range_grows_linearly_and_then_stays(trajectories):
    recipe = recipe_of("datm", start_growth=0.5, iterations=40, min_start_epoch=0, max_start_epoch=3)
    settings = source(recipe, trajectories).settings
    lasts = [settings.start_epochs(iteration).stop - 1 for iteration in range(40)]
    assert [settings.start_epochs(iteration).start for iteration in range(40)] == [0] * 40
    assert lasts == [*np.floor(np.arange(20) / 20 * 2).astype(int), *[2] * 20]


def test_every_start_epoch_is_drawn_and_none_outside(trajectories):
    recipe = recipe_of("mtt", min_start_epoch=1, max_start_epoch=3, iterations=60)
    drawn = {source(recipe, trajectories).draw(iteration, ALL).start.numpy().tobytes() for iteration in range(60)}
    assert drawn == {trajectories.snapshot(expert, epoch).tobytes() for expert in (0, 1) for epoch in (1, 2)}


@pytest.mark.parametrize(("total", "parts"), [(1, 1), (7, 3), (10, 5), (12, 5), (1000, 7), (3, 5)])
def test_parts_are_even_and_make_up_the_whole(total, parts):
    ranges = [even_slice(total, parts, k) for k in range(parts)]
    assert [index for one in ranges for index in one] == list(range(total))
    assert max(map(len, ranges)) - min(map(len, ranges)) <= 1
    assert all(slice_of(index, total, parts) == k for k, one in enumerate(ranges) for index in one)


def test_stages_share_out_images_and_start_epochs(trajectories):
    assert image_stages([5, 5], 2).tolist() == [0, 0, 1, 1, 1] * 2
    settings = source(recipe_of("pdd", stages=2, iterations=7, max_start_epoch=3), trajectories).settings
    assert [list(settings.start_epochs(iteration)) for iteration in range(7)] == [[0]] * 3 + [[1, 2]] * 4


def test_more_stages_than_outer_steps_are_refused():
    with pytest.raises(RecipeError, match=r"method\.stages 2 needs as many .* outer steps"):
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
    made = problem_of(recipe, trajectories, path)
    state = start(made)
    with pytest.raises(DivergedError, match=rf"lower method\.{blamed} by"):
        optimise(state, made, Silent())
    kept = restored(path, recipe, trajectories)
    assert bits(kept) == bits(state)
    assert kept.iteration == len(kept.history.loss)
    assert float(kept.values["pixels"].abs().max()) < 1e4
    assert "logits" not in kept.values or float(kept.values["logits"].abs().max()) <= LOGIT_LIMIT


@pytest.mark.parametrize("growth", [0.99 * ALPHA_LIMIT, 1e9])
def test_a_learning_rate_that_grew_is_to_blame_before_and_after_the_loss_overflows(trajectories, growth):
    """The first grows beyond its limit while the student still walks; at the second the student leaves the numbers."""
    recipe = recipe_of("mtt", student_lr=1e-6 if growth < ALPHA_LIMIT else 1e25, student_lr_lr=1e30, momentum=0.0)
    made = problem_of(recipe, trajectories)
    state = start(made)
    state.values["log_alpha"] = state.values["log_alpha"] + math.log(growth)
    before = bits(state)
    with pytest.raises(DivergedError, match=r"lower method\.student_lr_lr by"):
        step(state, made)
    assert bits(state) == before


CPU_SHORT = RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried")
SHORT = [CPU_SHORT, MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")]


def too_large(made, most: int, error: BaseException):
    """The problem with a student that cannot take more than ``most`` images at once."""
    student = made.objective.student
    whole = student.loss

    def loss(parts, images, labels, weights):
        if len(images) > most:
            raise error
        return whole(parts, images, labels, weights)

    student.loss = loss
    return made


@pytest.mark.parametrize("error", SHORT, ids=lambda error: type(error).__name__)
def test_out_of_memory_halves_the_micro_batch_and_repeats_the_step(trajectories, error):
    recipe, heard = recipe_of(), Heard()
    made = too_large(problem_of(recipe, trajectories), 2, error)
    state = start(made, 2**31)
    optimise(state, made, heard)
    plain = problem_of(recipe, trajectories)
    halved = start(plain, 2)
    optimise(halved, plain, Silent())
    assert bits(state) == bits(halved)
    assert len(heard.said) == 1
    assert "compute.micro_batch = 2" in heard.said[0]


@pytest.mark.parametrize(
    ("given", "expected"), [(4, r"compute\.micro_batch = 1; .*method\.syn_steps"), (1, "syn_steps")]
)
def test_out_of_memory_again_is_an_error_that_names_what_to_change(trajectories, tmp_path, given, expected):
    recipe, path = recipe_of(), tmp_path / "checkpoint.safetensors"
    made = too_large(problem_of(recipe, trajectories, path), 0, CPU_SHORT)
    state = start(made, given)
    before = bits(state)
    with pytest.raises(MemoryShortError, match=expected):
        optimise(state, made, Silent())
    assert bits(state) == before
    assert bits(restored(path, recipe, trajectories)) == before


def test_another_error_of_the_student_is_not_taken_for_a_lack_of_memory(trajectories):
    recipe = recipe_of()
    made = too_large(problem_of(recipe, trajectories), 0, RuntimeError("a wrong shape"))
    with pytest.raises(RuntimeError, match="a wrong shape"):
        optimise(start(made), made, Silent())
