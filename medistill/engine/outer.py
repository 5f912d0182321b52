"""The outer loop: draw segments, match them, and move images, soft labels, learning rate and importance together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from medistill.artifacts.trajectories import Trajectories
from medistill.engine.check import check_derivatives
from medistill.engine.divergence import refuse_loss, refuse_shifted_loss, refuse_update
from medistill.engine.mask import kept
from medistill.engine.matching import Match, match
from medistill.engine.memory import memory_short, ran_out, smaller_micro_batch
from medistill.engine.segment import Segment, draw_segment
from medistill.engine.state import State
from medistill.engine.student import Student
from medistill.engine.together import adjoint_together, unroll_together
from medistill.engine.unroll import Gradient, Images, adjoint, unroll
from medistill.errors import DivergedError
from medistill.progress import Progress
from medistill.recipe import Recipe
from medistill.training.device import precision
from medistill.training.images import LabelledImages
from medistill.training.sharpness import ascent
from medistill.training.stages import part, part_of

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
        labels: (N, classes) the class that each image is made for, as probabilities: what hard labels train on.
        stage: int64 (N,) the stage in which each image moves.
        micro_batch: images that pass the network at once.
        validate: trains fresh networks on images with a learning rate; None takes a stage's last images unseen.
        save: writes the state to disk.
    """

    recipe: Recipe
    student: Student
    trajectories: Trajectories
    labels: Tensor
    stage: Tensor
    micro_batch: int
    validate: Callable[[LabelledImages, float], Look] | None
    save: Callable[[State], None]


def optimise(state: State, fixed: Fixed, progress: Progress) -> None:
    """Run the outer steps that are left, in place.

    Saved every ``checkpoint_every`` steps, at each look at the validation split, and when asked to stop. There is a
    look at the end of every stage. Where memory runs out the micro-batch is halved, once, and the step repeated.

    Raises:
        DivergedError: loss, images, labels or alpha left their range; the last good state is saved first.
        MemoryShortError: memory ran out again; the last good state is saved first.
        WrongDerivativeError: a faster way of taking derivatives, or a lower precision, failed its first comparison.
    """
    state.micro_batch = fixed.micro_batch
    _check(state, fixed, progress)
    settings, given = fixed.recipe.distill, fixed.micro_batch
    with progress.task("Distilling", settings.iterations, done=state.iteration) as task:
        while state.iteration < settings.iterations:
            loss = _step_where_it_fits(state, fixed)
            if loss is None:
                passed = _at_once(state, fixed)
                if passed == 1 or fixed.micro_batch != given:
                    fixed.save(state)
                    raise memory_short(passed)
                fixed = replace(fixed, micro_batch=smaller_micro_batch(passed, progress))
                state.micro_batch = fixed.micro_batch
                continue
            stage = part_of(state.iteration - 1, settings.iterations, settings.stages)
            ends = state.iteration == part(settings.iterations, settings.stages, stage).stop
            looked = ends or (fixed.validate is not None and state.iteration % settings.validate_every == 0)
            if looked:
                _look(state, fixed, stage)
            if ends and stage + 1 < settings.stages:
                _freeze(state)
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
    """One outer step in place; returns the loss at the images as they were.

    The sharpness-aware step (SATM) first shifts all images that move by ``sharpness * g / ||g||``, with g the gradient
    in them. It then moves the unshifted images, the soft labels, alpha and W along the gradient at the shifted images,
    on the same segments.

    Raises:
        DivergedError: loss, images, labels or alpha left their range; the state before the step is saved.
    """
    recipe, settings, number = fixed.recipe, fixed.recipe.distill, state.iteration + 1
    moving = fixed.stage == part_of(state.iteration, settings.iterations, settings.stages)
    segments = [_segment(state, fixed, k) for k in range(settings.segments)]
    images = _images(state, fixed)
    try:
        loss, gradient, of_importance = gradient_of(images, state, fixed, segments)
        refuse_loss(loss, state.pixels, state.alpha / settings.student_lr, number)
        if settings.sharpness:
            uphill = ascent(_only(moving, gradient.images).flatten(), settings.sharpness)
            shifted = replace(images, pixels=images.pixels + uphill.view_as(images.pixels))
            shifted_loss, gradient, of_importance = gradient_of(shifted, state, fixed, segments)
            refuse_shifted_loss(shifted_loss, number)
        velocity = settings.momentum * state.velocity + _only(moving, gradient.images)
        pixels = state.pixels - settings.image_lr * velocity
        logits, logits_velocity = state.logits, state.logits_velocity
        if logits is not None and logits_velocity is not None:
            of_logits = _only(moving, through_softmax(gradient.labels, images.labels))
            logits_velocity = settings.momentum * logits_velocity + of_logits
            logits = logits - settings.label_lr * logits_velocity
        log_alpha, log_alpha_velocity = _moved_alpha(state, recipe, float(gradient.alpha))
        refuse_update(pixels, logits, float(log_alpha.exp()) / settings.student_lr, number)
    except DivergedError:
        fixed.save(state)
        raise
    state.velocity, state.pixels = velocity, pixels
    state.logits_velocity, state.logits = logits_velocity, logits
    state.log_alpha_velocity, state.log_alpha = log_alpha_velocity, log_alpha
    state.importance.update(of_importance, recipe.importance)
    averaged = settings.ema * state.average + (1 - settings.ema) * pixels
    state.average = torch.where(_as_column(moving, averaged), averaged, state.average)
    state.iteration += 1
    state.history.loss.append(loss)
    state.history.student_lr.append(state.alpha)
    return loss


