"""Nested sets: former images move by their share of a step, and networks train on all images at once."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from medistill.engine.coordinates import Adam, Values
from medistill.engine.images import Images
from medistill.engine.labels import HardLabels, SoftLabels
from medistill.engine.objectives.base import Evaluation, Objective
from medistill.engine.outer import optimise, step
from medistill.engine.parameterisations.pixels import Pixels
from medistill.engine.problem import DistillationProblem, OuterSettings, ValidationScore
from medistill.engine.state import State
from medistill.errors import DataError
from medistill.methods.optimising.problem import stages
from medistill.progress import Silent
from medistill.recipe import load_recipe
from medistill.recipe.unrolling import UnrolledRecipe
from medistill.training.images import LabelledImages
from medistill.training.stages import image_stages

NUMBERS = torch.Generator().manual_seed(0)
START = torch.randn(6, 1, 4, 4, generator=NUMBERS)
TARGETS = torch.randn(8, 6, 1, 4, 4, generator=NUMBERS)
CLASSES = torch.eye(2).repeat_interleave(3, dim=0)
STAGES = image_stages([3, 3], 3)
"""One image of each class a stage."""


@dataclass(frozen=True)
class Towards(Objective[tuple[Tensor, Tensor]]):
    """Every step draws the images that take part to another target."""

    def draw(self, iteration: int, shown: Tensor) -> tuple[Tensor, Tensor]:
        return TARGETS[iteration % len(TARGETS)], shown

    def evaluate(self, images: Images, learned: Values, drawn: tuple[Tensor, Tensor], micro_batch: int) -> Evaluation:
        target, shown = drawn
        grad, of_labels = torch.zeros_like(images.pixels), torch.zeros_like(images.labels)
        grad[shown] = (images.pixels - target)[shown]
        of_labels[shown] = images.labels[shown] - 0.1 * target[shown].mean(dim=(1, 2, 3))[:, None].expand(-1, 2)
        return Evaluation(float(grad.square().sum()), grad, of_labels, {})


def problem(iterations: int = 9, *, soft: bool = False, validate=None, **settings: object) -> DistillationProblem:
    return DistillationProblem(
        settings=OuterSettings(iterations, stages=3, **settings),
        objective=Towards(),
        parameterisation=Pixels(START, Adam(0.05)),
        labels=SoftLabels(CLASSES, 2 * CLASSES, Adam(0.03)) if soft else HardLabels(CLASSES),
        stage=STAGES,
        precision="fp32",
        validate=validate,
        save=lambda state: None,
    )


def begun(made: DistillationProblem) -> State:
    state = State.start(made.coordinates)
    state.micro_batch = 6
    return state


@pytest.mark.parametrize("former", [0.1, 0.5, 1.0])
def test_former_images_move_by_exactly_their_share_of_the_step_of_adam(former: float) -> None:
    made = problem(former=former, together=True)
    state = begun(made)
    optimise(state, made, Silent())
    images = START.double().clone()
    for stage in range(3):
        moving = torch.nn.Parameter(images.clone())
        reference = torch.optim.Adam([moving], lr=0.05, foreach=False)  # every stage begins it anew
        for iteration in range(3 * stage, 3 * stage + 3):
            moving.data = images.clone()
            shown = [of <= stage for of in STAGES.tolist()]
            moving.grad = torch.zeros_like(images)
            moving.grad[shown] = (images - TARGETS[iteration % len(TARGETS)])[shown]
            reference.step()
            for row, of in enumerate(STAGES.tolist()):
                share = 1.0 if of == stage else former if of < stage else 0.0
                images[row] += share * (moving.detach()[row] - images[row])
    torch.testing.assert_close(state.values["pixels"].double(), images, atol=1e-5, rtol=0)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_at_share_0_former_images_keep_their_bits(soft: bool, ema: float) -> None:
    seen: list[LabelledImages] = []

    def validate(images: LabelledImages, values: Values, iteration: int) -> ValidationScore:
        seen.append(images)
        return ValidationScore(0.5, 0.5)

    made = problem(soft=soft, ema=ema, together=True, validate=validate)
    optimise(begun(made), made, Silent())
    first, second, third = seen
    for before, after in ((first, second), (second, third)):
        kept = [row for row, stage in enumerate(STAGES.tolist()) if stage < len(after.pixels) // 2]
        former = [number for number, row in enumerate(kept) if STAGES[row] < len(before.pixels) // 2]
        assert torch.equal(after.pixels[former], before.pixels)
        if soft:
            assert after.soft_labels is not None
            assert before.soft_labels is not None
            assert torch.equal(after.soft_labels[former], before.soft_labels)
    assert not torch.equal(third.pixels, START)


def test_labels_and_averages_of_former_images_go_on_with_their_images() -> None:
    made = problem(soft=True, ema=0.5, former=0.25, together=True)
    state = begun(made)
    for _ in range(3):
        step(state, made)
    before, average, logits = (
        one.clone() for one in (state.values["pixels"], state.averages["pixels"], state.values["logits"])
    )
    step(state, made)
    rows = STAGES <= 1
    expected = 0.5 * average + 0.5 * state.values["pixels"]
    torch.testing.assert_close(state.averages["pixels"][rows], expected[rows])
    assert torch.equal(state.averages["pixels"][~rows], average[~rows])
    assert not torch.equal(state.values["logits"][STAGES == 0], logits[STAGES == 0])
    assert torch.equal(state.values["pixels"][STAGES == 2], before[STAGES == 2])


@pytest.mark.parametrize("together", [False, True])
def test_networks_train_on_all_at_once_or_in_stages(together: bool) -> None:
    seen: list[LabelledImages] = []

    def validate(images: LabelledImages, values: Values, iteration: int) -> ValidationScore:
        seen.append(images)
        return ValidationScore(0.5, 0.5)

    made = problem(validate=validate, together=together)
    optimise(begun(made), made, Silent())
    assert [len(images.pixels) for images in seen] == [2, 4, 6]
    assert [len(images.stages()) for images in seen] == ([1, 1, 1] if together else [1, 2, 3])
    assert all(len(replace(images, stage=None).stages()) == 1 for images in seen)


def test_a_class_with_fewer_images_than_stages_is_refused_by_number() -> None:
    settings = load_recipe("demo", ["method.name=unrolled", "method.stages=2"]).method
    assert isinstance(settings, UnrolledRecipe)
    with pytest.raises(DataError, match="a class has 1 images for 2 stages"):
        stages(settings, torch.tensor([0, 0, 0, 1]))
    assert stages(settings, torch.tensor([0, 0, 1, 1])).tolist() == [0, 1, 0, 1]
