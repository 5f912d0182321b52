"""The loss on originals of an unrolled student: against autograd of all of it, and its draws."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.normalisation import Normalisation
from medistill.engine.coordinates import Adam
from medistill.engine.derivative import SecondDerivative, gradient, hessian_vector_product
from medistill.engine.images import Images
from medistill.engine.inner_optimisers import Adam as InnerAdam
from medistill.engine.inner_optimisers import InnerOptimiser, MomentumSGD, PlainSGD, Rates
from medistill.engine.learned_rates import LearnedRates
from medistill.engine.objectives.unrolled import DrawnUnroll, Unrolled
from medistill.engine.pool import Pool
from medistill.engine.sources.originals import Originals
from medistill.engine.sources.walks import DrawnWalk, Walks, WalkSettings
from medistill.engine.student import Student
from medistill.errors import WrongDerivativeError
from medistill.networks.registry import NetworkSpec, build_network
from medistill.progress import Silent
from medistill.recipe import AugmentationRecipe, NetworkRecipe
from medistill.training.augmentation import augment
from medistill.training.images import LabelledImages
from medistill.training.randomness import generator
from tests.factories.drawn_corpus import drawn_corpus
from tests.naive_students import live, naive_rule, naive_walk, named

CPU = torch.device("cpu")
CLASSES, SIZE, COUNT = 3, 8, 7
NORMALISATION = Normalisation((0.5,), (0.25,))
SPEC = NetworkSpec(NetworkRecipe(depth=2, width=3), 1, SIZE, CLASSES)
WALK = WalkSettings(steps=5, window=3, batch_syn=4)
MOVES = {"plain": PlainSGD(), "momentum": MomentumSGD(5e-3), "adam": InnerAdam()}
SHOWN = torch.tensor([0, 1, 2, 4, 5, 6])
"""The fourth image takes no part."""
EVERYTHING = AugmentationRecipe(operations=("color", "crop", "cutout", "flip", "scale", "rotate"), mode="all")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Three classes, 12 training images each."""
    return drawn_corpus(tmp_path_factory.mktemp("drawn") / "corpus", size=SIZE)


class Wide(Walks):
    """The same networks in float64."""

    def draw(self, iteration: int, shown: Tensor, number: int = 0) -> DrawnWalk:
        drawn = super().draw(iteration, shown, number)
        return replace(drawn, start=drawn.start.double())


def objective(
    corpus: Corpus,
    optimiser: InnerOptimiser = MOVES["momentum"],
    *,
    settings: WalkSettings = WALK,
    class_ids: tuple[int, ...] = (0, 1, 2),
    batch: int = 5,
    seed: int = 0,
    alpha: float = 0.02,
    walks: type[Walks] = Wide,
) -> Unrolled:
    rates = LearnedRates(Rates(alpha, 0.8), Adam(0.003), momentum=isinstance(optimiser, MomentumSGD))
    network = build_network(SPEC, generator(seed, "student"))
    student = Student(network.double() if walks is Wide else network)
    pool = None
    if settings.pool:
        parameters = sum(p.numel() for p in network.parameters())
        pool = Pool(settings.pool, parameters, optimiser.moments, settings.steps, settings.window, CPU)
    return Unrolled(
        student=student,
        walks=walks(SPEC, settings, EVERYTHING, seed, CPU),
        originals=Originals(corpus, class_ids, batch, NORMALISATION, seed, CPU),
        optimiser=optimiser,
        rates=rates,
        augmentation=EVERYTHING,
        classes=CLASSES,
        seed=seed,
        pool=pool,
    )


def images(dtype: torch.dtype = torch.float64) -> Images:
    """Noise with soft labels."""
    rng = torch.Generator().manual_seed(1)
    pixels = torch.randn(COUNT, 1, SIZE, SIZE, generator=rng, dtype=dtype)
    own = F.one_hot(torch.arange(COUNT) % CLASSES, CLASSES).to(dtype)
    labels = F.softmax(3 * own + torch.randn(COUNT, CLASSES, generator=rng, dtype=dtype), dim=1)
    return Images(pixels, labels, torch.ones(COUNT, dtype=dtype))


def learned(asked: Unrolled) -> dict[str, Tensor]:
    """What it learns itself, at its start."""
    return {name: one.start.clone() for name, one in asked.coordinates().items()}


