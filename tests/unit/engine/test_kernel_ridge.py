"""Kernel ridge regression: against scikit-learn, automatic differentiation, and torch's own Adam; and in the loop."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from sklearn.kernel_ridge import KernelRidge as Sklearn
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.normalisation import Normalisation
from medistill.engine.images import Images
from medistill.engine.inner_optimisers import Adam, Rates
from medistill.engine.labels import LabelValues
from medistill.engine.lamb import Lamb
from medistill.engine.objectives.kernel_ridge import KernelRidge, _margin, label_values
from medistill.engine.objectives.pooled_ridge import DrawnKernel
from medistill.engine.outer import optimise
from medistill.engine.parameterisations.pixels import Pixels
from medistill.engine.pool import Pool
from medistill.engine.problem import DistillationProblem, OuterSettings
from medistill.engine.ridge_solution import solve
from medistill.engine.sources.originals import Originals
from medistill.engine.sources.walks import Walks, WalkSettings
from medistill.engine.state import State
from medistill.engine.student import Student
from medistill.errors import DivergedError
from medistill.networks.flat import split
from medistill.networks.registry import NetworkSpec, build_network
from medistill.progress import Silent
from medistill.recipe import AugmentationRecipe, NetworkRecipe
from tests.factories.drawn_corpus import drawn_corpus

CPU = torch.device("cpu")
CLASSES, SIZE, COUNT, AGE, MEMBERS = 3, 8, 6, 4, 2
PLAIN = AugmentationRecipe(operations=())
SPEC = NetworkSpec(NetworkRecipe(depth=2, width=3), 1, SIZE, CLASSES)
CLASS_OF = torch.arange(COUNT) % CLASSES


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return drawn_corpus(tmp_path / "corpus", size=SIZE)


def objective(corpus: Corpus, network: nn.Module | None = None, **changes) -> KernelRidge:
    student = Student(network or build_network(SPEC, torch.Generator().manual_seed(0), CPU))
    settings = {"ridge": 1e-3, "margin": 1.0, "mirrored": False, **changes}
    return KernelRidge(
        student=student,
        walks=Walks(SPEC, WalkSettings(AGE, window=1, pool=MEMBERS), PLAIN, 0, CPU),
        originals=Originals(corpus, (0, 1, 2), 5, Normalisation((0.5,), (0.25,)), 0, CPU),
        optimiser=Adam(),
        rates=Rates(0.01),
        pool=Pool(MEMBERS, student.parameters, 2, AGE, 1, CPU),
        classes=CLASSES,
        **settings,
    )


def images() -> Images:
    rng = torch.Generator().manual_seed(1)
    pixels = torch.randn(COUNT, 1, SIZE, SIZE, generator=rng, dtype=torch.float64)
    values = label_values(CLASS_OF, CLASSES) + 0.3 * torch.randn(COUNT, CLASSES, generator=rng, dtype=torch.float64)
    return Images(pixels, values, torch.ones(COUNT, dtype=torch.float64))


def at_start(asked: KernelRidge) -> dict[str, Tensor]:
    return {name: one.start for name, one in asked.coordinates().items()}


def named(asked: KernelRidge, theta: Tensor) -> dict[str, Tensor]:
    return dict(zip(asked.student.names, split(theta, asked.student.shapes), strict=True))


def naive(asked: KernelRidge, drawn: DrawnKernel, pixels: Tensor, values: Tensor) -> Tensor:
    """The loss with everything in one graph, by the inverse of the kernel matrix."""
    network, parts = asked.student.network, named(asked, drawn.walk.start.double())

    def phi(shown: Tensor) -> Tensor:
        seen: list[Tensor] = []
        *_, last = [one for one in network.modules() if isinstance(one, nn.Linear)]
        handle = last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        functional_call(network, parts, (shown,))
        handle.remove()
        return seen[0].flatten(1)

    shown, y = pixels[drawn.shown], values[drawn.shown]
    if asked.mirrored:
        shown, y = torch.cat([shown, shown.flip(3)]), torch.cat([y, y])
    s, t = phi(shown), phi(drawn.originals.batch(slice(None)).double())
    kernel = s @ s.T
    inverse = torch.inverse(kernel + asked.ridge * kernel.trace() / len(s) * torch.eye(len(s), dtype=s.dtype))
    truth = (F.one_hot(drawn.originals.labels, CLASSES).double() - 1 / CLASSES) / math.sqrt(CLASSES / 10)
    error = (t @ s.T @ inverse @ y - truth).square().sum(dim=1).mean() / 2
    top = values[drawn.shown].sort(dim=1, descending=True).values
    return error - asked.margin * (top[:, 0] - top[:, 1]).clamp(max=1 / CLASSES).mean()


def test_of_one_class_there_is_no_margin() -> None:
    found, gradient = _margin(torch.tensor([[0.5], [-2.0]]), 1.0)
    assert found == 0
    assert gradient.tolist() == [[0], [0]]


LATER = 2 * AGE
"""An outer step whose fresh network takes no steps beforehand."""


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("margin", [0.0, 1.0])
def test_gradients_are_those_of_automatic_differentiation_whatever_the_micro_batch(
    corpus: Corpus, mirrored: bool, margin: float
) -> None:
    asked = objective(corpus, mirrored=mirrored, margin=margin)
    drawn, given = asked.draw(LATER, torch.arange(COUNT - 1)), images()
    assert drawn.walk.begins == 0
    pixels, values = given.pixels.clone().requires_grad_(), given.labels.clone().requires_grad_()
    loss = naive(asked, drawn, pixels, values)
    loss.backward()
    assert pixels.grad is not None
    assert values.grad is not None
    for micro_batch in (1, 4, 100):
        found = asked.evaluate(given, at_start(asked), drawn, micro_batch)
        assert found.loss == pytest.approx(loss.item(), rel=1e-12)
        for seen, wanted in ((found.grad_images, pixels.grad), (found.grad_labels, values.grad)):
            assert float((seen - wanted).norm() / wanted.norm()) < 1e-12
            assert float(seen[-1].abs().max()) == 0, "the last image takes no part"


def test_the_margin_counts_where_it_is_small_alone(corpus: Corpus) -> None:
    """Of labels as they start, far apart, nothing; of values near each other, 1 / N on either."""
    drawn_with, drawn_without = objective(corpus), objective(corpus, margin=0.0)
    drawn, given = drawn_with.draw(LATER, torch.arange(COUNT)), images()
    near = label_values(CLASS_OF, CLASSES)
    near[0] = torch.tensor([0.2, 0.1, 0.0])
    given = Images(given.pixels, near, given.weights)
    one, other = (asked.evaluate(given, at_start(asked), drawn, 9) for asked in (drawn_with, drawn_without))
    assert one.loss - other.loss == pytest.approx(-(0.1 + (COUNT - 1) / CLASSES) / COUNT)
    apart = one.grad_labels - other.grad_labels
    torch.testing.assert_close(apart[0] * COUNT, torch.tensor([-1.0, 1.0, 0.0], dtype=torch.float64))
    assert float(apart[1:].abs().max()) == 0


def test_it_is_the_error_of_scikit_learns_kernel_ridge(corpus: Corpus) -> None:
    """On pixels, which are the features of a network of one layer."""
    flat = nn.Sequential(nn.Flatten(), nn.Linear(SIZE * SIZE, CLASSES))
    asked = objective(corpus, network=flat, margin=0.0)
    drawn, given = asked.draw(LATER, torch.arange(COUNT)), images()
    theta = torch.cat([one.detach().flatten() for one in flat.parameters()])
    learned = {**at_start(asked), "pool": torch.stack([torch.stack([theta, 0 * theta, 0 * theta])] * MEMBERS)}
    learned["pool_steps"] = torch.ones(MEMBERS, dtype=torch.int64)
    found = asked.evaluate(given, learned, drawn, 9).loss
    phi = given.pixels.flatten(1).numpy()
    alpha = asked.ridge * (phi**2).sum() / COUNT
    fitted = Sklearn(alpha=alpha, kernel="linear").fit(phi, given.labels.numpy())
    answers = torch.from_numpy(fitted.predict(drawn.originals.batch(slice(None)).flatten(1).double().numpy()))
    truth = label_values(drawn.originals.labels, CLASSES)
    assert found == pytest.approx(float((answers - truth).square().sum(dim=1).mean() / 2), rel=1e-10)


def test_a_few_features_can_hold_the_ridge_regression_of_all() -> None:
    """With X = W^T and Y = X X^T + lambda the solution is W itself, that of ridge regression on many samples."""
    rng = torch.Generator().manual_seed(3)
    seen, truth = (torch.randn(40, size, generator=rng, dtype=torch.float64) for size in (7, CLASSES))
    wanted = torch.linalg.solve(seen.T @ seen + 0.1 * torch.eye(7, dtype=torch.float64), seen.T @ truth)
    few, ridge = wanted.T, 0.05
    kernel = few @ few.T
    values = kernel + ridge * kernel.trace() / CLASSES * torch.eye(CLASSES, dtype=torch.float64)
    torch.testing.assert_close(solve(few, values, ridge).weight, wanted, rtol=1e-12, atol=1e-12)


def answers(asked: KernelRidge, theta: Tensor, given: Images) -> Tensor:
    """What a network answers; biases before a norm, which gradients of rounding errors move, have no part in it."""
    return functional_call(asked.student.network, named(asked, theta), (given.pixels,))


def by_torch(asked: KernelRidge, theta: Tensor, given: Images, steps: int) -> Tensor:
    """Parameters after some steps of torch's own Adam on half the squared error of all images."""
    values = theta.clone().requires_grad_()
    optimiser = torch.optim.Adam([values], lr=asked.rates.alpha)
    for _ in range(steps):
        optimiser.zero_grad()
        (0.5 * F.mse_loss(answers(asked, values, given), given.labels, reduction="sum") / COUNT).backward()
        optimiser.step()
    return values.detach()


