"""Kernel ridge regression to a teacher's features: against automatic differentiation, scikit-learn and torch's SGD."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.kernel_ridge import KernelRidge as Sklearn
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.normalisation import Normalisation
from medistill.engine.coordinates import Adam
from medistill.engine.images import Images
from medistill.engine.inner_optimisers import MomentumSGD, Rates
from medistill.engine.objectives.kernel_ridge import KernelRidge, label_values
from medistill.engine.objectives.kernel_targets import KernelTargets
from medistill.engine.objectives.pooled_ridge import DrawnKernel, PooledRidge
from medistill.engine.pool import Pool
from medistill.engine.sources.originals import Originals
from medistill.engine.sources.taught_originals import TaughtOriginals
from medistill.engine.sources.walks import Walks, WalkSettings
from medistill.engine.student import Student
from medistill.errors import DivergedError
from medistill.networks.flat import split
from medistill.networks.registry import NetworkSpec, build_network
from medistill.recipe import AugmentationRecipe, NetworkRecipe
from tests.factories.drawn_corpus import drawn_corpus

CPU = torch.device("cpu")
WIDTH, SIZE, COUNT, AGE, MEMBERS, RIDGE = 5, 8, 6, 4, 2, 1e-3
PLAIN = AugmentationRecipe(operations=())
SPEC = NetworkSpec(NetworkRecipe(depth=2, width=3), 1, SIZE, WIDTH)
LATER = 2 * AGE
"""An outer step whose fresh network takes no steps beforehand."""


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return drawn_corpus(tmp_path / "corpus", size=SIZE)


def originals(corpus: Corpus) -> Originals:
    return Originals(corpus, (0, 1, 2), 5, Normalisation((0.5,), (0.25,)), 0, CPU)


def seen_by_teacher(corpus: Corpus) -> np.ndarray:
    return np.random.default_rng(2).normal(size=(len(corpus.labels), WIDTH)).astype(np.float16)


def objective(corpus: Corpus, network: nn.Module | None = None, targets: np.ndarray | None = None) -> KernelTargets:
    student = Student(network or build_network(SPEC, torch.Generator().manual_seed(0), CPU))
    targets = seen_by_teacher(corpus) if targets is None else targets
    return KernelTargets(
        student=student,
        walks=Walks(SPEC, WalkSettings(AGE, window=1, pool=MEMBERS), PLAIN, 0, CPU),
        originals=TaughtOriginals(originals(corpus), targets),
        optimiser=MomentumSGD(1e-2),
        rates=Rates(0.05, 0.9),
        pool=Pool(MEMBERS, student.parameters, 1, AGE, 1, CPU),
        ridge=RIDGE,
    )


def images() -> Images:
    rng = torch.Generator().manual_seed(1)
    pixels = torch.randn(COUNT, 1, SIZE, SIZE, generator=rng, dtype=torch.float64)
    targets = torch.randn(COUNT, WIDTH, generator=rng, dtype=torch.float64)
    return Images(pixels, targets, torch.ones(COUNT, dtype=torch.float64))


def at_start(asked: PooledRidge) -> dict[str, Tensor]:
    return {name: one.start for name, one in asked.coordinates().items()}


def naive(asked: KernelTargets, drawn: DrawnKernel, pixels: Tensor, targets: Tensor) -> Tensor:
    """The loss with everything in one graph, as the published code writes it."""
    network = asked.student.network
    parts = dict(zip(asked.student.names, split(drawn.walk.start.double(), asked.student.shapes), strict=True))

    def f(shown: Tensor) -> Tensor:
        seen: list[Tensor] = []
        *_, last = [one for one in network.modules() if isinstance(one, nn.Linear)]
        handle = last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        functional_call(network, parts, (shown,))
        handle.remove()
        return torch.cat([seen[0].flatten(1), torch.ones(len(shown), 1, dtype=shown.dtype)], dim=1)

    s, t = f(pixels[drawn.shown]), f(drawn.originals.batch(slice(None)).double()).detach()
    assert drawn.originals.soft_labels is not None
    lifting = asked.ridge * torch.trace((s @ s.T).detach()) * torch.eye(len(s), dtype=s.dtype)
    answers = t @ s.T @ torch.inverse(s @ s.T + lifting) @ targets[drawn.shown]
    return F.mse_loss(answers, drawn.originals.soft_labels.double())


def test_gradients_are_those_of_automatic_differentiation_whatever_the_micro_batch(corpus: Corpus) -> None:
    asked = objective(corpus)
    drawn, given = asked.draw(LATER, torch.arange(COUNT - 1)), images()
    assert drawn.walk.begins == 0
    pixels, targets = given.pixels.clone().requires_grad_(), given.labels.clone().requires_grad_()
    loss = naive(asked, drawn, pixels, targets)
    loss.backward()
    assert pixels.grad is not None
    assert targets.grad is not None
    for micro_batch in (1, 4, 100):
        found = asked.evaluate(given, at_start(asked), drawn, micro_batch)
        assert found.loss == pytest.approx(loss.item(), rel=1e-12)
        for seen, wanted in ((found.grad_images, pixels.grad), (found.grad_labels, targets.grad)):
            assert float((seen - wanted).norm() / wanted.norm()) < 1e-12
            assert float(seen[-1].abs().max()) == 0, "the last image takes no part"


class WithOne(nn.Module):
    """Pixels with a 1 behind them, as features of a network of one layer."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([images.flatten(1), torch.ones(len(images), 1, dtype=images.dtype)], dim=1)


