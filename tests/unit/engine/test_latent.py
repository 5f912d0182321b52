"""Latents of a decoder: against pixels, against automatic differentiation, and against layer after layer by hand."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from medistill.engine.checkpoint import load_checkpoint, save_checkpoint
from medistill.engine.coordinates import Bounded, InTurn, MomentumSGD, UpdateRule
from medistill.engine.labels import HardLabels
from medistill.engine.objectives.base import Evaluation, Objective
from medistill.engine.outer import optimise
from medistill.engine.parameterisations.base import Parameterisation
from medistill.engine.parameterisations.latent import Latents, Layer
from medistill.engine.parameterisations.pixels import Pixels
from medistill.engine.problem import DistillationProblem, OuterSettings
from medistill.engine.state import State
from medistill.progress import Silent
from medistill.training.randomness import generator
from medistill.training.stages import even_slice

N, CODE, SIZE = 5, 3, 4
SGD = MomentumSGD(0.3, 0.5)
STEPS = 9


def drawn(name: str, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator(0, name)).double()


FIRST, SECOND = drawn("first", 6, CODE), drawn("second", SIZE * SIZE, 6)


def grow(code: Tensor) -> Tensor:
    """The first part of a decoder."""
    return torch.tanh(code @ FIRST.T)


def show(hidden: Tensor) -> Tensor:
    """The second."""
    return torch.sin(hidden @ SECOND.T).view(-1, 1, SIZE, SIZE)


class Quartic(Objective[None]):
    """The sum over the images of |x - target|^4 / 4, image by image, whose gradient is no linear function."""

    target = drawn("target", N, 1, SIZE, SIZE)

    def draw(self, iteration, shown):
        return None

    def evaluate(self, images, learned, drawn, micro_batch):
        apart = images.pixels - self.target
        return Evaluation(float((apart**4).sum() / 4), apart**3, torch.zeros_like(images.labels), {})


def problem(parameterisation: Parameterisation, iterations: int = STEPS, **more) -> DistillationProblem:
    return DistillationProblem(
        settings=OuterSettings(iterations=iterations, checkpoint_every=1),
        objective=Quartic(),
        parameterisation=parameterisation,
        labels=HardLabels(torch.ones(N, 1).double()),
        stage=torch.zeros(N, dtype=torch.int64),
        precision="fp32",
        validate=None,
        **{"save": lambda state: None, **more},
    )


def finished(parameterisation: Parameterisation) -> State:
    whole = problem(parameterisation)
    state = State.start(whole.coordinates)
    state.micro_batch = N
    optimise(state, whole, Silent())
    return state


def hierarchy(at_once: int = 2, lr: float = 0.01) -> Latents:
    """Two layers, whose turns share the steps."""
    rule, start = MomentumSGD(lr, 0.5), drawn("start", N, CODE)
    turns = [InTurn(rule, even_slice(STEPS, 2, number)) for number in range(2)]
    first = Layer("code", start / 1.7, 1.7, turns[0], grow)
    return Latents([first, Layer("block_1", torch.zeros(N, 6).double(), 0.6, turns[1], show)], at_once=at_once)


def test_with_the_identity_for_a_decoder_they_are_pixels_bit_for_bit() -> None:
    start = drawn("pixels", N, 1, SIZE, SIZE)
    rule = MomentumSGD(0.01, 0.5)
    latent = finished(Latents([Layer("code", start, 1.0, rule, lambda images: images)]))
    plain = finished(Pixels(start, rule))
    assert latent.history.loss == plain.history.loss
    assert latent.history.loss[-1] < latent.history.loss[0]
    assert torch.equal(latent.values["latents_code"], plain.values["pixels"])
    assert torch.equal(latent.best["latents_code"], plain.best["pixels"])


def test_of_a_linear_decoder_the_gradient_is_its_transpose() -> None:
    basis, mean, unit = drawn("basis", CODE, SIZE * SIZE), drawn("mean", SIZE * SIZE), 2.5
    linear = Latents(
        [Layer("code", drawn("start", N, CODE), unit, SGD, lambda z: (mean + z @ basis).view(-1, 1, SIZE, SIZE))]
    )
    cotangent = drawn("cotangent", N, 1, SIZE, SIZE)
    found = linear.pullback({"latents_code": linear.layers[0].start}, cotangent)["latents_code"]
    assert (found - unit * cotangent.flatten(1) @ basis.T).abs().max() < 1e-12


@pytest.mark.parametrize("at_once", [1, 2, 4, 100])
def test_in_pieces_they_are_the_images_and_the_gradients_of_naive_differentiation(at_once: int) -> None:
    latents = hierarchy(at_once)
    values = {name: drawn(f"value {name}", *one.start.shape) for name, one in latents.coordinates().items()}
    leaves = {name: value.clone().requires_grad_() for name, value in values.items()}
    whole = show(grow(1.7 * leaves["latents_code"]) + 0.6 * leaves["latents_block_1"])
    ((whole - Quartic.target) ** 4 / 4).sum().backward()
    images = latents.render(values)
    assert not images.requires_grad
    assert (images - whole).abs().max() < 1e-12
    found = latents.pullback(values, (images - Quartic.target) ** 3)
    for name, leaf in leaves.items():
        assert leaf.grad is not None
        assert (found[name] - leaf.grad).abs().max() < 1e-12 * leaf.grad.abs().max()


def test_no_more_than_a_piece_passes_the_decoder_at_once() -> None:
    passed: list[int] = []

    def counted(latents: Tensor) -> Tensor:
        passed.append(len(latents))
        return show(latents)

    latents = Latents([Layer("code", drawn("start", N, 6), 1.0, SGD, counted)], at_once=2)
    values = {"latents_code": latents.layers[0].start}
    latents.pullback(values, latents.render(values))
    assert passed == [2, 2, 1] * 2


def test_layer_after_layer_is_the_method_by_hand() -> None:
    """Steps on the latents of a layer; then the next layer's are computed from them, and take their place."""
    latents = hierarchy()
    state = finished(latents)
    seen, parts, losses = drawn("start", N, CODE), [grow, show], []
    for number, unit in enumerate((1.7, 0.6)):
        velocity = torch.zeros_like(seen)
        for _ in even_slice(STEPS, 2, number):
            leaf = seen.clone().requires_grad_()
            image = leaf
            for part in parts[number:]:
                image = part(image)
            loss = ((image - Quartic.target) ** 4).sum() / 4
            (gradient,) = torch.autograd.grad(loss, leaf)
            velocity = 0.5 * velocity + unit * gradient
            seen = seen - unit * 0.01 * velocity
            losses.append(loss.item())
        seen = parts[number](seen)
    assert (latents.render(state.values) - seen).abs().max() < 1e-12
    assert state.history.loss == pytest.approx(losses, rel=1e-12)
    assert losses[4] != losses[3]


