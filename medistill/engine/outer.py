"""The outer loop: draw a segment, match it, and move images, learning rate and importance together."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from medistill.artifacts.trajectories import Trajectories
from medistill.engine.matching import match
from medistill.engine.segment import draw_segment
from medistill.engine.state import State
from medistill.engine.student import Student
from medistill.engine.unroll import Images, adjoint, unroll
from medistill.errors import DivergedError
from medistill.progress import Progress
from medistill.recipe import Recipe
from medistill.training.device import precision

ALPHA_STEP = 0.1
"""Largest change of log alpha in one outer step."""


@dataclass(frozen=True)
class Look:
    """How good the images are on the validation split: means over fresh networks."""

    accuracy: float
    auc: float


@dataclass(frozen=True)
class Fixed:
    """What stays as it is while the loop runs.

    Attributes:
        recipe: settings.
        student: the network as a function.
        trajectories: the experts.
        labels: (N, classes) probabilities of each distilled image.
        micro_batch: images that pass the network at once.
        validate: trains fresh networks on images (N, C, H, W) with a learning rate.
        save: writes the state to disk.
    """

    recipe: Recipe
    student: Student
    trajectories: Trajectories
    labels: Tensor
    micro_batch: int
    validate: Callable[[Tensor, float], Look]
    save: Callable[[State], None]


def optimise(state: State, fixed: Fixed, progress: Progress) -> None:
    """Run the outer steps that are left, in place.

    Saved every ``checkpoint_every`` steps, at each look at the validation split, and when asked to stop.

    Raises:
        DivergedError: the loss or the images left the finite numbers; the last good state is saved first.
    """
    settings = fixed.recipe.distill
    with progress.task("Distilling", settings.iterations, done=state.iteration) as task:
        while state.iteration < settings.iterations:
            loss = step(state, fixed)
            looked = state.iteration % settings.validate_every == 0 or state.iteration == settings.iterations
            if looked:
                _look(state, fixed)
            if looked or state.iteration % settings.checkpoint_every == 0:
                fixed.save(state)
            figures = f"loss {loss:.3f}, lr {state.alpha:.4f}"
            if state.history.auc:
                figures += f", validation AUC {state.history.auc[-1]:.3f} (best at step {state.best_step})"
            try:
                task.advance(figures=figures)
            except KeyboardInterrupt:
                fixed.save(state)
                raise


def step(state: State, fixed: Fixed) -> float:
    """One outer step in place; returns its loss.

    Raises:
        DivergedError: the loss or the images left the finite numbers; the state before the step is saved.
    """
    recipe, device = fixed.recipe, state.pixels.device
    segment = draw_segment(recipe, fixed.trajectories, len(state.pixels), state.iteration, device)
    images = Images(state.pixels, fixed.labels, torch.ones_like(fixed.labels[:, 0]))
    alpha = state.alpha
    with precision(recipe.compute.precision, device):
        thetas = unroll(fixed.student, images, alpha, segment, micro_batch=fixed.micro_batch)
        matched = match(thetas[-1], segment, state.importance.weights, state.importance.sizes)
        gradient = adjoint(
            fixed.student, images, alpha, segment, thetas, matched.lambda_end, micro_batch=fixed.micro_batch
        )
    loss = float(matched.loss)
    velocity = recipe.distill.momentum * state.velocity + gradient.images
    pixels = state.pixels - recipe.distill.image_lr * velocity
    if not math.isfinite(loss) or not bool(torch.isfinite(pixels).all()):
        fixed.save(state)
        raise DivergedError(
            f"the distillation diverged at outer step {state.iteration + 1}: loss {loss}, student lr {alpha:.3g}",
            expected="finite numbers",
            do="lower distill.image_lr or distill.student_lr_lr by a factor of 3 and start again in another --out; "
            "the state before that step was saved",
        )
    state.velocity, state.pixels = velocity, pixels
    _move_alpha(state, recipe, float(gradient.alpha))
    state.importance.update(matched.of_importance, recipe.importance)
    decay = recipe.distill.ema
    state.average = decay * state.average + (1 - decay) * pixels
    state.iteration += 1
    state.history.loss.append(loss)
    state.history.student_lr.append(state.alpha)
    return loss


def _move_alpha(state: State, recipe: Recipe, of_alpha: float) -> None:
    """SGD on log alpha, so alpha stays positive; scaled so that at its start alpha moves as by SGD on alpha itself.

    A step changes alpha by `ALPHA_STEP` at most: one steep segment could otherwise take it so close to zero that no
    gradient brings it back.
    """
    of_log = state.alpha * of_alpha
    state.log_alpha_velocity = recipe.distill.momentum * state.log_alpha_velocity + of_log
    rate = recipe.distill.student_lr_lr / recipe.distill.student_lr**2
    state.log_alpha = state.log_alpha - (rate * state.log_alpha_velocity).clamp(-ALPHA_STEP, ALPHA_STEP)


def _look(state: State, fixed: Fixed) -> None:
    look = fixed.validate(state.average, state.alpha)
    history = state.history
    if not history.auc or look.auc > max(history.auc):
        state.best_pixels, state.best_alpha, state.best_step = state.average.clone(), state.alpha, state.iteration
    history.looks.append(state.iteration)
    history.accuracy.append(look.accuracy)
    history.auc.append(look.auc)
    if fixed.recipe.importance.granularity != "scalar":
        history.importance.append([float(w) for w in state.importance.weights])
