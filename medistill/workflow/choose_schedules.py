"""Choose schedules: train networks in several ways on every arm, and keep the way that does best off the test split."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from medistill.errors import DivergedError
from medistill.evaluate.arms import Arms
from medistill.evaluate.network_keys import ArmStore
from medistill.evaluate.schedule_choice import ScheduleChoice
from medistill.recipe.arms import OF_THE_SET, ArmName
from medistill.training.context import Context
from medistill.workflow.course_trials import CourseTrials
from medistill.workflow.penalty_trials import PenaltyTrials


def choose_schedules(arms: Arms, stores: Mapping[ArmName, ArmStore], context: Context) -> tuple[ScheduleChoice, ...]:
    """Choose how each arm's networks are trained, by the settings of the recipe's section ``schedule``.

    Every candidate that was tried is kept in the arm's store when it is done; a search that was interrupted goes on
    from there. Several ranks search an arm each, those of the set first; then all read what was found.

    Args:
        arms: what the networks are trained on.
        stores: where what was tried on each arm lies; what was tried under another key is tried again.
        context: recipe, network and device, and who is told how far the search is.

    Raises:
        DivergedError: every candidate of an arm left the finite numbers.
    """
    if context.ranks.size > 1:
        in_turn = sorted(arms.names, key=lambda arm: arm not in OF_THE_SET)
        for place in context.ranks.queue(len(in_turn)):
            with suppress(DivergedError):  # which all ranks find again below
                choose_schedule(in_turn[place], arms, stores[in_turn[place]], context)
    choices = []
    for arm in arms.names:
        choice = choose_schedule(arm, arms, stores[arm], context)
        choices.append(choice)
        context.progress.say(
            f"Arm {arm}: {choice.chosen.words}, the best of {len(choice.trials)} ways tried{_caution(choice)}."
        )
    return tuple(choices)


def choose_schedule(arm: ArmName, arms: Arms, store: ArmStore, context: Context) -> ScheduleChoice:
    """Choose how one arm's networks are trained, likewise."""
    kind = CourseTrials if context.spec.encoder is None else PenaltyTrials
    with context.progress.task(f"Choosing how to train {arm}", kind.most(arms, arm)) as task:
        trials_of = kind(arm, arms, store, context, task)
        chosen, trials, rising = trials_of.search()
    return ScheduleChoice(
        arm, chosen, trials, rising, trials_of.patients, trials_of.scored_on, round(trials_of.seconds, 2)
    )


def _caution(choice: ScheduleChoice) -> str:
    """What of a choice may not be the best that there is, as the end of a sentence; empty where nothing is known."""
    if choice.still_rising:
        return "; its score still rises there, so it is not trained to its end"
    if choice.at_edge:
        return "; it is at the edge of those that were tried (schedule.penalties), so that one beyond may be better"
    return ""