def naive_loss(asked: Unrolled, theta: Tensor, drawn: DrawnUnroll) -> Tensor:
    """The mean over the classes that are there of their mean cross-entropy, one original at a time."""
    by_class: dict[int, list[Tensor]] = {}
    for row, class_id in enumerate(drawn.originals.labels.tolist()):
        shown = augment(drawn.originals.batch([row]).double(), drawn.augmentation[[row]])
        logits = functional_call(asked.student.network, named(asked.student.network, theta), (shown,))[0]
        by_class.setdefault(class_id, []).append(logits.logsumexp(dim=0) - logits[class_id])
    means = [sum(losses) / len(losses) for losses in by_class.values()]
    return sum(means) / len(means)


def naive(asked: Unrolled, given: Images, values: dict[str, Tensor], drawn: DrawnUnroll) -> dict[str, Tensor]:
    """The loss, and its derivatives with the graph of all steps of the window alive."""
    leaves = {
        "images": given.pixels.clone(),
        "labels": given.labels.clone(),
        **{name: value.clone() for name, value in values.items()},
    }
    for leaf in leaves.values():
        leaf.requires_grad_()
    alpha = leaves["log_alpha"].exp()
    momentum = leaves["momentum_logit"].sigmoid() if "momentum_logit" in leaves else torch.zeros(()).double()
    walk, begins = drawn.walk, drawn.walk.begins
    theta = walk.start.clone().requires_grad_()
    zeros = tuple(torch.zeros_like(theta) for _ in range(asked.optimiser.moments))
    before = naive_rule(asked.optimiser, alpha.detach(), momentum.detach(), zeros, 0)
    theta = naive_walk(asked.student.network, given, theta, walk.steps[:begins], before)
    remembered = [getattr(before, name).detach() for name in ("velocity", "mean", "square") if hasattr(before, name)]
    window = naive_rule(asked.optimiser, alpha, momentum, tuple(remembered), begins)
    shown = replace(given, pixels=leaves["images"], labels=leaves["labels"])
    end = naive_walk(asked.student.network, shown, theta.detach().requires_grad_(), walk.steps[begins:], window)
    loss = naive_loss(asked, end, drawn)
    found = torch.autograd.grad(loss, list(leaves.values()))
    return {"loss": loss.detach(), **dict(zip(leaves, found, strict=True))}


def assert_same(asked: Unrolled, drawn: DrawnUnroll, micro_batch: int = 3) -> None:
    given, values = images(), learned(asked)
    expected = naive(asked, given, values, drawn)
    found = asked.evaluate(given, values, drawn, micro_batch)
    mine = {"images": found.grad_images, "labels": found.grad_labels, **found.grad_learned}
    assert found.usable
    assert found.loss == pytest.approx(float(expected["loss"]), rel=1e-12)
    assert mine.keys() == expected.keys() - {"loss"}
    for name, one in mine.items():
        assert float((one - expected[name]).norm()) <= 1e-12 * float(expected[name].norm()), name
    assert not found.grad_images[3].any()
    assert not found.grad_labels[3].any()
    assert all(found.grad_images[row].any() for row in SHOWN.tolist())


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("iteration", [2, 4])
def test_loss_and_gradients_are_those_of_automatic_differentiation(corpus: Corpus, name: str, iteration: int) -> None:
    asked = objective(corpus, MOVES[name])
    drawn = asked.draw(iteration, SHOWN)
    assert ("momentum_logit" in asked.coordinates()) == (name == "momentum")
    assert_same(asked, drawn)


def test_windows_begin_everywhere_they_may(corpus: Corpus) -> None:
    asked = objective(corpus)
    walks = [asked.draw(iteration, SHOWN).walk for iteration in range(30)]
    assert {walk.begins for walk in walks} == {0, 1, 2}
    assert {asked.draw(iteration, SHOWN).walk.begins for iteration in (2, 4)} == {0, 2}, "which the test above takes"
    assert all(len(walk.steps) == walk.begins + WALK.window for walk in walks)
    assert {int(rows) for walk in walks for batch in walk.steps.batches for rows in batch} == set(SHOWN.tolist())