def in_pool(asked: PooledRidge, network: nn.Module) -> dict[str, Tensor]:
    """The coordinates of a run whose pool has nothing but that network."""
    theta = torch.cat([one.detach().flatten() for one in network.parameters()])
    pool = at_start(asked)["pool"].clone()
    pool[:, 0] = theta
    return {"pool": pool, "pool_steps": torch.ones(MEMBERS, dtype=torch.int64)}


def test_it_is_the_error_of_scikit_learns_kernel_ridge_with_a_bias(corpus: Corpus) -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(SIZE * SIZE, WIDTH))
    asked, given = objective(corpus, network=flat), images()
    drawn = asked.draw(LATER, torch.arange(COUNT))
    found = asked.evaluate(given, in_pool(asked, flat), drawn, 9).loss

    def f(pixels: Tensor) -> np.ndarray:
        return np.concatenate([pixels.flatten(1).double().numpy(), np.ones((len(pixels), 1))], axis=1)

    features = f(given.pixels)
    fitted = Sklearn(alpha=RIDGE * (features**2).sum(), kernel="linear").fit(features, given.labels.numpy())
    answers = fitted.predict(f(drawn.originals.batch(slice(None))))
    assert drawn.originals.soft_labels is not None
    wanted = float(((answers - drawn.originals.soft_labels.double().numpy()) ** 2).mean())
    assert found == pytest.approx(wanted, rel=1e-10)


def test_it_is_frepo_with_a_bias_and_without_a_margin(corpus: Corpus) -> None:
    """Where the teacher sees classes: the loss and its gradient in the labels are FRePo's, times 2 / classes."""
    classes = 3
    truth = label_values(torch.from_numpy(corpus.labels), classes).numpy()
    flat, one = nn.Sequential(nn.Flatten(), nn.Linear(SIZE * SIZE, classes)), nn.Sequential(WithOne(), nn.Linear(65, 3))
    asked = objective(corpus, network=flat, targets=truth)
    frepo = KernelRidge(
        student=Student(one), walks=asked.walks, originals=originals(corpus), optimiser=MomentumSGD(),
        rates=Rates(0.0), pool=Pool(MEMBERS, 66 * classes, 1, AGE, 1, CPU), ridge=RIDGE * COUNT, classes=classes,
        margin=0.0,
    )  # fmt: skip
    given = replace(images(), labels=images().labels[:, :classes])
    mine = asked.evaluate(given, in_pool(asked, flat), asked.draw(LATER, torch.arange(COUNT)), 9)
    theirs = frepo.evaluate(given, in_pool(frepo, one), frepo.draw(LATER, torch.arange(COUNT)), 9)
    assert mine.loss == pytest.approx(theirs.loss * 2 / classes, rel=1e-6)  # targets are kept as float32
    torch.testing.assert_close(mine.grad_labels, theirs.grad_labels * 2 / classes, rtol=1e-5, atol=1e-9)


