"""Tested: which images of a corpus a set or a classifier is tested on, and what can be trained beside it there."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Literal

import numpy as np

from medistill.artifacts.corpus import LEFT_OUT, SPLITS, Corpus
from medistill.errors import DataError, UsageError
from medistill.progress import Progress
from medistill.recipe import Recipe

Part = Literal["all", "test"]
"""What of a corpus is tested: every image, as of another hospital that had no part in a set; or its test split."""
TEST = SPLITS.index("test")


def as_tested(corpus: Corpus, made_from: object, part: Part | None = None) -> Corpus:
    """A corpus with every image in its test split, or as it is.

    Args:
        made_from: content hash of the corpus that a set was made from, as it says.
        part: None takes the test split of that corpus, and all images of any other.

    Raises:
        UsageError: all images of the set's own corpus are asked for.
        DataError: the corpus has no test split.
    """
    own = corpus.content == made_from
    if own and part == "all":
        raise UsageError(
            "--split all was given for the corpus that the set was made from",
            expected="its test split: the others are the originals of the set",
            do="leave out --split, or test on images from elsewhere",
        )
    if part == "test" or own:
        if not len(corpus.rows("test")):
            raise DataError(
                "the corpus has no test split",
                expected="images whose split is test, or no splits at all, so that they are drawn",
                do="leave out --split test: every image is then tested",
            )
        return corpus
    splits = np.where(corpus.splits == LEFT_OUT, LEFT_OUT, TEST)
    content = hashlib.sha256(f"{corpus.content} tested whole".encode()).hexdigest()
    return replace(corpus, splits=splits, content=content)


def tested_whole(corpus: Corpus) -> bool:
    """Whether no image is left to train on or to choose thresholds with."""
    return bool(np.isin(corpus.splits, [TEST, LEFT_OUT]).all())


def trainable(corpus: Corpus, recipe: Recipe, progress: Progress) -> Recipe:
    """The recipe without what this corpus has no images for: arms of originals without a training split, schedules
    without a validation split. What is left out is said."""
    if not len(corpus.rows("train")) and recipe.evaluate.arms:
        progress.say(
            "Networks are trained on the set alone: this corpus has no training split whose originals it could be "
            "compared with. `--split test` tests on its test split, and compares with the originals of the others."
        )
        recipe = recipe.model_copy(update={"evaluate": recipe.evaluate.model_copy(update={"arms": ()})})
    if not len(corpus.rows("val")) and recipe.schedule.choose != "fixed":
        progress.say(
            "No validation image is there to choose how long to train: networks are trained as those of the set's own "
            "report were, or where it does not say how, as evaluate.epochs does."
        )
        recipe = recipe.model_copy(update={"schedule": recipe.schedule.model_copy(update={"choose": "fixed"})})
    return recipe