def test_networks_of_the_pool_learn_the_values_and_make_way_at_their_age(corpus: Corpus) -> None:
    asked, given, shown = objective(corpus), images(), torch.arange(COUNT)
    given = Images(given.pixels.float(), given.labels.float(), given.weights.float())
    values, began, ages = at_start(asked), {}, []
    for iteration in range(6 * MEMBERS):
        drawn = asked.draw(iteration, shown)
        member = drawn.walk.member
        behind = int(values["pool_steps"][member])
        if not behind:
            began[member], behind = drawn.walk.start, drawn.walk.begins
            assert iteration < MEMBERS or not behind, "those that come later come untrained"
        found = asked.evaluate(given, values, drawn, 4).grad_learned
        wanted = by_torch(asked, began[member], given, behind + 1)
        told, expected = (answers(asked, theta, given) for theta in (found["pool"][member, 0], wanted))
        torch.testing.assert_close(told, expected, rtol=1e-3, atol=1e-4)
        assert float((told - answers(asked, began[member], given)).abs().max()) > 1e-3
        assert int(found["pool_steps"][member]) == (behind + 1 if behind + 1 < AGE else 0)
        assert torch.equal(found["pool"][1 - member], values["pool"][1 - member])
        ages.append(behind)
        values = {**values, **found}
    assert set(ages) == set(range(AGE)), "every age is asked"


