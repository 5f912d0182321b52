"""How many images pass the network at once in a student step, forward and back."""

from __future__ import annotations

import torch

from medistill.engine.derivative import Batch
from medistill.engine.student import Student
from medistill.engine.unroll import step_gradient, step_hessian_vector_product
from medistill.networks.flat import FlatParameters
from medistill.networks.registry import NetworkSpec, build_network
from medistill.recipe import Recipe
from medistill.training.micro_batch import measured_micro_batch
from medistill.training.randomness import generator


def student_micro_batch(student: Student, spec: NetworkSpec, recipe: Recipe, whole: int) -> int:
    """For a distillation: measured on a student step, forward and back. ``whole`` is the images of a step.

    A compiled step is not measured, since every size would be compiled.
    """
    theta = FlatParameters(build_network(spec, generator(recipe.seed, "student"), _device(student))).values

    def step(images: torch.Tensor) -> None:
        weights = images.new_full((len(images),), 1 / len(images))
        batch = Batch(images, images.new_full((len(images), spec.classes), 1 / spec.classes), weights)
        step_gradient(student, theta, batch, len(images))
        step_hessian_vector_product(student, theta, theta, batch, len(images))

    measured = student.hvp_mode != "compiled"
    return measured_micro_batch(
        f"student step, {student.hvp_mode}", step if measured else None, student.network, spec, recipe, whole
    )


def _device(student: Student) -> torch.device:
    return next(student.network.parameters()).device
