"""The loop with an objective of its own, written here in a few lines: nothing in it is trajectory matching's."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from medistill.engine.checkpoint import load_checkpoint, save_checkpoint
from medistill.engine.coordinates import Coordinate, MomentumSGD, Range, Values, largest_magnitude
from medistill.engine.labels import HardLabels, SoftLabels
from medistill.engine.objectives.base import Evaluation, Objective
from medistill.engine.outer import optimise, step
from medistill.engine.parameterisations.pixels import Pixels
from medistill.engine.problem import DistillationProblem, OuterSettings, ValidationScore
from medistill.engine.state import State
from medistill.errors import DivergedError
from medistill.progress import Silent
from medistill.training.images import LabelledImages
from medistill.training.randomness import generator

CLASSES = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])


@dataclass(frozen=True)
class Nearness(Objective[Tensor]):
    """Half the squared distance of the images that take part from a point that is drawn."""

    scale: float = 1.0

    def draw(self, iteration: int, shown: Tensor) -> Tensor:
        point = torch.randn(4, 1, 2, 2, generator=generator(0, "point", iteration))
        kept = torch.zeros(4, 1, 1, 1)
        kept[shown] = 1
        return torch.cat([point, kept.expand_as(point)])

    def evaluate(self, images, learned: Values, drawn: Tensor, micro_batch: int) -> Evaluation:
        point, kept = drawn.split(4)
        off = self.scale * kept * (images.pixels - point)
        return Evaluation(float(off.square().sum() / 2), self.scale * off, torch.zeros_like(images.labels), {})


@dataclass(frozen=True)
class Doubled:
    """Images that are twice the coordinate ``half``: a parameterisation of its own."""

    start: Tensor
    lr: float

    def coordinates(self) -> dict[str, Coordinate]:
        reach = Range("half_lr", largest_magnitude, 100.0, "halves reach {:.3g}")
        return {"half": Coordinate(self.start, MomentumSGD(self.lr, 0.5), reach, per_image=True, averaged=True)}

    def render(self, values: Values) -> Tensor:
        return 2 * values["half"]

    def pullback(self, values: Values, grad_images: Tensor) -> dict[str, Tensor]:
        return {"half": 2 * grad_images}


def problem(parameterisation, saved=None, labels=None, **settings) -> DistillationProblem:
    return DistillationProblem(
        settings=OuterSettings(**{"iterations": 6, "validate_every": 3, **settings}),
        objective=Nearness(),
        parameterisation=parameterisation,
        labels=labels or HardLabels(CLASSES),
        stage=torch.tensor([0, 1, 0, 1]) if settings.get("stages", 1) > 1 else torch.zeros(4, dtype=torch.int64),
        precision="fp32",
        validate=lambda images, values, iteration: ValidationScore(0.5, float(iteration)),
        save=saved or (lambda state: None),
    )


def begun(made: DistillationProblem) -> State:
    state = State.start(made.coordinates)
    state.micro_batch = 4
    return state


def first_images() -> Tensor:
    return torch.randn(4, 1, 2, 2, generator=generator(1))


def test_twice_a_half_at_a_quarter_of_the_rate_is_the_pixels():
    whole, half = problem(Pixels(first_images(), MomentumSGD(0.4, 0.5))), problem(Doubled(first_images() / 2, 0.1))
    results = []
    for made in (whole, half):
        state = begun(made)
        optimise(state, made, Silent())
        results.append((made.images(state.values).pixels, state.history))
    torch.testing.assert_close(results[0][0], results[1][0])
    assert results[0][1].loss == pytest.approx(results[1][1].loss)


def test_a_sharpness_aware_step_shifts_what_the_images_are_made_of():
    made = problem(Doubled(first_images() / 2, 0.1), sharpness=0.3)
    state = begun(made)
    half = state.values["half"].double()
    step(state, made)
    point = made.objective.draw(0, torch.arange(4)).split(4)[0].double()

    def gradient(at: Tensor) -> Tensor:
        leaf = at.clone().requires_grad_()
        return torch.autograd.grad((2 * leaf - point).square().sum() / 2, leaf)[0]

    uphill = gradient(half)
    expected = half - 0.1 * gradient(half + 0.3 * uphill / uphill.norm())
    torch.testing.assert_close(state.values["half"].double(), expected, rtol=1e-5, atol=1e-5)


def test_soft_labels_pull_back_through_the_softmax():
    logits = torch.randn(4, 3, generator=generator(2), dtype=torch.float64, requires_grad=True)
    labels = SoftLabels(F.one_hot(torch.arange(4) % 3, 3).double(), logits.detach(), MomentumSGD(0.1, 0.5))
    towards = torch.randn(4, 3, generator=generator(3), dtype=torch.float64)
    (wanted,) = torch.autograd.grad((F.softmax(logits, dim=1) * towards).sum(), logits)
    found = labels.pullback(labels.render({"logits": logits.detach()}), towards)
    torch.testing.assert_close(found["logits"], wanted)


def test_a_coordinate_that_leaves_its_range_names_its_own_setting():
    made = problem(Doubled(first_images() / 2, 1e6))
    state = begun(made)
    with pytest.raises(DivergedError, match=r"halves reach .*lower method\.half_lr"):
        optimise(state, made, Silent())
    assert state.iteration == len(state.history.loss)


def test_a_checkpoint_holds_coordinates_by_name_and_resumes_to_the_same_bits(tmp_path):
    path = tmp_path / "checkpoint.safetensors"

    def save(state: State) -> None:
        if state.iteration == 3:
            save_checkpoint(state, path, {"made_from": "here"})

    made = problem(Doubled(first_images() / 2, 0.1), save, stages=2, ema=0.5)
    whole = begun(made)
    optimise(whole, made, Silent())
    origins = []
    resumed = State.start(made.coordinates)
    load_checkpoint(resumed, path, origins.append)
    assert origins == [{"made_from": "here"}]
    assert sorted(resumed.tensors()) == ["half", "half.average", "half.best", "half.velocity"]
    optimise(resumed, made, Silent())
    for name, tensor in whole.tensors().items():
        assert torch.equal(resumed.tensors()[name], tensor)
    assert resumed.history == whole.history


def test_what_is_validated_is_rendered_and_only_of_the_stages_so_far():
    seen: list[LabelledImages] = []

    def validate(images: LabelledImages, values: Values, iteration: int) -> ValidationScore:
        seen.append(images)
        return ValidationScore(0.5, 0.5)

    made = replace(problem(Doubled(first_images() / 2, 0.1), stages=2), validate=validate)
    state = begun(made)
    optimise(state, made, Silent())
    assert [len(images) for images in seen] == [2, 4]
    torch.testing.assert_close(seen[1].pixels, 2 * state.averages["half"])
    assert seen[1].labels.tolist() == [0, 0, 1, 1]
