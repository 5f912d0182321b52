"""The modes of a step's derivatives against each other and autograd, and the comparison that guards a run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from medistill.engine import derivative
from medistill.engine.batched import adjoint_batched, unroll_batched
from medistill.engine.check import check_derivatives
from medistill.engine.segment import Segment, StudentSteps
from medistill.engine.student import Student
from medistill.engine.unroll import step_batch, step_gradient, step_hessian_vector_product
from medistill.errors import WrongDerivativeError
from medistill.progress import Silent
from medistill.recipe import AugmentationRecipe
from medistill.training.augmentation import draw
from tests.factories.heard import Heard
from tests.factories.student_walk import walk, walk_back
from tests.naive_unroll import naive_gradient, problem

SMALL = {"width": 6, "channels": 3, "size": 12, "count": 7, "steps": 3, "depth": 2, "classes": 3}
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++ here")


def relative(mine, reference):
    return float((mine - reference).norm() / reference.norm())


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would be compiled is run as it is, which takes no compiler and no time."""
    monkeypatch.setattr(derivative, "_program", lambda student, name, make: make())


@pytest.mark.parametrize("mode", ["reverse", "compiled"])
@pytest.mark.usefixtures("uncompiled")
def test_a_step_equals_autograd(mode):
    network, segment, images = problem(torch.float64, **SMALL)
    student = Student(network, mode)
    v = segment.target - segment.start
    batch = step_batch(images, segment.steps, 0)
    mine = step_hessian_vector_product(student, segment.start, v, batch, 3)
    gradient = step_gradient(student, segment.start, batch, 3)
    theta = segment.start.clone().requires_grad_()
    shown, told = batch.images.clone().requires_grad_(), batch.labels.clone().requires_grad_()
    parts = dict(
        zip(
            student.names,
            (
                p.view(s)
                for p, s in zip(
                    theta.split([torch.Size(s).numel() for s in student.shapes]), student.shapes, strict=True
                )
            ),
            strict=True,
        )
    )
    answers = torch.func.functional_call(network, parts, (shown,))
    (g,) = torch.autograd.grad(F.cross_entropy(answers, told), theta, create_graph=True)
    of_theta, of_images, of_labels = torch.autograd.grad(g @ v, (theta, shown, told))
    assert relative(gradient, g.detach()) < 1e-13
    assert relative(mine.theta, of_theta) < 1e-12
    assert relative(mine.images, of_images) < 1e-12
    assert relative(mine.labels, of_labels) < 1e-12
    assert float(mine.along) == pytest.approx(float((g @ v).detach()), rel=1e-12)


@pytest.mark.usefixtures("uncompiled")
def test_what_is_compiled_equals_automatic_differentiation_through_all_steps():
    network, segment, images = problem(torch.float64, **SMALL)
    student = Student(network, "compiled")
    _, of_pixels, of_alpha, _ = naive_gradient(network, segment, images, 0.05)
    thetas = walk(student, images, 0.05, segment, 3)
    end = 2 * (thetas[-1] - segment.target) / (segment.start - segment.target).square().sum()
    gradient = walk_back(student, images, 0.05, segment, thetas, end, 3)
    assert relative(gradient.images, of_pixels) < 1e-12
    assert relative(gradient.alpha, of_alpha) < 1e-12


def test_segments_side_by_side_equal_one_after_another():
    network, first, images = problem(torch.float64, **SMALL)
    numbers = torch.Generator().manual_seed(5)
    segments = []
    for _ in range(3):
        start = first.start + 0.02 * torch.randn(len(first.start), generator=numbers, dtype=torch.float64)
        batches = [torch.randperm(7, generator=numbers)[:5] for _ in range(3)]
        draws = [draw(AugmentationRecipe(mode="all"), 5, numbers, torch.device("cpu")) for _ in batches]
        segments.append(Segment(start, first.target, StudentSteps(batches, draws)))
    student = Student(network)
    ends = torch.randn(3, len(first.start), generator=numbers, dtype=torch.float64)
    stacked = unroll_batched(student, images, 0.05, segments, micro_batch=2)
    last = stacked[-1].clone()
    together = adjoint_batched(student, images, 0.05, segments, stacked, ends, micro_batch=2)
    for k, segment in enumerate(segments):
        thetas = walk(student, images, 0.05, segment, 2)
        assert relative(last[k], thetas[-1]) < 1e-14
        alone = walk_back(student, images, 0.05, segment, thetas, ends[k], 2)
        assert relative(together[k].images, alone.images) < 1e-12
        assert relative(together[k].labels, alone.labels) < 1e-12
        assert relative(together[k].alpha, alone.alpha) < 1e-12


