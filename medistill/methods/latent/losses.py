"""Losses: what images that are rendered from latents are compared with, and how the latents move along its gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from medistill.engine.coordinates import MomentumSGD, UpdateRule, Values
from medistill.engine.objectives.base import Objective
from medistill.engine.student import Student
from medistill.methods.comparing.compare import Compared
from medistill.methods.comparing.method import Comparing
from medistill.methods.registry import find_method
from medistill.methods.unrolling.unroll import moves, real_loss
from medistill.networks.registry import build_network
from medistill.recipe.latent import LatentRecipe
from medistill.training.randomness import generator


@dataclass(frozen=True)
class Loss:
    """A loss of rendered images.

    Attributes:
        objective: what they are compared with, and how.
        rule: from the outer steps in which latents move to how they move.
        setting: their learning rate, by its name.
        student_lr: the learning rate to train on the images with; None takes that of the recipe.
    """

    objective: Objective[Any]
    rule: Callable[[int], UpdateRule]
    setting: str = "image_lr"
    student_lr: Callable[[Values], float] | None = None


def _of_method(compared: Compared, settings: LatentRecipe) -> Loss:
    """Return the loss of the method that `objective` names, with latents that move by SGD."""
    method = find_method(settings.objective)
    if not isinstance(method, Comparing):
        raise TypeError(f"method {settings.objective} gives no objective")
    lent = method.settings_type(batch_real=settings.batch_real)  # the rest as its authors have it
    return Loss(method.objective(compared, lent), lambda steps: MomentumSGD(settings.image_lr, settings.momentum))


def _unrolled(compared: Compared, settings: LatentRecipe) -> Loss:
    """Return the loss on originals of students that train on the images, with latents that move by Adam."""
    context, students = compared.context, settings.unrolled
    network = build_network(context.spec, generator(context.recipe.seed, "student"), context.device)
    compute = context.recipe.compute
    student = Student(network, compute.step, compute.graphs)
    objective = real_loss(context, students, student, compared.normalisation, compared.class_ids, settings.iterations)
    rate = (lambda values: objective.rates.at(values).alpha) if students.learns_lr else None
    return Loss(objective, lambda steps: moves(students, students.image_lr, steps), "unrolled.image_lr", rate)


LOSSES: Mapping[str, Callable[[Compared, LatentRecipe], Loss]] = {
    "dm": _of_method,
    "doscond": _of_method,
    "unrolled": _unrolled,
}
"""`method.objective` -> what makes its loss."""
