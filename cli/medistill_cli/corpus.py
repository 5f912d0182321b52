"""The corpus that a command works on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medistill.artifacts.corpus import Corpus
    from medistill.progress import Progress
    from medistill.recipe import Recipe


def read_corpus(data: Path | None, labels: Path | None, recipe: Recipe, progress: Progress) -> Corpus:
    """Read what --data and --labels name; without --data the built-in corpus."""
    from medistill.workflow.prepare import prepare
    from medistill.workflow.run import built_in_corpus

    folder = built_in_corpus(progress) if data is None else data
    return prepare(folder, recipe, labels=labels, progress=progress)