def gradient_of(images: Images, state: State, fixed: Fixed, segments: list[Segment]) -> tuple[float, Gradient, Tensor]:
    """The outer loss at given images, its derivatives, and its derivative (G,) in W: means over the segments."""
    recipe, importance = fixed.recipe, state.importance

    def matched(end: Tensor, segment: Segment) -> Match:
        left_in = kept(recipe.importance, end, segment, state.iteration / recipe.distill.iterations)
        return match(end, segment, importance.weights, importance.sizes, left_in)

    student, alpha, size = fixed.student, state.alpha, fixed.micro_batch
    with precision(recipe.compute.precision, images.pixels.device):
        if len(segments) > 1 and images.pixels.is_cuda:
            stacked = unroll_together(student, images, alpha, segments, micro_batch=size)
            matches = [matched(end, segment) for end, segment in zip(stacked[-1], segments, strict=True)]
            ends = torch.stack([one.lambda_end for one in matches])
            gradients = adjoint_together(student, images, alpha, segments, stacked, ends, micro_batch=size)
        else:
            matches, gradients = [], []
            for segment in segments:
                thetas = unroll(student, images, alpha, segment, micro_batch=size)
                matches.append(matched(thetas[-1], segment))
                end = matches[-1].lambda_end
                gradients.append(adjoint(student, images, alpha, segment, thetas, end, micro_batch=size))
    gradient = Gradient(
        images=_mean([one.images for one in gradients]),
        labels=_mean([one.labels for one in gradients]),
        alpha=_mean([one.alpha for one in gradients]),
    )
    return float(_mean([one.loss for one in matches])), gradient, _mean([one.of_importance for one in matches])


def _check(state: State, fixed: Fixed, progress: Progress) -> None:
    """Compare a faster way of taking derivatives with the plain one, on the next step where there is one."""
    if state.iteration < fixed.recipe.distill.iterations:
        segment, images = _segment(state, fixed, 0), _images(state, fixed)
        check_derivatives(fixed.student, images, segment, fixed.recipe.compute, fixed.micro_batch, progress)


def _segment(state: State, fixed: Fixed, k: int) -> Segment:
    """The k-th segment of the next outer step, over the images of the stages so far."""
    settings = fixed.recipe.distill
    stage = part_of(state.iteration, settings.iterations, settings.stages)
    shown = torch.nonzero(fixed.stage <= stage).flatten()
    return draw_segment(fixed.recipe, fixed.trajectories, shown, state.iteration, state.pixels.device, k)


