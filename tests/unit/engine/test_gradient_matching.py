"""Gradient matching: against automatic differentiation, by hand on a linear model, and in the outer loop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.normalisation import Normalisation
from medistill.engine.checkpoint import load_checkpoint, save_checkpoint
from medistill.engine.coordinates import MomentumSGD
from medistill.engine.grey import GreySGD
from medistill.engine.images import Images
from medistill.engine.inner_optimisers import MomentumSGD as NetworkMomentum
from medistill.engine.inner_optimisers import Rates
from medistill.engine.labels import HardLabels, SoftLabels
from medistill.engine.loops import Loops
from medistill.engine.objectives.gradient import GradientMatching
from medistill.engine.outer import optimise, step
from medistill.engine.parameterisations.pixels import Pixels
from medistill.engine.problem import DistillationProblem, OuterSettings
from medistill.engine.sources.fresh import FreshNetworks
from medistill.engine.sources.originals import Originals
from medistill.engine.sources.passes import ImagePasses, OriginalPasses
from medistill.engine.state import State
from medistill.errors import DivergedError
from medistill.networks.registry import NetworkSpec
from medistill.progress import Silent
from medistill.recipe import AugmentationRecipe, NetworkRecipe
from medistill.training.augmentation import augment
from medistill.training.images import LabelledImages
from tests.factories.drawn_corpus import drawn_corpus

CPU = torch.device("cpu")
CLASSES, SIZE = 3, 8
NORMALISATION = Normalisation((0.5,), (0.25,))
DRAWN = AugmentationRecipe()
PLAIN = AugmentationRecipe(operations=())
SPEC = NetworkSpec(NetworkRecipe(depth=2, width=3), 1, SIZE, CLASSES)
CLASS_OF = torch.arange(7) % CLASSES


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Three classes, 12 training images each."""
    return drawn_corpus(tmp_path / "corpus", size=SIZE)


class Wide(FreshNetworks):
    """The same networks in float64."""

    def draw(self, iteration: int, shown: torch.Tensor, number: int = 0) -> nn.Module:
        return super().draw(iteration, shown, number).double()


class Linear(FreshNetworks):
    """A linear model of the pixels."""

    def draw(self, iteration: int, shown: torch.Tensor, number: int = 0) -> nn.Module:
        rng = torch.Generator().manual_seed(iteration)
        network = nn.Sequential(nn.Flatten(), nn.Linear(SIZE * SIZE, CLASSES)).double()
        for parameter in network.parameters():
            parameter.data = torch.randn(parameter.shape, generator=rng, dtype=torch.float64) / SIZE
        return network


class WidePasses(OriginalPasses):
    """The same originals in float64, where the network is."""

    def draw(self, iteration: int, shown: torch.Tensor):
        drawn = super().draw(iteration, shown)
        wide = Images(
            *(of.double() for of in (drawn.originals.pixels, drawn.originals.labels, drawn.originals.weights))
        )
        return replace(drawn, originals=wide)


def on_images(corpus: Corpus, networks: FreshNetworks) -> Loops:
    return Loops(networks, 3, ImagePasses(2, 4, DRAWN, 0), rates=Rates(0.1))


def on_originals(corpus: Corpus, networks: FreshNetworks) -> Loops:
    kind = WidePasses if isinstance(networks, Wide) else OriginalPasses
    passes = kind(corpus, (0, 1, 2), 10, 4, DRAWN, NORMALISATION, CLASSES, 0, CPU)
    return Loops(networks, 3, passes, NetworkMomentum(5e-4), Rates(0.1, 0.9))


TRAINED = {"images": on_images, "originals": on_originals}


def objective(
    corpus, networks=FreshNetworks, augmentation=DRAWN, class_ids=(0, 1, 2), batch=5, loops=None, **settings
) -> GradientMatching:
    originals = Originals(corpus, class_ids, batch, NORMALISATION, 0, CPU)
    drawn = networks(SPEC, 0, CPU)
    made = loops(corpus, drawn) if loops else Loops(drawn)
    return GradientMatching(made, originals, augmentation, CLASSES, 0, CPU, **settings)