def test_networks_of_the_pool_learn_the_targets_by_torchs_own_sgd(corpus: Corpus) -> None:
    asked, given, shown = objective(corpus), images(), torch.arange(COUNT)
    given = Images(given.pixels.float(), given.labels.float(), given.weights.float())
    values, member = at_start(asked), LATER % MEMBERS

    def answers(theta: Tensor) -> Tensor:
        parts = dict(zip(asked.student.names, split(theta, asked.student.shapes), strict=True))
        return functional_call(asked.student.network, parts, (given.pixels,))

    theta = asked.draw(LATER, shown).walk.start.clone().requires_grad_()
    optimiser = torch.optim.SGD([theta], lr=0.05, momentum=0.9, weight_decay=1e-2)
    for step in range(3):
        found = asked.evaluate(given, values, asked.draw(LATER + MEMBERS * step, shown), 4).grad_learned
        optimiser.zero_grad()
        F.mse_loss(answers(theta), given.labels).backward()
        optimiser.step()
        torch.testing.assert_close(answers(found["pool"][member, 0]), answers(theta).detach(), rtol=1e-3, atol=1e-4)
        values = {**values, **found}
    assert int(values["pool_steps"][member]) == 3


def test_targets_are_of_the_originals_that_are_drawn(corpus: Corpus) -> None:
    """A teacher that sees the mean grey value alone: each original comes with its own."""
    grey = corpus.images.reshape(len(corpus.images), -1).mean(axis=1)[:, None].astype(np.float32)
    plain, taught = originals(corpus), TaughtOriginals(originals(corpus), grey)
    for iteration in (0, 7):
        one, other = plain.draw(iteration, torch.arange(2)), taught.draw(iteration, torch.arange(2))
        assert torch.equal(one.stored(slice(None)), other.stored(slice(None)))
        assert other.by_targets
        assert other.soft_labels is not None
        torch.testing.assert_close(other.soft_labels[:, 0], other.stored(slice(None)).float().flatten(1).mean(dim=1))
    assert taught.count == plain.count


def test_dead_features_leave_the_bias_alone_and_broken_ones_are_named(corpus: Corpus) -> None:
    asked, given = objective(corpus), images()
    dead = {**at_start(asked), "pool_steps": torch.tensor([1, 1])}  # whose parameters are all 0
    drawn = asked.draw(LATER, torch.arange(COUNT))
    assert drawn.originals.soft_labels is not None
    mean = given.labels.mean(dim=0) / (1 + RIDGE)
    wanted = (mean - drawn.originals.soft_labels.double()).square().mean()
    assert asked.evaluate(given, dead, drawn, 9).loss == pytest.approx(float(wanted), rel=1e-9)
    broken = {**dead, "pool": torch.full_like(dead["pool"], float("nan"))}
    with pytest.raises(DivergedError, match=r"kernel matrix of 6 distilled images is not positive"):
        asked.evaluate(given, broken, drawn, 9)


def test_adam_along_a_line_is_torchs_own() -> None:
    theirs = torch.linspace(-1, 1, 5, dtype=torch.float64).requires_grad_()
    mine, rule = theirs.detach().clone(), Adam(0.1, steps=8, falling="line")
    optimiser = torch.optim.AdamW([theirs], lr=0.1, weight_decay=0.0)
    falling = torch.optim.lr_scheduler.LinearLR(optimiser, start_factor=1.0, end_factor=1e-12, total_iters=8)
    moments = rule.moments(mine)
    for _ in range(8):
        optimiser.zero_grad()
        (theirs**4).sum().backward()
        optimiser.step()
        falling.step()
        mine, moments = rule.update(mine, 4 * mine**3, moments)
        torch.testing.assert_close(mine, theirs.detach(), rtol=1e-9, atol=1e-12)