def _images(state: State, fixed: Fixed) -> Images:
    """What the student trains on now."""
    told = fixed.labels if state.logits is None else F.softmax(state.logits, dim=1)
    return Images(state.pixels, told, torch.ones_like(told[:, 0]))


def through_softmax(of_probabilities: Tensor, probabilities: Tensor) -> Tensor:
    """Derivatives in logits (N, classes) from those in their softmax p: ``p * (d - <d, p>)``."""
    along = (of_probabilities * probabilities).sum(dim=1, keepdim=True)
    return probabilities * (of_probabilities - along)


def _moved_alpha(state: State, recipe: Recipe, of_alpha: float) -> tuple[Tensor, Tensor]:
    """SGD on log alpha, so alpha stays positive; scaled so that at its start alpha moves as by SGD on alpha itself.

    A step changes alpha by `ALPHA_STEP` at most: one steep segment could otherwise take it so close to zero that no
    gradient brings it back.

    Returns:
        log alpha and its velocity.
    """
    of_log = state.alpha * of_alpha
    velocity = recipe.distill.momentum * state.log_alpha_velocity + of_log
    rate = recipe.distill.student_lr_lr / recipe.distill.student_lr**2
    return state.log_alpha - (rate * velocity).clamp(-ALPHA_STEP, ALPHA_STEP), velocity


def _look(state: State, fixed: Fixed, stage: int) -> None:
    """Score the images of the stages up to this one, and keep them where no look of this stage was better."""
    if fixed.validate is None:
        _keep(state)
        return
    shown = fixed.stage <= stage
    images = LabelledImages.of_floats(
        state.average[shown],
        fixed.labels[shown].argmax(dim=1),
        soft_labels=None if state.logits is None else F.softmax(state.logits[shown], dim=1),
        stage=fixed.stage[shown],
    )
    look = fixed.validate(images, state.alpha)
    history = state.history
    earlier = [auc for auc, of in zip(history.auc, history.stage, strict=True) if of == stage]
    if not earlier or look.auc > max(earlier):
        _keep(state)
    history.looks.append(state.iteration)
    history.stage.append(stage)
    history.accuracy.append(look.accuracy)
    history.auc.append(look.auc)
    if fixed.recipe.importance.granularity != "scalar":
        history.importance.append([float(w) for w in state.importance.weights])


def _keep(state: State) -> None:
    """Make the images as they are now the best of their stage."""
    state.best_pixels, state.best_alpha, state.best_step = state.average.clone(), state.alpha, state.iteration
    state.best_logits = None if state.logits is None else state.logits.clone()


def _freeze(state: State) -> None:
    """End a stage: its images stay for good what they were at its best look. Alpha goes on from where it stands."""
    state.pixels, state.average = state.best_pixels.clone(), state.best_pixels.clone()
    state.velocity = torch.zeros_like(state.velocity)
    if state.best_logits is not None:
        state.logits, state.logits_velocity = state.best_logits.clone(), torch.zeros_like(state.best_logits)


def _step_where_it_fits(state: State, fixed: Fixed) -> float | None:
    """One outer step; None, and the state as it was, where memory ran out."""
    try:
        return step(state, fixed)
    except (RuntimeError, MemoryError) as error:
        if not ran_out(error):
            raise
        return None


def _at_once(state: State, fixed: Fixed) -> int:
    """Images that pass the network at once in the next step."""
    settings = fixed.recipe.distill
    shown = int((fixed.stage <= part_of(state.iteration, settings.iterations, settings.stages)).sum())
    return min(fixed.micro_batch, settings.batch_syn or shown, shown)


def _mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean(dim=0) if len(values) > 1 else values[0]


def _only(moving: Tensor, gradient: Tensor) -> Tensor:
    return torch.where(_as_column(moving, gradient), gradient, 0)


def _as_column(moving: Tensor, like: Tensor) -> Tensor:
    return moving.view(-1, *[1] * (like.ndim - 1))
