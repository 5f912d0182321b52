"""Before a run trusts derivatives that are not taken in the plain mode, one step is taken in both and compared."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from medistill.engine.images import Images
from medistill.engine.segment import Segment
from medistill.engine.student import Student
from medistill.engine.unroll import step_batch, step_gradient, step_hessian_vector_product
from medistill.errors import WrongDerivativeError
from medistill.networks.flat import split
from medistill.progress import Progress
from medistill.training.device import Precision, precision

SAME_ARITHMETIC = 1e-4
"""Largest median difference, over images and over parameter tensors, of two modes in fp32; rounding gives 1e-6. A ReLU
whose argument rounds to the other side of zero moves an image by up to 1e-2 and is no error, so the median is taken: a
wrong formula spoils every image, or every parameter tensor of a kind."""
SAME_PARAMETER = 0.01
"""Largest difference of any one parameter tensor between two modes in fp32, for what is wrong in one alone; rounding
gives 1e-4, in biases that have next to no gradient."""
LOWER_PRECISION = 0.5
"""Largest median difference of tf32 or bf16 from fp32. bf16 was seen to give 0.1 at width 128 and 0.3 at width 32, as
noise; what is more than half noise is not worth its speed."""


@dataclass(frozen=True)
class Difference:
    """Two derivatives of the same step, relative to the size of the one that is trusted.

    Attributes:
        images: median over the images.
        labels: median over the images' labels.
        tensors: median over the parameter tensors, of the gradient or of the Hessian product, the larger one.
        worst_tensor: the largest among them.
        along: of the derivative in alpha.
    """

    images: float
    labels: float
    tensors: float
    worst_tensor: float
    along: float

    @property
    def typical(self) -> float:
        """Return the largest of those that rounding alone cannot raise; not a number where any is none."""
        values = torch.tensor([self.images, self.labels, self.tensors, self.along])
        return float(values.max()) if bool(torch.isfinite(values).all()) else float("nan")


def check_derivatives(
    student: Student, images: Images, segment: Segment, name: Precision, micro_batch: int, progress: Progress
) -> None:
    """Compare one step of the run's own network, images and micro-batch, as it will be taken, with reverse in fp32.

    Does nothing where the run takes just that. The direction v is the expert's own movement.

    Args:
        student: in the mode of the run.
        images: the distilled images.
        segment: whose first step is taken.
        name: the precision of the run.
        micro_batch: images that pass the network at once.
        progress: is told what was seen.

    Raises:
        WrongDerivativeError: they differ by more than rounding explains.
    """
    device = images.pixels.device
    lower = name != "fp32" and (device.type == "cuda" or name == "bf16")
    if student.hvp_mode == "reverse" and not lower:
        return
    with precision("fp32", device):
        plain = _one_step(Student(student.network), images, segment, micro_batch)
        if student.hvp_mode != "reverse":
            progress.say(
                f'compute.step = "{student.hvp_mode}" is compared with "reverse" on one step; compiling takes time.'
            )
            seen = difference(student, _one_step(student, images, segment, micro_batch), plain)
            right = seen.typical <= SAME_ARITHMETIC and seen.worst_tensor <= SAME_PARAMETER
            if not right:
                raise WrongDerivativeError(
                    f'compute.step = "{student.hvp_mode}" gives another gradient than "reverse": images differ by '
                    f"{seen.images:.1e}, labels {seen.labels:.1e}, parameters {seen.tensors:.1e} (one of them "
                    f"{seen.worst_tensor:.1e}), alpha {seen.along:.1e} (PyTorch {torch.__version__})",
                    expected=f"at most {SAME_ARITHMETIC:g}, and {SAME_PARAMETER:g} for a single parameter tensor",
                    do='set compute.step = "reverse"',
                )
    if lower:
        with precision(name, device):
            seen = difference(student, _one_step(student, images, segment, micro_batch), plain)
        progress.say(
            f"{name} against fp32, one step: the images' gradient differs by {seen.images:.1e}, the "
            f"parameters' by {seen.tensors:.1e}."
        )
        if not seen.typical <= LOWER_PRECISION:
            raise WrongDerivativeError(
                f'compute.precision = "{name}" puts the gradient of a step off by {seen.typical:.1e}',
                expected=f"at most {LOWER_PRECISION:g} of its size",
                do='set compute.precision = "fp32"',
            )


@dataclass(frozen=True)
class _Step:
    gradient: Tensor
    product: Tensor
    images: Tensor
    labels: Tensor
    along: Tensor


def _one_step(student: Student, images: Images, segment: Segment, micro_batch: int) -> _Step:
    v = segment.target - segment.start
    with torch.no_grad():
        batch = step_batch(images, segment.steps, 0)
    gradient = step_gradient(student, segment.start, batch, micro_batch)
    second = step_hessian_vector_product(student, segment.start, v, batch, micro_batch)
    return _Step(gradient, second.theta, second.images, second.labels, second.along / v.norm() / gradient.norm())


def difference(student: Student, one: _Step, trusted: _Step) -> Difference:
    """Return how far a step's derivatives are from trusted ones."""
    gradient = _relative(split(one.gradient, student.shapes), split(trusted.gradient, student.shapes))
    product = _relative(split(one.product, student.shapes), split(trusted.product, student.shapes))
    return Difference(
        images=float(_relative(list(one.images), list(trusted.images)).median()),
        labels=float(_relative(list(one.labels), list(trusted.labels)).median()),
        tensors=float(torch.maximum(gradient.median(), product.median())),
        worst_tensor=float(torch.maximum(gradient.max(), product.max())),
        along=float((one.along - trusted.along).abs()),
    )


def _relative(ones: list[Tensor], trusted: list[Tensor]) -> Tensor:
    """Return the relative difference of each tensor; one that is next to nothing is set against the typical size."""
    sizes = torch.stack([tensor.norm() for tensor in trusted])
    off = torch.stack([(one - tensor).norm() for one, tensor in zip(ones, trusted, strict=True)])
    return off / sizes.clamp_min(1e-3 * float(sizes.max()) + torch.finfo(sizes.dtype).tiny)
