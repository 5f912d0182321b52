"""The micro-batch of a run: written into what it made, and kept when the run is resumed."""

from __future__ import annotations

from pathlib import Path

import pytest

from medistill.artifacts.corpus import Corpus
from medistill.progress import Silent, SilentTask
from medistill.recipe import Recipe
from medistill.workflow.distill import distill
from medistill.workflow.experts import train_experts


class StopsAfter(Silent):
    """Asks a distillation to stop after so many outer steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def task(self, title: str, total: int, *, done: int = 0) -> SilentTask:
        progress = self

        class Task(SilentTask):
            def advance(self, steps: int = 1, *, figures: str = "") -> None:
                progress.steps -= steps
                if progress.steps == 0:
                    raise KeyboardInterrupt

        return Task()


def test_a_resumed_run_keeps_its_micro_batch(
    phantom_corpus: Corpus, tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    trajectories = train_experts(phantom_corpus, tiny_recipe)
    monkeypatch.setattr("medistill.methods.optimising.outer_run.micro_batch_size", lambda *_, **__: 3)
    whole = distill(phantom_corpus, trajectories, tiny_recipe, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        distill(phantom_corpus, trajectories, tiny_recipe, out=tmp_path / "cut", progress=StopsAfter(2))
    monkeypatch.setattr("medistill.methods.optimising.outer_run.micro_batch_size", lambda *_, **__: 1)
    resumed = distill(phantom_corpus, trajectories, tiny_recipe, out=tmp_path / "cut", resume=True)
    assert whole.provenance.micro_batch == resumed.provenance.micro_batch == 3
    assert whole.images.tobytes() == resumed.images.tobytes()
