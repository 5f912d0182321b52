"""A corpus that a study brings, with what the study does with a run on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.evaluate.evaluation import Evaluation
from medistill.progress import Progress
from medistill.recipe import Recipe
from medistill.training.context import Context


class StudiedSource(Protocol):
    """Where the corpus of a run comes from that is part of a study, and what the study does with the finished run."""

    @property
    def data(self) -> Path | None:
        """Folder or archive that it reads."""

    @property
    def record(self) -> dict[str, Any]:
        """What the run's record says of it."""

    @property
    def verb(self) -> list[str]:
        """The command that makes such a run."""

    @property
    def options(self) -> list[str]:
        """Its options beside recipe and folders."""

    def corpus(self, recipe: Recipe, progress: Progress) -> Corpus:
        """Read the corpus."""

    def conclude(self, distilled: DistilledSet, evaluation: Evaluation, context: Context) -> None:
        """Write what the finished run is worth in the study."""