def test_one_layer_in_turn_is_that_layer_alone_bit_for_bit() -> None:
    start = drawn("start", N, 6)
    alone, in_turn = (
        finished(Latents([Layer("code", start, 1.3, rule, show)])) for rule in (SGD, InTurn(SGD, range(STEPS)))
    )
    assert torch.equal(alone.values["latents_code"], in_turn.values["latents_code"])
    assert alone.history.loss == in_turn.history.loss


def test_out_of_its_turn_a_layer_is_held_still_although_it_has_a_velocity() -> None:
    rule, value = InTurn(SGD, range(2, 4)), drawn("value", 3)
    moments, gradient, seen = rule.moments(value), drawn("gradient", 3), [value]
    for _ in range(6):
        value, moments = rule.update(value, gradient, moments)
        seen.append(value)
    moved = [not torch.equal(before, after) for before, after in pairwise(seen)]
    assert moved == [False, False, True, True, False, False]
    assert float(moments["velocity"].abs().max()) > 0
    expected, own = SGD.update(seen[0], gradient, SGD.moments(seen[0]))
    assert torch.equal(seen[3], expected)
    assert torch.equal(seen[4], SGD.update(expected, gradient, own)[0])


def test_latents_stay_within_their_bound_and_come_back_from_it() -> None:
    rule: UpdateRule = Bounded(MomentumSGD(1.0, 0.0), 2.0)
    value, moments = torch.tensor([1.5, -1.5, 0.0]), {"velocity": torch.zeros(3)}
    value, moments = rule.update(value, torch.tensor([-3.0, 3.0, -1.0]), moments)
    assert value.tolist() == [2.0, -2.0, 1.0]
    value, _ = rule.update(value, torch.tensor([0.5, -0.5, 0.0]), moments)
    assert value.tolist() == [1.5, -1.5, 1.0]


@pytest.mark.parametrize("stopped", [2, 4, 7])
def test_resumed_within_a_turn_or_between_two_it_goes_on_to_the_same_bits(stopped: int, tmp_path: Path) -> None:
    whole = finished(hierarchy())
    path = tmp_path / "checkpoint"

    class Stop(Exception):
        pass

    def save(state: State) -> None:
        save_checkpoint(state, path, {})
        if state.iteration == stopped:
            raise Stop

    killed = problem(hierarchy(), save=save)
    first = State.start(killed.coordinates)
    first.micro_batch = N
    with pytest.raises(Stop):
        optimise(first, killed, Silent())
    again = problem(hierarchy())
    resumed = State.start(again.coordinates)
    load_checkpoint(resumed, path, lambda origin: None)
    assert resumed.iteration == stopped
    optimise(resumed, again, Silent())
    assert resumed.history.loss == whole.history.loss
    for name, tensor in whole.tensors().items():
        assert torch.equal(resumed.tensors()[name], tensor), name


def test_the_weights_of_a_decoder_get_no_gradient() -> None:
    part = nn.Linear(6, SIZE * SIZE).double()
    latents = Latents([Layer("code", drawn("start", N, 6), 1.0, SGD, lambda z: part(z).view(-1, 1, SIZE, SIZE))])
    values = {"latents_code": latents.layers[0].start}
    latents.pullback(values, latents.render(values))
    assert part.weight.grad is None