@pytest.mark.parametrize("name", MOVES)
def test_a_window_may_be_the_whole_walk(corpus: Corpus, name: str) -> None:
    asked = objective(corpus, MOVES[name], settings=WalkSettings(steps=4, window=4))
    drawn = asked.draw(0, SHOWN)
    assert (drawn.walk.begins, len(drawn.walk.steps)) == (0, 4)
    assert_same(asked, drawn)


def unevenly(drawn: DrawnUnroll, kept: list[int]) -> DrawnUnroll:
    """The draw with some of its originals alone."""
    rows = torch.tensor(kept)
    some = LabelledImages.of_floats(drawn.originals.batch(rows), drawn.originals.labels[rows])
    return replace(drawn, originals=some, augmentation=drawn.augmentation[rows])


@pytest.mark.parametrize("kept", [[0, 1, 2, 3, 5, 10, 11], [0, 1, 2, 3, 12], [7]])
@pytest.mark.parametrize("micro_batch", [1, 3, 100])
def test_each_class_that_is_there_counts_alike(corpus: Corpus, kept: list[int], micro_batch: int) -> None:
    """Four, one and two of the classes; then none of the second; then one original of it alone."""
    asked = objective(corpus)
    assert_same(asked, unevenly(asked.draw(2, SHOWN), kept), micro_batch)


def test_a_class_with_fewer_originals_than_a_batch_counts_as_much(corpus: Corpus) -> None:
    asked = objective(corpus, batch=100)
    drawn = asked.draw(0, SHOWN)
    assert len(drawn.originals) == asked.originals.count == len(corpus.rows("train"))
    assert_same(asked, drawn)


def test_what_is_drawn_depends_on_seed_and_iteration_alone(corpus: Corpus) -> None:
    asked = objective(corpus)
    asked.draw(1, SHOWN)
    first, again, other = (asked.draw(iteration, SHOWN) for iteration in (3, 3, 4))
    elsewhere = objective(corpus, seed=1).draw(3, SHOWN)

    def parts(drawn: DrawnUnroll) -> list[Tensor]:
        steps = drawn.walk.steps
        return [
            drawn.walk.start,
            torch.cat(steps.batches),
            torch.cat([numbers.flatten() for one in steps.draws for numbers in one.numbers.values()]),
            drawn.originals.stored(slice(None)),
            torch.cat([numbers.flatten() for numbers in drawn.augmentation.numbers.values()]),
        ]

    assert all(torch.equal(a, b) for a, b in zip(parts(first), parts(again), strict=True))
    for unlike in (other, elsewhere):
        assert not any(torch.equal(a, b) for a, b in zip(parts(first), parts(unlike), strict=True))


def test_no_student_step_and_no_original_is_augmented_as_another(corpus: Corpus) -> None:
    drawn = objective(corpus, settings=WalkSettings(steps=4, window=4)).draw(0, SHOWN)
    draws = [*drawn.walk.steps.draws, drawn.augmentation]
    turned = torch.cat([one.numbers["rotate"] for one in draws])
    assert len(turned.unique()) == len(turned) == 4 * len(SHOWN) + len(drawn.originals)


def test_a_walk_that_diverges_is_not_usable(corpus: Corpus) -> None:
    asked = objective(corpus, PlainSGD(), alpha=1e200)
    found = asked.evaluate(images(), learned(asked), asked.draw(2, SHOWN), 3)
    assert not found.usable
    assert not found.finite


def test_gradients_too_large_to_be_squared_are_not_usable(corpus: Corpus) -> None:
    asked = objective(corpus)
    found = asked.evaluate(images(), learned(asked), asked.draw(2, SHOWN), 3)
    assert found.finite
    large = torch.full_like(found.grad_labels, 1e30, dtype=torch.float32)
    assert bool(torch.isfinite(large).all())
    assert not replace(found, grad_labels=large).finite
    assert not replace(found, loss=math.nan).finite
    assert not replace(found, grad_learned={"log_alpha": torch.tensor(math.inf)}).finite


def in_the_pool(asked: Unrolled, iterations: int) -> tuple[list[dict[str, Tensor]], list[DrawnUnroll]]:
    """The coordinates before each outer step and after the last, with images and rates that stay."""
    values, drawn = [learned(asked)], [asked.draw(iteration, SHOWN) for iteration in range(iterations)]
    for one in drawn:
        found = asked.evaluate(images(torch.float32), values[-1], one, 3)
        pool = {name: found.grad_learned[name] for name in ("pool", "pool_steps")}
        values.append({**values[-1], **pool})
    return values, drawn