def images(dtype=torch.float64, *, soft: bool = False) -> Images:
    rng = torch.Generator().manual_seed(1)
    pixels = torch.randn(7, 1, SIZE, SIZE, generator=rng, dtype=dtype)
    labels = F.one_hot(CLASS_OF, CLASSES).to(dtype)
    if soft:
        labels = F.softmax(4 * labels + torch.randn(7, CLASSES, generator=rng, dtype=dtype), dim=1)
    return Images(pixels, labels, torch.ones(7, dtype=dtype))


def assert_same(found: torch.Tensor, wanted: torch.Tensor) -> None:
    """To 1e-12 of their size."""
    assert float((found - wanted).norm()) <= 1e-12 * float(wanted.norm()) > 0


def gradients(network: nn.Module, shown, labels) -> dict[str, torch.Tensor]:
    """The gradient of the mean cross-entropy in every parameter, with its graph."""
    names, parameters = zip(*network.named_parameters(), strict=True)
    loss = -(labels * F.log_softmax(network(shown), dim=1)).sum(dim=1).mean()
    return dict(zip(names, torch.autograd.grad(loss, parameters, create_graph=True), strict=True))


def apart(name: str, r: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    if name != "cosine":
        return ((r - s) ** 2).sum() if name == "squared" else (r - s).abs().sum()
    rows = zip(r.flatten(1), s.flatten(1), strict=True)
    return sum(1 - a @ b / (a.norm() * b.norm() + 1e-6) for a, b in rows)


def naive(network, drawn, pixels, labels, *, distance="cosine", convolutions=False, summed=False) -> torch.Tensor:
    """The loss, class by class, with all of its graph."""
    network.requires_grad_(requires_grad=True)
    wanted, found = [], []
    of_class = labels.argmax(dim=1)
    for c in range(CLASSES):
        mine = [n for n in drawn.shown.tolist() if of_class[n] == c]
        real = drawn.originals.batch(drawn.originals.labels == c).double()
        if not (mine and len(real)):
            continue
        rows = torch.full((len(real),), c)
        truth = F.one_hot(rows, CLASSES).double()
        wanted.append(gradients(network, augment(real, drawn.augmentation[rows]), truth))
        shown = augment(pixels[mine], drawn.augmentation[torch.full((len(mine),), c)])
        found.append(gradients(network, shown, labels[mine]))
    if summed:
        wanted, found = ([{name: sum(one[name] for one in of) for name in of[0]}] for of in (wanted, found))
    loss = torch.zeros((), dtype=torch.float64)
    for r, s in zip(wanted, found, strict=True):
        for name in r:
            if r[name].ndim > (2 if convolutions else 1):
                loss = loss + apart(distance, r[name].detach(), s[name])
    return loss


@pytest.mark.parametrize("micro_batch", [1, 2, 100])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"summed": True},
        {"distance": "squared", "convolutions": True},
        {"distance": "absolute"},
    ],
    ids=["dc", "dcc", "idc", "absolute"],
)
@pytest.mark.parametrize(
    ("augmentation", "class_ids"), [(PLAIN, (0, 1, 2)), (AugmentationRecipe(mode="all"), (0, 2))], ids=["dc", "dsa"]
)
def test_value_and_gradients_are_those_of_automatic_differentiation(
    corpus, augmentation, class_ids, settings, soft, micro_batch
):
    asked = objective(corpus, Wide, augmentation, class_ids, **settings)
    given = images(soft=soft)
    shown = torch.tensor([0, 1, 2, 4, 5, 6])  # the fourth takes no part
    drawn = asked.draw(7, shown)
    pixels, labels = given.pixels.clone().requires_grad_(), given.labels.clone().requires_grad_()
    loss = naive(asked.loops.networks.draw(7, shown), drawn, pixels, labels, **settings)
    loss.backward()
    found = asked.evaluate(given, {}, drawn, micro_batch)
    assert found.loss == pytest.approx(loss.item(), rel=1e-12)
    assert_same(found.grad_images, pixels.grad)
    assert_same(found.grad_labels, labels.grad)
    assert found.grad_images[0].any()
    assert not found.grad_images[3].any()
    assert found.usable


