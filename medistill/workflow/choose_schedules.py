"""Choose schedules: train networks in several ways on every arm, and keep the way that does best off the test split."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.corpus import Corpus
from medistill.artifacts.kept import keep_json, read_checked_json
from medistill.errors import ArtifactError, DivergedError
from medistill.evaluate.arms import Arms
from medistill.evaluate.course import Course
from medistill.evaluate.metrics import macro_auc
from medistill.evaluate.protocol import scheduled
from medistill.evaluate.schedule_choice import Candidate, ScheduleChoice, Trial, search
from medistill.progress import Task
from medistill.recipe import Recipe
from medistill.recipe.arms import ARMS, ArmName
from medistill.training.context import Context
from medistill.training.images import LabelledImages
from medistill.training.randomness import derive_seed, generator
from medistill.workflow.network_keys import ArmStore

FOLDER = "schedules"
FOLDS = 3
"""Parts of the patients that are left out in turn where all originals are scored by cross-validation."""
TRIALS = TypeAdapter(tuple[Trial, ...])


def choose_schedules(arms: Arms, stores: Mapping[ArmName, ArmStore], context: Context) -> tuple[ScheduleChoice, ...]:
    """Choose how each arm's networks are trained, by the settings of the recipe's section ``schedule``.

    Every candidate that was tried is kept in the arm's store when it is done; a search that was interrupted goes on
    from there.

    Args:
        arms: what the networks are trained on.
        stores: where what was tried on each arm lies; what was tried under another key is tried again.
        context: recipe, network and device, and who is told how far the search is.

    Raises:
        DivergedError: every candidate of an arm left the finite numbers.
    """
    settings, choices = context.recipe.schedule, []
    for arm in arms.names:
        rates, shortest = arms.rates(arm), _shortest(arms, arm)
        longest = shortest
        while 2 * longest <= settings.most_updates:
            longest *= 2
        most = settings.networks * ((len(rates) * len(settings.batch_sizes) - 1) * shortest + longest)
        with context.progress.task(f"Choosing how to train {arm}", most) as task:
            trials_of = _Search(arm, arms, stores[arm], context, task)
            chosen, trials, rising = search(
                trials_of.attempt,
                rates=rates,
                batch_sizes=settings.batch_sizes,
                updates=shortest,
                most_updates=settings.most_updates,
                least_gain=settings.least_gain,
                unfinished_gain=settings.unfinished_gain,
            )
        if not any(trial.scores for trial in trials):
            raise DivergedError(
                f"no way of training arm {arm} that was tried kept finite numbers",
                expected=f"a learning rate among {', '.join(f'{rate:g}' for rate in rates)} that suits the network",
                do="give lower ones with --set schedule.rates=0.0003,0.001",
            )
        choices.append(
            ScheduleChoice(
                arm, chosen, trials, rising, trials_of.patients, trials_of.scored_on, round(trials_of.seconds, 2)
            )
        )
        context.progress.say(
            f"Arm {arm}: {chosen.words}, the best of {len(trials)} ways "
            f"tried{'; its score still rises there, so it is not trained to its end' if rising else ''}."
        )
    return tuple(choices)


class _Search:
    """The trials of one arm, on disk and here."""

    def __init__(self, arm: ArmName, arms: Arms, store: ArmStore, context: Context, task: Task) -> None:
        self.arm, self.arms, self.context, self.task = arm, arms, context, task
        self.path, self.key = private_folder(store.folder / FOLDER) / f"{arm}.json", store.key
        self.found, self.seconds = _stored(self.path, self.key, context.progress.say)
        self.posed: dict[int, tuple[LabelledImages, LabelledImages]] = {}
        self.courses: dict[tuple[int, float, int], Course] = {}
        self.shortest, self.counted = _shortest(arms, arm), 0
        self.folds = deal_out(arms.corpus, arms.recipe) if self._few and self._takes_all else None
        self.scored_on, self.patients = self._scored_on()

    @property
    def _few(self) -> bool:
        corpus = self.context.corpus
        return len(np.unique(corpus.groups[corpus.rows("val")])) < self.context.recipe.schedule.few_patients

    @property
    def _takes_all(self) -> bool:
        return ARMS[self.arm].images == "all originals"

    def attempt(self, candidate: Candidate) -> Trial:
        """Train networks in one way and score them, unless that was done."""
        known = next((trial for trial in self.found if trial.candidate == candidate), None)
        count = self.context.recipe.schedule.networks
        if known is not None:
            self.task.advance(count * self._more(candidate))
            return known
        started, scores, reason, self.counted = time.monotonic(), [], "", 0
        for number in range(count):
            try:
                scores.append(self._score(candidate, number))
            except DivergedError as error:
                scores, reason = [], error.seen
                break
        trial = Trial(candidate, tuple(scores), reason)
        self.found, self.seconds = (*self.found, trial), self.seconds + time.monotonic() - started
        keep_json(
            self.path,
            {"key": self.key, "seconds": self.seconds, "trials": [asdict(one) for one in self.found]},
            private=True,
        )
        self.task.advance(count * self._more(candidate) - self.counted)
        return trial

    def _score(self, candidate: Candidate, number: int) -> float:
        """Macro AUC of one network on images that it was not trained on."""
        recipe = self.context.recipe
        data, shown = self._posed(number)
        schedule = scheduled(candidate, len(data), recipe.evaluate)
        course = self._course(candidate, number, data)
        words = f"{candidate.updates} updates at {candidate.lr:.3g}, network {number + 1} of {recipe.schedule.networks}"
        more = self._more(candidate)
        covered = scheduled(replace(candidate, updates=candidate.updates - more), len(data), recipe.evaluate).epochs
        steps = more // max(1, schedule.epochs - covered)

        def tick(epoch: int) -> None:
            if covered < epoch < schedule.epochs:
                self.counted += steps
                self.task.advance(steps, figures=words)

        probabilities = course.predict(schedule, shown, tick)
        return macro_auc(probabilities, shown.labels.cpu().numpy()) or 0.0

    def _more(self, candidate: Candidate) -> int:
        """Updates by which a candidate is longer than what was tried of its course before."""
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

    def _posed(self, number: int) -> tuple[LabelledImages, LabelledImages]:
        """What network ``number`` of every candidate is trained on, and what it is scored on; made once."""
        if number not in self.posed:
            arms = self.arms
            if self.folds is not None:
                left_out = self.folds == number % FOLDS
                data = arms.of_rows(np.flatnonzero((self.folds >= 0) & ~left_out))
                rows = np.flatnonzero(left_out)
            else:
                chosen, data = arms.material(self.arm, number)
                rows = self._scoring_rows(chosen)
            self.posed[number] = data, arms.of_rows(rows)
        return self.posed[number]

    def _scoring_rows(self, chosen: np.ndarray | None) -> np.ndarray:
        """Rows on which a network is scored that was given the rows ``chosen``; None is a distilled set."""
        corpus = self.context.corpus
        validation = corpus.rows("val")
        if chosen is None or self._takes_all or not self._few:
            return validation
        train = corpus.rows("train")
        others = train[~np.isin(corpus.groups[train], corpus.groups[chosen])]
        return np.sort(np.concatenate([validation, others]))

    def _scored_on(self) -> tuple[str, int]:
        corpus = self.context.corpus
        if self.folds is not None:
            return (
                f"each third in turn of the patients of the training and validation splits, with networks trained on "
                f"the other {FOLDS - 1}",
                len(np.unique(corpus.groups[self.folds >= 0])),
            )
        more = self._few and ARMS[self.arm].images == "as many originals"
        rows = self._scoring_rows(self.arms.material(self.arm, 0)[0]) if more else corpus.rows("val")
        also = ", and training patients of whom the network was given no image" if more else ""
        return f"the validation split{also}", len(np.unique(corpus.groups[rows]))


def _shortest(arms: Arms, arm: ArmName) -> int:
    """Updates of the shortest trainings that are tried on an arm: once through its images, or more. The lengths that
    follow would otherwise be the same number of passes."""
    settings, images = arms.recipe.schedule, arms.images(arm)
    return max(settings.updates, *(-(-images // min(size, images)) for size in settings.batch_sizes))


def deal_out(corpus: Corpus, recipe: Recipe) -> np.ndarray:
    """Number of the fold of each row, -1 for test rows: patients are dealt out class by class, in a drawn order."""
    fold = np.full(len(corpus.labels), -1)
    rng = np.random.default_rng(derive_seed(recipe.seed, "schedule", "folds"))
    rows = np.concatenate([corpus.rows("train"), corpus.rows("val")])
    patients, first = np.unique(corpus.groups[rows], return_index=True)
    dealt = 0
    of_patient = np.empty(len(patients), int)
    for c in range(len(corpus.class_names)):
        of_class = rng.permutation(np.flatnonzero(corpus.labels[rows[first]] == c))
        of_patient[of_class] = (dealt + np.arange(len(of_class))) % FOLDS
        dealt += len(of_class)
    fold[rows] = of_patient[np.searchsorted(patients, corpus.groups[rows])]
    return fold


def _stored(path: Path, key: str, say: Callable[[str], None]) -> tuple[tuple[Trial, ...], float]:
    """The trials that were made under this key, and what they took; none where the file is damaged."""
    if not path.is_file():
        return (), 0.0
    try:
        stored = read_checked_json(path, "ways of training that were tried")
        if stored.get("key") == key:
            return TRIALS.validate_python(stored["trials"]), float(stored["seconds"])
    except ArtifactError as error:
        say(f"{error.seen}: made again.")
    except (ValidationError, KeyError, TypeError, ValueError):
        say(f"{path} holds something else than ways of training that were tried: made again.")
    return (), 0.0