@pytest.mark.parametrize("name", MOVES)
def test_a_member_of_the_pool_goes_on_where_its_window_ended(corpus: Corpus, name: str) -> None:
    """A naive loop walks each member on its own, and takes a fresh network where none has room for a window."""
    asked = objective(corpus, MOVES[name], settings=WalkSettings(steps=7, window=2, batch_syn=4, pool=2), walks=Walks)
    values, drawn = in_the_pool(asked, 12)
    rates, given = asked.rates.at(values[0]), images(torch.float32)
    alpha, momentum = torch.tensor(rates.alpha), torch.tensor(rates.momentum)
    lives: dict[int, tuple[Tensor, object, int]] = {}
    fresh, seen = 0, live(asked.student.network).float()
    for iteration, one in enumerate(drawn):
        member, walk = iteration % 2, one.walk
        if member not in lives:
            zeros = tuple(torch.zeros_like(walk.start) for _ in range(asked.optimiser.moments))
            lives[member] = (walk.start, naive_rule(asked.optimiser, alpha, momentum, zeros, 0), 0)
            steps, fresh = walk.steps, fresh + 1
        else:
            steps = walk.steps[walk.begins :]
        theta, rule, age = lives[member]
        theta = naive_walk(asked.student.network, given, theta.clone().requires_grad_(), steps, rule).detach()
        for moment in ("velocity", "mean", "square"):
            if hasattr(rule, moment):
                setattr(rule, moment, getattr(rule, moment).detach())
        lives[member], age = (theta, rule, age + len(steps)), age + len(steps)
        after = values[iteration + 1]
        torch.testing.assert_close(seen * after["pool"][member, 0], seen * theta, rtol=1e-3, atol=1e-5)
        assert int(after["pool_steps"][member]) == (age if age <= 5 else 0)
        assert torch.equal(after["pool"][1 - member], values[iteration]["pool"][1 - member])
        if age > 5:
            del lives[member]
    assert 4 <= fresh < 12


def test_a_member_that_diverged_makes_way_for_a_fresh_network(corpus: Corpus) -> None:
    asked = objective(corpus, settings=WalkSettings(steps=9, window=2, pool=1), walks=Walks)
    values, drawn = in_the_pool(asked, 1)
    spoilt = {**values[1], "pool": torch.full_like(values[1]["pool"], 1e30)}
    assert int(spoilt["pool_steps"]) > 0
    found = asked.evaluate(images(torch.float32), spoilt, asked.draw(1, SHOWN), 3)
    assert not found.usable
    assert int(found.grad_learned["pool_steps"]) == 0
    pool = {name: found.grad_learned[name] for name in ("pool", "pool_steps")}
    again = asked.evaluate(images(torch.float32), {**values[0], **pool}, drawn[0], 3)
    first = asked.evaluate(images(torch.float32), values[0], drawn[0], 3)
    assert (again.usable, again.loss) == (True, first.loss)


def test_of_some_classes_the_others_have_no_part_in_the_loss(corpus: Corpus) -> None:
    both = objective(corpus, class_ids=(0, 2))
    drawn = both.draw(2, SHOWN)
    assert set(drawn.originals.labels.tolist()) == {0, 2}
    assert_same(both, drawn)


def test_a_compiled_second_derivative_that_is_wrong_is_refused_before_the_first_step(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = objective(corpus, walks=Walks)
    given, drawn = images(torch.float32), asked.draw(0, SHOWN)
    right = hessian_vector_product

    def wrong(student: Student, *rest: Any) -> SecondDerivative:
        found = right(Student(student.network), *rest)
        return replace(found, images=2 * found.images) if student.hvp_mode == "compiled" else found

    def uncompiled(student: Student, *rest: Any) -> Any:
        return gradient(Student(student.network), *rest)

    monkeypatch.setattr("medistill.engine.unroll.hessian_vector_product", wrong)
    monkeypatch.setattr(
        "medistill.engine.unroll.gradient", lambda student, *rest: gradient(Student(student.network), *rest)
    )
    asked.check(given, drawn, 3, "fp32", Silent())
    with pytest.raises(WrongDerivativeError, match="compiled"):
        replace(asked, student=Student(asked.student.network, "compiled")).check(given, drawn, 3, "fp32", Silent())
