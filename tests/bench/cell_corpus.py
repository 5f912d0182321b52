"""The corpus of which cells are made: a folder of images, or a benchmark's files."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from medistill.artifacts.corpus import Corpus
from medistill.progress import Silent
from medistill.recipe import Recipe, recipe_names
from medistill.studies.benchmark.study import BenchmarkSource
from medistill.workflow.prepare import prepare


@dataclass(frozen=True)
class CellCorpus:
    """Where images come from, for a command and for this process.

    Attributes:
        data: folder of the images, or of the benchmark's files.
        labels: their table; None where there is none.
        benchmark: its name, with ``--benchmark``; None for a folder of radiographs.
        limit: training images of a class that are used of a benchmark; None takes all.
    """

    data: str
    labels: str | None = None
    benchmark: str | None = None
    limit: int | None = None

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """Let a command line say which."""
        parser.add_argument("--data", required=True)
        parser.add_argument("--labels")
        parser.add_argument(
            "--benchmark", help="the folder holds this benchmark's files; no audit, which is of patients"
        )
        parser.add_argument("--limit", type=int, help="training images of each class that are used of a benchmark")

    @classmethod
    def asked(cls, asked: argparse.Namespace) -> CellCorpus:
        """Of what the command line says."""
        return cls(asked.data, asked.labels, asked.benchmark, asked.limit)

    def own_recipe(self, method: str, ipc: int) -> str | None:
        """The shipped recipe of a method for it; None where there is none."""
        name = f"covid-xray-{method}" if self.benchmark is None else f"{self.benchmark}-{method}-ipc{ipc}"
        return name if name in recipe_names() else None

    def shared_recipe(self, ipc: int) -> str:
        """The recipe that every method can be applied to."""
        return "covid-xray-cpu" if self.benchmark is None else f"{self.benchmark}-ipc{ipc}"

    @property
    def command(self) -> list[str]:
        """The command that makes a set of it."""
        return ["distill"] if self.benchmark is None else ["benchmark", self.benchmark]

    @property
    def options(self) -> list[str]:
        """What the command reads it by."""
        labels = [] if self.labels is None else ["--labels", self.labels]
        limit = [] if self.limit is None else ["--limit", str(self.limit)]
        return ["--data", self.data, *labels, *limit]

    def read(self, recipe: Recipe) -> Corpus:
        """Return it as the recipe takes it."""
        if self.benchmark is None:
            return prepare(self.data, recipe, labels=self.labels)
        source = BenchmarkSource(self.benchmark, Path(self.data), limit=self.limit)
        return source.corpus(recipe, Silent())