def test_the_plain_mode_is_not_compared_with_itself():
    network, segment, images = problem(torch.float32, **SMALL)
    listening = Heard()
    check_derivatives(Student(network), images, segment, "fp32", 3, listening)
    assert listening.said == []


@pytest.mark.usefixtures("uncompiled")
def test_a_right_mode_passes_and_is_told():
    network, segment, images = problem(torch.float32, **SMALL)
    listening = Heard()
    check_derivatives(Student(network, "compiled"), images, segment, "fp32", 3, listening)
    assert "compiled" in listening.said[0]


@pytest.mark.parametrize("wrong", ["parts", "images", "labels", "along", "one tensor", "not a number"])
@pytest.mark.usefixtures("uncompiled")
def test_a_wrong_mode_is_refused(wrong, monkeypatch):
    network, segment, images = problem(torch.float32, **SMALL)
    right = derivative.reverse_over_reverse

    def bent(*given):
        parts, of_images, labels, along = right(*given)
        if wrong == "parts":
            parts = [1.01 * part for part in parts]
        if wrong == "one tensor":
            parts = [1.2 * parts[0], *parts[1:]]
        if wrong == "not a number":
            of_images = of_images * torch.nan
        factor = {wrong: 1.01}
        return (
            parts,
            factor.get("images", 1) * of_images,
            factor.get("labels", 1) * labels,
            factor.get("along", 1) * along,
        )

    monkeypatch.setattr(derivative, "reverse_over_reverse", bent)
    with pytest.raises(WrongDerivativeError, match=r'compute\.step = "reverse"'):
        check_derivatives(Student(network, "compiled"), images, segment, "fp32", 3, Silent())


def test_lower_precision_is_told_with_its_figure_and_refused_where_it_is_too_coarse(monkeypatch):
    network, segment, images = problem(torch.float32, **SMALL)
    listening = Heard()
    check_derivatives(Student(network), images, segment, "bf16", 3, listening)
    assert "bf16 against fp32" in listening.said[0]
    monkeypatch.setattr("medistill.engine.check.LOWER_PRECISION", 1e-5)
    with pytest.raises(WrongDerivativeError, match=r"compute\.precision"):
        check_derivatives(Student(network), images, segment, "bf16", 3, Silent())


class Gathering(Student):
    """Picks the class by its index: Inductor of PyTorch 2.13 has been seen to differentiate that twice wrongly, and the
    labels' probabilities get no derivative from it in any case."""

    def loss(self, parts, images, labels, weights):
        told = F.log_softmax(self.logits(parts, images), dim=1)
        return torch.dot(-told.gather(1, labels.argmax(dim=1, keepdim=True)).squeeze(1), weights)


def test_compiled_programs_lie_where_only_their_owner_can_put_some(
    private_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(private_cache / "elsewhere"))
    network, _, _ = problem(torch.float32, **SMALL)
    derivative._program(Student(network, "compiled"), "any", lambda: torch.square)  # compiled when it is first called
    assert Path(cache_dir()) == private_cache / "compiled"
    assert Path(cache_dir()).stat().st_mode & 0o777 == 0o700


@pytest.mark.slow
@needs_compiler
def test_a_compiled_step_is_right_and_one_that_picks_by_index_is_refused():
    network, segment, images = problem(torch.float32, **{**SMALL, "depth": 1, "width": 4})
    check_derivatives(Student(network, "compiled"), images, segment, "fp32", 3, Silent())
    batch, v = step_batch(images, segment.steps, 0), segment.target - segment.start
    mine = step_hessian_vector_product(Student(network, "compiled"), segment.start, v, batch, 3)
    plain = step_hessian_vector_product(Student(network), segment.start, v, batch, 3)
    assert relative(mine.images, plain.images) < 1e-5
    assert relative(mine.theta, plain.theta) < 1e-5
    with pytest.raises(WrongDerivativeError, match=r'compute\.step = "compiled"'):
        check_derivatives(Gathering(network, "compiled"), images, segment, "fp32", 3, Silent())