def test_a_network_that_leaves_the_finite_numbers_makes_way(corpus: Corpus) -> None:
    asked, given = objective(corpus), images()
    values = at_start(asked)
    huge = {**values, "pool_steps": torch.tensor([1, 1]), "pool": torch.full_like(values["pool"], float("inf"))}
    huge["pool"][:, 0] = asked.draw(LATER, torch.arange(COUNT)).walk.start
    found = asked.evaluate(given, huge, asked.draw(LATER, torch.arange(COUNT)), 9)
    assert int(found.grad_learned["pool_steps"][LATER % MEMBERS]) == 0
    assert bool(torch.isfinite(found.grad_learned["pool"][LATER % MEMBERS]).all())


def test_dead_features_are_named_with_what_to_do(corpus: Corpus) -> None:
    asked, given = objective(corpus), images()
    dead = {**at_start(asked), "pool_steps": torch.tensor([1, 1])}  # whose parameters are all 0
    with pytest.raises(
        DivergedError, match=r"kernel matrix of 6 distilled images is not positive.*raise method\.ridge"
    ):
        asked.evaluate(given, dead, asked.draw(LATER, torch.arange(COUNT)), 9)


def test_what_is_drawn_depends_on_the_iteration_alone(corpus: Corpus) -> None:
    asked, shown = objective(corpus), torch.arange(COUNT)
    first, again, other = (asked.draw(step, shown) for step in (3, 3, 4))
    assert torch.equal(first.walk.start, again.walk.start)
    assert torch.equal(first.originals.pixels, again.originals.pixels)
    assert not torch.equal(first.walk.start, other.walk.start)


def test_the_outer_loop_brings_it_down_and_moves_labels(corpus: Corpus) -> None:
    start = label_values(CLASS_OF, CLASSES).float()
    problem = DistillationProblem(
        settings=OuterSettings(iterations=60),
        objective=objective(corpus),
        parameterisation=Pixels(images().pixels.float(), Lamb(0.02, steps=60)),
        labels=LabelValues(F.one_hot(CLASS_OF, CLASSES).float(), start, Lamb(0.02, steps=60)),
        stage=torch.zeros(COUNT, dtype=torch.int64),
        precision="fp32",
        validate=None,
        save=lambda state: None,
    )
    state = State.start(problem.coordinates)
    state.micro_batch = 9
    optimise(state, problem, Silent())
    assert sum(state.history.loss[-10:]) < sum(state.history.loss[:10])
    assert float((state.values["label_values"] - start).abs().max()) > 0.01
    shown = problem.labelled(state.best, 0)
    assert shown.by_values
    assert shown.soft_labels is not None
    assert torch.equal(shown.soft_labels, state.best["label_values"])
