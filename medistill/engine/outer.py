"""The outer loop: render images from coordinates, ask the objective for its gradients, and move all coordinates."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool
from torch import Tensor

from medistill.engine.coordinates import Coordinate, TakenOver, Values
from medistill.engine.divergence import refuse_loss, refuse_shifted_loss, refuse_skipped, refuse_update
from medistill.engine.memory import memory_short, ran_out, smaller_micro_batch
from medistill.engine.objectives.base import Evaluation
from medistill.engine.problem import DistillationProblem
from medistill.engine.state import State
from medistill.errors import DivergedError, RankError, SaidElsewhere
from medistill.progress import Progress
from medistill.ranks.life import RanksStopped
from medistill.training.device import precision
from medistill.training.sharpness import ascent


def optimise(state: State, problem: DistillationProblem, progress: Progress, *, alone: bool = True) -> None:
    """Run the outer steps that are left, in place.

    Saved every ``checkpoint_every`` steps, at each validation score, and when asked to stop. There is a validation
    score at the end of every stage. Where memory runs out the micro-batch is halved, once, and the step repeated.

    Args:
        state: where the run stands; its micro-batch is known.
        problem: what is optimised.
        progress: is told of every step.
        alone: no other process takes part in the steps. Where others do, none can repeat a step by itself: memory that
            runs out ends the run at once.

    Raises:
        DivergedError: loss or coordinates left their range, or too many steps had to be skipped; the last good state
            is saved first.
        MemoryShortError: memory ran out again; the last good state is saved first.
        WrongDerivativeError: a faster mode of differentiation, or a lower precision, failed its first comparison.
    """
    _check(state, problem, progress)
    settings, first_micro_batch = problem.settings, state.micro_batch
    with progress.task("Distilling", settings.iterations, done=state.iteration) as task:
        while state.iteration < settings.iterations:
            loss = _step_where_it_fits(state, problem)
            if loss is None:
                passed = _at_once(state, problem)
                if passed == 1 or state.micro_batch != first_micro_batch or not alone:
                    problem.save(state)
                    raise memory_short(passed, problem.objective.memory)
                state.micro_batch = smaller_micro_batch(passed, progress)
                continue
            _say_skipped(state, progress)
            ends = settings.ends_stage(state.iteration)
            scored = ends or (problem.validate is not None and state.iteration % settings.validate_every == 0)
            stage = settings.stage_of(state.iteration - 1)
            if scored:
                _score(state, problem, stage)
            if ends and stage + 1 < settings.stages:
                _freeze(state, problem.coordinates)
            if scored or state.iteration % settings.checkpoint_every == 0:
                problem.save(state)
            try:
                task.advance(figures=_figures(loss, state, problem))
            except KeyboardInterrupt:
                problem.save(state)
                raise


def step(state: State, problem: DistillationProblem) -> float:
    """Take one outer step in place.

    The sharpness-aware step (SATM) first shifts what the images that move are made of by ``sharpness * g / ||g||``,
    with g the gradient in it. It then moves the unshifted coordinates along the gradients at the shifted ones, on the
    same draw. A step whose evaluation is not usable moves nothing but what the objective has to remember, and counts.

    Returns:
        The loss at the coordinates as they were.

    Raises:
        DivergedError: loss or coordinates left their range; the state before the step is saved.
    """
    settings, coordinates, number = problem.settings, problem.coordinates, state.iteration + 1
    moving = problem.stage == settings.stage_of(state.iteration)
    going_on = problem.stage <= settings.stage_of(state.iteration) if settings.former else moving
    drawn = problem.objective.draw(state.iteration, problem.shown(state.iteration))
    try:
        loss, usable, gradients = _at_shifted(state, problem, moving, drawn)
        skipped = len(state.history.skipped) + (not usable)
        refuse_skipped(skipped, number, settings.iterations, problem.objective.unstable_students)
        moved = {
            name: one.rule.update(state.values[name], _own_rows(gradients[name], going_on, one), state.moments[name])
            for name, one in coordinates.items()
            if usable or isinstance(one.rule, TakenOver)
        }
        values = {**state.values, **{name: value for name, (value, _) in moved.items()}}
        if settings.former:
            values = {name: _slowed(value, state.values[name], moving, problem, name) for name, value in values.items()}
        refuse_update(values, coordinates, number)
    except DivergedError:
        problem.save(state)
        raise
    state.values = values
    state.moments = {**state.moments, **{name: moments for name, (_, moments) in moved.items()}}
    for name, before in state.averages.items() if usable else ():
        averaged = settings.ema * before + (1 - settings.ema) * values[name]
        state.averages[name] = torch.where(_as_column(going_on, averaged), averaged, before)
    state.iteration += 1
    state.history.take(loss, number, usable=usable)
    state.history.note(problem.objective.step_figures(state.values))
    return loss


def _at_shifted(
    state: State, problem: DistillationProblem, moving: Bool[Tensor, " N"], drawn: object
) -> tuple[float, bool, dict[str, Tensor]]:
    """Return the loss at the coordinates as they are, whether the step may be taken, and the gradients to move along:
    those at the shifted images where the step is sharpness-aware.

    Raises:
        DivergedError: a loss that counts as usable is not finite.
    """
    seen, gradients = _gradients(state.values, state.micro_batch, problem, drawn)
    if seen.usable:
        refuse_loss(seen.loss, state.values, problem.coordinates, problem.objective.unstable, state.iteration + 1)
    if not (seen.usable and problem.settings.sharpness):
        return seen.loss, seen.usable, gradients
    shifted = _shifted(state.values, gradients, moving, problem)
    there, gradients = _gradients(shifted, state.micro_batch, problem, drawn)
    if there.usable:
        refuse_shifted_loss(there.loss, state.iteration + 1)
    return seen.loss, there.usable, gradients


def _gradients(
    values: Values, micro_batch: int, problem: DistillationProblem, drawn: object
) -> tuple[Evaluation, dict[str, Tensor]]:
    """Return what the objective says of given coordinates, and the gradient in each."""
    images = problem.images(values)
    with precision(problem.precision, images.pixels.device):
        seen = problem.objective.evaluate(images, values, drawn, micro_batch)
    return seen, {
        **problem.parameterisation.pullback(values, seen.grad_images),
        **problem.labels.pullback(images.labels, seen.grad_labels),
        **seen.grad_learned,
    }


def _shifted(
    values: Values, gradients: Mapping[str, Tensor], moving: Bool[Tensor, " N"], problem: DistillationProblem
) -> dict[str, Tensor]:
    """Return the coordinates with those of the images moved uphill, over the length ``sharpness`` in all."""
    made_of = problem.parameterisation.coordinates()
    uphill = [_own_rows(gradients[name], moving, one).flatten() for name, one in made_of.items()]
    shifts = ascent(torch.cat(uphill), problem.settings.sharpness).split([len(one) for one in uphill])
    shifted = {name: values[name] + shift.view_as(values[name]) for name, shift in zip(made_of, shifts, strict=True)}
    return {**values, **shifted}


def _check(state: State, problem: DistillationProblem, progress: Progress) -> None:
    """Have the objective compare a faster way with the plain one, on the next step where there is one."""
    if state.iteration < problem.settings.iterations:
        drawn = problem.objective.draw(state.iteration, problem.shown(state.iteration))
        images = problem.images(state.values)
        problem.objective.check(images, drawn, state.micro_batch, problem.precision, progress)


def _score(state: State, problem: DistillationProblem, stage: int) -> None:
    """Score the images of the stages up to this one, and keep them where none of this stage scored better."""
    if problem.validate is None:
        _keep(state)
        return
    score = problem.validate(problem.labelled(state.result, stage), state.values, state.iteration)
    history = state.history
    best = history.best_auc(stage)
    if best is None or score.auc > best:
        _keep(state)
    history.validation_steps.append(state.iteration)
    history.stage.append(stage)
    history.accuracy.append(score.accuracy)
    history.auc.append(score.auc)
    history.note(problem.objective.validation_figures(state.values))


def _keep(state: State) -> None:
    """Make the coordinates as they are now the best of their stage."""
    state.best, state.best_step = {name: value.clone() for name, value in state.result.items()}, state.iteration


def _freeze(state: State, coordinates: Mapping[str, Coordinate]) -> None:
    """End a stage: its images become what they were at its best score. What has no rows goes on as it stands."""
    for name, coordinate in coordinates.items():
        if coordinate.per_image:
            state.values[name] = state.best[name].clone()
            state.moments[name] = coordinate.rule.moments(state.best[name])
        if coordinate.averaged:
            state.averages[name] = state.best[name].clone()


def _say_skipped(state: State, progress: Progress) -> None:
    """Tell of the step just finished where it was skipped, the first time, the second, the fourth, and so on."""
    skipped = state.history.skipped
    if skipped and skipped[-1] == state.iteration and len(skipped).bit_count() == 1:
        progress.say(
            f"Outer step {state.iteration} was skipped, since its loss or a gradient was not finite "
            f"({len(skipped)} skipped so far)."
        )


def _figures(loss: float, state: State, problem: DistillationProblem) -> str:
    """Say how a step went."""
    went = "skipped" if state.history.skipped[-1:] == [state.iteration] else f"loss {loss:.3f}"
    said = [went, problem.objective.progress_figures(state.values)]
    if state.history.auc:
        said.append(f"validation AUC {state.history.auc[-1]:.3f} (best at step {state.best_step})")
    return ", ".join(part for part in said if part)


def _step_where_it_fits(state: State, problem: DistillationProblem) -> float | None:
    """Take one outer step; None, and the state as it was, where memory ran out. Where other ranks are lost or stop, the
    state before it is saved."""
    try:
        return step(state, problem)
    except (RankError, SaidElsewhere, RanksStopped):
        problem.save(state)
        raise
    except (RuntimeError, MemoryError) as error:
        if not ran_out(error):
            raise
        return None


def _at_once(state: State, problem: DistillationProblem) -> int:
    """Return how many images pass a network at once in the next step."""
    return min(state.micro_batch, problem.objective.batch_size(len(problem.shown(state.iteration))))


def _own_rows(gradient: Tensor, moving: Bool[Tensor, " N"], coordinate: Coordinate) -> Tensor:
    """Return the gradient without the rows of images that do not move."""
    return torch.where(_as_column(moving, gradient), gradient, 0) if coordinate.per_image else gradient


def _slowed(
    value: Tensor, before: Tensor, moving: Bool[Tensor, " N"], problem: DistillationProblem, name: str
) -> Tensor:
    """Return a coordinate after a step, of which images of earlier stages take their share alone."""
    if not problem.coordinates[name].per_image:
        return value
    return torch.where(_as_column(moving, value), value, before + problem.settings.former * (value - before))


def _as_column(moving: Bool[Tensor, " N"], like: Tensor) -> Tensor:
    return moving.view(-1, *[1] * (like.ndim - 1))
