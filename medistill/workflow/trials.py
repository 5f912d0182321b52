"""Trials: ways of training an arm's networks, each tried once, scored on patients who are not tested, and kept."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from pydantic import TypeAdapter, ValidationError

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.corpus import Corpus
from medistill.artifacts.kept import keep_json, read_checked_json
from medistill.errors import ArtifactError, DivergedError
from medistill.evaluate.arms import Arms
from medistill.evaluate.network_keys import ArmStore
from medistill.evaluate.schedule_choice import Candidate, Trial
from medistill.progress import Task
from medistill.recipe import Recipe
from medistill.recipe.arms import ARMS, ArmName
from medistill.training.context import Context
from medistill.training.images import LabelledImages
from medistill.training.penalty import Penalty
from medistill.training.randomness import derive_seed

FOLDER = "schedules"
FOLDS = 3
"""Parts of the patients that are left out in turn where all originals are scored by cross-validation."""
TRIALS = TypeAdapter(tuple[Trial, ...])
W = TypeVar("W", Candidate, Penalty)
"""The way to train a kind of network."""


class Trials(ABC, Generic[W]):
    """The trials of one arm, on disk and here; what a way to train is worth, a kind of network knows.

    Args:
        arm: whose networks are trained.
        arms: what all arms are trained on.
        store: where what was tried on the arm lies; what was tried under another key is tried again.
        context: recipe, network and device.
        task: told how far the search is.

    Attributes:
        scored_on: on whom every way is scored, in words.
        patients: how many they are.
        seconds: what the trials took, those of earlier calls too.
    """

    def __init__(self, arm: ArmName, arms: Arms, store: ArmStore, context: Context, task: Task) -> None:
        self.arm, self.arms, self.context, self.task = arm, arms, context, task
        self.path, self.key = private_folder(store.folder / FOLDER) / f"{arm}.json", store.key
        self.found, self.seconds = _stored(self.path, self.key, context.progress.say)
        self._made: dict[int, tuple[LabelledImages, LabelledImages]] = {}
        self.counted = 0
        self.folds = deal_out(arms.corpus, arms.recipe) if self._few and self._takes_all else None
        self.scored_on, self.patients = self._scored_on()

    @abstractmethod
    def search(self) -> tuple[W, tuple[Trial, ...], bool]:
        """Return what was chosen, all that was tried, and whether the score still rose where the search had to end."""

    @abstractmethod
    def score(self, candidate: W, number: int) -> float:
        """Return the macro AUC of one network on images that it was not trained on; add to ``counted`` what was told.

        Raises:
            DivergedError: it left the finite numbers.
        """

    @abstractmethod
    def length(self, candidate: W) -> int:
        """Return by how much one network of a candidate moves the task on."""

    @property
    def networks(self) -> int:
        """Networks that score each candidate: one, where all would be trained and scored alike."""
        alike = self.arms.settled(self.arm) and self.folds is None
        return 1 if alike else self.context.recipe.schedule.networks

    @property
    def _few(self) -> bool:
        corpus = self.context.corpus
        return len(np.unique(corpus.groups[corpus.rows("val")])) < self.context.recipe.schedule.few_patients

    @property
    def _takes_all(self) -> bool:
        return ARMS[self.arm].images == "all originals"

    def attempt(self, candidate: W) -> Trial:
        """Train networks in one way and score them, unless that was done."""
        known = next((trial for trial in self.found if trial.candidate == candidate), None)
        count = self.networks
        if known is not None:
            self.task.advance(count * self.length(candidate))
            return known
        started, scores, reason, self.counted = time.monotonic(), [], "", 0
        for number in range(count):
            try:
                scores.append(self.score(candidate, number))
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
        self.task.advance(count * self.length(candidate) - self.counted)
        return trial

    def posed(self, number: int) -> tuple[LabelledImages, LabelledImages]:
        """What network ``number`` of every candidate is trained on, and what it is scored on; made once."""
        if number not in self._made:
            arms = self.arms
            if self.folds is not None:
                left_out = self.folds == number % FOLDS
                data = arms.of_rows(np.flatnonzero((self.folds >= 0) & ~left_out))
                rows = np.flatnonzero(left_out)
            else:
                chosen, data = arms.material(self.arm, number)
                rows = self._scoring_rows(chosen)
            self._made[number] = data, arms.of_rows(rows)
        return self._made[number]

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
