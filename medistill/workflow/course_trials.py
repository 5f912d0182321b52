"""Course trials: how long, how fast and in which batches an arm's networks are trained by descent."""

from __future__ import annotations

from dataclasses import replace

from medistill.errors import DivergedError
from medistill.evaluate.arms import Arms
from medistill.evaluate.course import Course
from medistill.evaluate.metrics import macro_auc
from medistill.evaluate.network_keys import ArmStore
from medistill.evaluate.protocol import scheduled
from medistill.evaluate.schedule_choice import Candidate, Trial, search
from medistill.progress import Task
from medistill.recipe.arms import ArmName
from medistill.training.context import Context
from medistill.training.images import LabelledImages
from medistill.training.randomness import generator
from medistill.workflow.trials import Trials


class CourseTrials(Trials[Candidate]):
    """The trials of an arm whose networks are trained by descent; one training tells what every length is worth."""

    def __init__(self, arm: ArmName, arms: Arms, store: ArmStore, context: Context, task: Task) -> None:
        super().__init__(arm, arms, store, context, task)
        self.shortest = _shortest(arms, arm)
        self.courses: dict[tuple[int, float, int], Course] = {}

    @staticmethod
    def most(arms: Arms, arm: ArmName) -> int:
        """Return the updates of a search that goes on to the longest training."""
        settings, shortest = arms.recipe.schedule, _shortest(arms, arm)
        longest = shortest
        while 2 * longest <= settings.most_updates:
            longest *= 2
        ways = len(arms.rates(arm)) * len(settings.batch_sizes)
        return settings.networks * ((ways - 1) * shortest + longest)

    def search(self) -> tuple[Candidate, tuple[Trial, ...], bool]:
        """Return what was chosen, all that was tried, and whether the score still rose at the longest training.

        Raises:
            DivergedError: every candidate left the finite numbers.
        """
        settings, rates = self.arms.recipe.schedule, self.arms.rates(self.arm)
        found = search(
            self.attempt,
            rates=rates,
            batch_sizes=settings.batch_sizes,
            updates=self.shortest,
            most_updates=settings.most_updates,
            least_gain=settings.least_gain,
            unfinished_gain=settings.unfinished_gain,
        )
        if not any(trial.scores for trial in found[1]):
            raise DivergedError(
                f"no way of training arm {self.arm} that was tried kept finite numbers",
                expected=f"a learning rate among {', '.join(f'{rate:g}' for rate in rates)} that suits the network",
                do="give lower ones with --set schedule.rates=0.0003,0.001",
            )
        return found

    def score(self, candidate: Candidate, number: int) -> float:
        """Return the macro AUC of a network at the end of a way."""
        recipe = self.context.recipe
        data, shown = self.posed(number)
        schedule = scheduled(candidate, len(data), recipe.evaluate)
        course = self._course(candidate, number, data)
        words = f"{candidate.updates} updates at {candidate.lr:.3g}, network {number + 1} of {recipe.schedule.networks}"
        more = self.length(candidate)
        covered = scheduled(replace(candidate, updates=candidate.updates - more), len(data), recipe.evaluate).epochs
        steps = more // max(1, schedule.epochs - covered)

        def tick(epoch: int) -> None:
            if covered < epoch < schedule.epochs:
                self.counted += steps
                self.task.advance(steps, figures=words)

        probabilities = course.predict(schedule, shown, tick)
        return macro_auc(probabilities, shown.labels.cpu().numpy()) or 0.0

    def length(self, candidate: Candidate) -> int:
        """Return the updates by which a candidate is longer than what was tried of its course before."""
        return candidate.updates if candidate.updates <= self.shortest else candidate.updates // 2

    def _course(self, candidate: Candidate, number: int, data: LabelledImages) -> Course:
        """The network ``number`` that is on its way at this rate."""
        recipe, which = self.context.recipe, (candidate.batch_size, candidate.lr, number)
        if which not in self.courses:
            longest = replace(candidate, updates=max(recipe.schedule.most_updates, candidate.updates))
            self.courses[which] = Course(
                data,
                scheduled(longest, len(data), recipe.evaluate),
                lambda: generator(recipe.seed, "schedule", self.arm, which[0], f"{which[1]:g}", number),
                self.context,
            )
        return self.courses[which]


def _shortest(arms: Arms, arm: ArmName) -> int:
    """Updates of the shortest trainings that are tried on an arm: once through its images, or more. The lengths that
    follow would otherwise be the same number of passes."""
    settings, images = arms.recipe.schedule, arms.shown(arm)
    return max(settings.updates, *(-(-images // min(size, images)) for size in settings.batch_sizes))