def test_by_hand_on_a_linear_model(corpus):
    """There the gradient of an image in the weights is (p - y) x^T."""
    asked = objective(corpus, Linear, PLAIN, distance="squared")
    given, shown = images(), torch.arange(7)
    drawn = asked.draw(3, shown)
    layer = asked.loops.networks.draw(3, shown)[1]

    def of(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        p = F.softmax(x.flatten(1) @ layer.weight.T + layer.bias, dim=1)
        return (p - y).T @ x.flatten(1) / len(x)

    loss = 0.0
    for c in range(CLASSES):
        real = drawn.originals.batch(drawn.originals.labels == c).double()
        r = of(real, F.one_hot(torch.full((len(real),), c), CLASSES))
        loss += float((of(given.pixels[c == CLASS_OF], given.labels[c == CLASS_OF]) - r).square().sum().detach())
    assert asked.evaluate(given, {}, drawn, 2).loss == pytest.approx(loss, rel=1e-12)


@pytest.mark.parametrize("settings", [{}, {"summed": True}, {"distance": "squared", "convolutions": True}])
def test_images_that_are_the_originals_have_no_distance(corpus, settings):
    asked = objective(corpus, Wide, AugmentationRecipe(mode="all"), **settings)
    drawn = asked.draw(3, torch.arange(15))
    real = drawn.originals
    same = Images(real.batch(slice(None)).double(), F.one_hot(real.labels, CLASSES).double(), torch.ones(15).double())
    found = asked.evaluate(same, {}, drawn, 4)
    rows = 1e-4 if settings.get("distance") is None else 1e-20  # the cosine's 1e-6 leaves this of short rows
    assert found.loss == pytest.approx(0, abs=20 * rows)
    elsewhere = asked.evaluate(replace(same, pixels=same.pixels + 1), {}, drawn, 4)
    assert elsewhere.loss > 100 * found.loss


def test_a_network_without_convolutions_is_compared_by_its_weights(corpus):
    """As a probe is."""
    asked, shown = objective(corpus, Linear, PLAIN, convolutions=True), torch.arange(7)
    whole = replace(asked, convolutions=False)
    drawn = asked.draw(0, shown)
    assert asked.evaluate(images(), {}, drawn, 7).loss == whole.evaluate(images(), {}, drawn, 7).loss > 0


def test_originals_and_images_of_a_class_are_augmented_alike(corpus):
    asked = objective(corpus, Wide, AugmentationRecipe(mode="all"))
    drawn = asked.draw(3, torch.arange(CLASSES))
    firsts = [int((drawn.originals.labels == c).nonzero()[0]) for c in range(CLASSES)]
    alone = replace(drawn, originals=LabelledImages.of_floats(drawn.originals.batch(firsts), torch.arange(CLASSES)))
    same = Images(
        alone.originals.stored(slice(None)).double(),
        torch.eye(CLASSES, dtype=torch.float64),
        torch.ones(CLASSES).double(),
    )
    assert asked.evaluate(same, {}, alone, 2).loss == pytest.approx(0, abs=1e-3)
    rows = [drawn.augmentation.numbers[name] for name in ("brightness", "crop", "rotate")]
    assert all(len(of.unique(dim=0)) == CLASSES for of in rows), "and each class has its own"


def test_what_is_drawn_depends_on_the_iteration_alone(corpus):
    asked, shown = objective(corpus), torch.arange(7)
    asked.draw(1, shown)
    first, again, other = (asked.draw(step, shown) for step in (3, 3, 4))
    assert torch.equal(first.network.fresh, again.network.fresh)
    assert not torch.equal(first.network.fresh, other.network.fresh)
    assert torch.equal(first.originals.stored(slice(None)), again.originals.stored(slice(None)))
    assert not torch.equal(first.originals.stored(slice(None)), other.originals.stored(slice(None)))


@pytest.mark.parametrize("trained", TRAINED)
def test_a_network_trains_between_steps_as_by_hand_and_makes_way_in_time(corpus, trained):
    asked, shown, given = objective(corpus, Wide, loops=TRAINED[trained]), torch.arange(7), images()
    fresh = [asked.loops.networks.draw(step, shown) for step in (0, 3)]
    learned, seen = {}, []
    for number in range(4):
        drawn = asked.draw(number, shown)
        learned = asked.evaluate(given, learned, drawn, 3).grad_learned
        seen.append((drawn, learned["network"][0]))
    first = nn.utils.parameters_to_vector(fresh[0].parameters())
    assert torch.equal(seen[0][1], first)
    assert torch.equal(seen[3][1], nn.utils.parameters_to_vector(fresh[1].parameters()))
    network = fresh[0].requires_grad_(requires_grad=True)
    momentum, decay = (0.9, 5e-4) if trained == "originals" else (0, 0)
    sgd = torch.optim.SGD(network.parameters(), lr=0.1, momentum=momentum, weight_decay=decay)
    for drawn, theta in seen[1:3]:
        training = drawn.network.training
        assert training is not None
        shown_to = training.originals or given
        assert len(shown_to.pixels) == (10 if trained == "originals" else 7)
        sizes = [len(rows) for rows in training.steps.batches]
        assert sizes == ([4, 4, 2] if trained == "originals" else [4, 3, 4, 3])
        for rows, of in zip(training.steps.batches, training.steps.draws, strict=True):
            sgd.zero_grad()
            logits = network(augment(shown_to.pixels[rows].double(), of))
            F.cross_entropy(logits, shown_to.labels[rows].double()).backward()
            sgd.step()
        torch.testing.assert_close(nn.utils.parameters_to_vector(network.parameters()), theta, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("trained", TRAINED)
def test_a_network_that_trained_is_the_one_whose_gradients_are_matched(corpus, trained):
    asked, shown, given = objective(corpus, Wide, loops=TRAINED[trained]), torch.arange(7), images()
    learned = asked.evaluate(given, {}, asked.draw(0, shown), 7).grad_learned
    drawn = asked.draw(1, shown)
    found = asked.evaluate(given, learned, drawn, 7)
    network = asked.loops.networks.draw(0, shown)
    nn.utils.vector_to_parameters(found.grad_learned["network"][0], network.parameters())
    pixels = given.pixels.clone().requires_grad_()
    loss = naive(network, drawn, pixels, given.labels)
    loss.backward()
    assert found.loss == pytest.approx(loss.item(), rel=1e-12)
    assert_same(found.grad_images, pixels.grad)


def problem(corpus: Corpus, path: Path | None = None, *, soft=False, **settings) -> DistillationProblem:
    classes = F.one_hot(CLASS_OF, CLASSES).float()
    rule = MomentumSGD(lr=0.2, momentum=0.5)
    return DistillationProblem(
        settings=OuterSettings(iterations=12, checkpoint_every=5),
        objective=objective(corpus, batch=12, **settings),
        parameterisation=Pixels(images(torch.float32).pixels, rule),
        labels=SoftLabels(classes, 3 * classes, rule) if soft else HardLabels(classes),
        stage=torch.zeros(7, dtype=torch.int64),
        precision="fp32",
        validate=None,
        save=lambda state: save_checkpoint(state, path, {}) if path is not None else None,
    )


def begun(made: DistillationProblem, micro_batch: int = 4) -> State:
    state = State.start(made.coordinates)
    state.micro_batch = micro_batch
    return state


def finished(made: DistillationProblem, micro_batch: int = 4) -> State:
    state = begun(made, micro_batch)
    optimise(state, made, Silent())
    return state


@pytest.mark.parametrize("soft", [False, True])
def test_the_outer_loop_brings_it_down(corpus, soft):
    made = replace(problem(corpus, augmentation=PLAIN, soft=soft), settings=OuterSettings(iterations=60))

    def elsewhere(state: State) -> float:
        """The mean loss on draws that the run does not meet."""
        seen = (made.objective.draw(step, torch.arange(7)) for step in range(1000, 1010))
        return sum(made.objective.evaluate(made.images(state.values), {}, one, 100).loss for one in seen) / 10

    assert elsewhere(finished(made, 100)) < 0.65 * elsewhere(begun(made))


@pytest.mark.parametrize("trained", [None, *TRAINED])
@pytest.mark.parametrize("stops_after", [7, 9])
def test_a_resumed_run_ends_in_the_same_bits(corpus, tmp_path, trained, stops_after):
    """In the middle of a network's time, and at its end."""
    loops = TRAINED[trained] if trained else None
    whole = finished(problem(corpus, loops=loops))
    path = tmp_path / "checkpoint.safetensors"
    part = begun(problem(corpus, path, loops=loops))
    for _ in range(stops_after):
        step(part, problem(corpus, loops=loops))
    save_checkpoint(part, path, {})
    resumed = State.start(problem(corpus, loops=loops).coordinates)
    load_checkpoint(resumed, path, lambda origin: None)
    assert resumed.iteration == stops_after
    optimise(resumed, problem(corpus, loops=loops), Silent())
    assert torch.equal(resumed.values["pixels"], whole.values["pixels"])
    assert resumed.history == whole.history


def test_one_step_a_network_is_the_same_whatever_it_would_have_trained_on(corpus):
    """DosCond is DC with loops of one step."""

    def once(made, networks):
        return Loops(networks, 1, ImagePasses(5, 4, DRAWN, 0))

    alone, with_training = finished(problem(corpus)), finished(problem(corpus, loops=once))
    assert torch.equal(alone.values["pixels"], with_training.values["pixels"])
    assert set(with_training.values) == {"pixels"}


def test_without_passes_a_network_stays_as_it_began(corpus):
    def still(made, networks):
        return Loops(networks, 4, ImagePasses(0, 4, DRAWN, 0))

    asked, shown = objective(corpus, loops=still), torch.arange(7)
    learned = {}
    for number in range(4):
        learned = asked.evaluate(images(torch.float32), learned, asked.draw(number, shown), 7).grad_learned
    assert torch.equal(learned["network"][0], asked.draw(0, shown).network.fresh)


def test_micro_batches_change_rounding_alone(corpus):
    states = []
    for micro_batch in (1, 4, 100):
        state = begun(problem(corpus, loops=on_images), micro_batch)
        for _ in range(3):
            step(state, problem(corpus, loops=on_images))
        states.append(state.values["pixels"])
    for other in states[1:]:
        torch.testing.assert_close(other, states[0], rtol=1e-3, atol=1e-4)


def test_a_step_passes_the_largest_class_of_originals_or_all(corpus):
    assert objective(corpus, batch=9).batch_size(6) == 9
    assert objective(corpus, batch=5).batch_size(6) == 6
    assert objective(corpus, batch=100).batch_size(6) == 12
    assert objective(corpus, batch=5, summed=True).batch_size(6) == 15
    assert objective(corpus, batch=1, loops=on_originals).batch_size(2) == 4


def test_a_network_that_leaves_the_finite_numbers_has_its_steps_skipped_and_is_forgotten(corpus):
    def wild(made, networks):
        return Loops(networks, 3, ImagePasses(40, 4, DRAWN, 0), rates=Rates(1e20))

    made = problem(corpus, loops=wild)
    state = begun(made)
    for _ in range(3):
        step(state, made)
    assert state.history.skipped == [2, 3]
    assert torch.isfinite(state.values["network"]).all()
    assert torch.isfinite(state.values["pixels"]).all()
    with pytest.raises(DivergedError, match="skipped") as caught:
        optimise(state, made, Silent())
    assert "method.network_lr" in caught.value.do


def test_in_bf16_it_points_the_same_way(corpus):
    asked, given = objective(corpus), images(torch.float32)
    drawn = asked.draw(0, torch.arange(7))
    full = asked.evaluate(given, {}, drawn, 4)
    with torch.autocast("cpu", torch.bfloat16):
        half = asked.evaluate(given, {}, drawn, 4)
    assert half.loss == pytest.approx(full.loss, rel=0.05)
    assert half.grad_images.dtype == torch.float32
    assert F.cosine_similarity(half.grad_images.flatten(), full.grad_images.flatten(), dim=0) > 0.9


def test_grey_values_move_by_a_rate_of_their_own_and_stay_between_black_and_white():
    mean, std = torch.tensor([0.4]).view(1, 1, 1, 1), torch.tensor([0.2]).view(1, 1, 1, 1)
    rule = GreySGD(MomentumSGD(0.05, 0.5), mean, std)
    grey = torch.tensor([[[[0.3, 0.99, 0.01, 0.5]]]])
    of_grey = torch.tensor([[[[1.0, -2.0, 3.0, -0.5]]]])
    value, moments, velocity = (grey - mean) / std, rule.moments(grey), torch.zeros(4)
    for _ in range(3):
        value, moments = rule.update(value, of_grey * std, moments)  # the gradient in z = (g - m) / s
        velocity = 0.5 * velocity + of_grey
        grey = (grey - 0.05 * velocity).clamp(0, 1)
        torch.testing.assert_close(value * std + mean, grey)
    assert (float(grey.min()), float(grey.max())) == (0, 1)
