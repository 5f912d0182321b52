"""Trajectories and the loss on originals as one objective: the small outer problem, with a drawn corpus beside it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.trajectories import Trajectories
from medistill.engine.checkpoint import save_checkpoint
from medistill.engine.objectives.combined import Combined, Shares
from medistill.engine.problem import DistillationProblem
from medistill.engine.segment import Segment
from medistill.engine.sources.walks import DrawnWalk
from medistill.engine.student import Student
from medistill.methods.matching.problem import image_labels, moving_pixels, trajectory_matching
from medistill.methods.optimising.origin import checkpoint_origin
from medistill.methods.optimising.problem import outer_settings
from medistill.methods.unrolling.unroll import real_loss
from medistill.networks.registry import NetworkSpec, build_network
from medistill.progress import Silent
from medistill.recipe import Recipe
from medistill.training.context import Context
from medistill.training.randomness import generator
from tests.factories.outer_problem import CPU, LABELS, recipe_of

STUDENTS = {"student_steps": 5, "window": 3, "batch_real": 4, "student_lr": 0.05}


def recipe_with(real: dict[str, Any] | None = None, **settings: Any) -> Recipe:
    """The small recipe with students of the real loss; keywords are settings of the method."""
    return recipe_of("iadd", real={**STUDENTS, **(real or {})}, **settings)


def combined(recipe: Recipe, trajectories: Trajectories, corpus: Corpus) -> Combined:
    """Both losses, whether or not the recipe asks for them."""
    settings, spec = recipe.method.whole, NetworkSpec(recipe.network, 1, 8, 2)
    student = Student(build_network(spec, generator(0)))
    context = Context(corpus, recipe, spec, CPU, Path("nowhere"), Silent())
    real = real_loss(context, settings.real, student, trajectories.normalisation, (0, 1), settings.iterations)
    shares = Shares(settings.real.weight, settings.real.begins, settings.iterations)
    return Combined(trajectory_matching(recipe, student, trajectories, recipe.augmentation, CPU), real, shares)


def combined_problem(
    recipe: Recipe, trajectories: Trajectories, corpus: Corpus, path: Path | None = None
) -> DistillationProblem:
    """The small outer problem under both losses; a checkpoint is written to ``path`` where one is given."""
    start = torch.randn(4, 1, 8, 8, generator=generator(recipe.seed, "pixels"))
    logits = 2 * LABELS if recipe.method.whole.labels == "soft" else None

    def save(state):
        if path is not None:
            save_checkpoint(state, path, checkpoint_origin(recipe, trajectories.key))

    return DistillationProblem(
        settings=outer_settings(recipe.method),
        objective=combined(recipe, trajectories, corpus),
        parameterisation=moving_pixels(recipe.method.whole, start),
        labels=image_labels(recipe.method.whole, LABELS, logits),
        stage=torch.zeros(4, dtype=torch.int64),
        precision="fp32",
        validate=None,
        save=save,
    )


@dataclass(frozen=True)
class Exactly:
    """A source whose parameters are float64."""

    source: Any

    @property
    def settings(self) -> Any:
        return self.source.settings

    def draw(self, *given: Any) -> Segment | DrawnWalk:
        """What the source draws."""
        drawn = self.source.draw(*given)
        if isinstance(drawn, Segment):
            return replace(drawn, start=drawn.start.double(), target=drawn.target.double())
        return replace(drawn, start=drawn.start.double())


def in_float64(both: Combined) -> Combined:
    """The same objective in float64."""
    student = Student(both.trajectory.student.network.double())
    trajectory = replace(both.trajectory, student=student, source=Exactly(both.trajectory.source))
    return replace(
        both, trajectory=trajectory, real=replace(both.real, student=student, walks=Exactly(both.real.walks))
    )
