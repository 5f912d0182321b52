"""The measured micro-batch in a run: private, written into what it made, and kept when the run is resumed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medistill.artifacts.corpus import Corpus
from medistill.engine.student import Student
from medistill.methods.matching.micro_batch import student_micro_batch
from medistill.networks.registry import NetworkSpec, build_network
from medistill.progress import Silent, SilentTask
from medistill.recipe import Recipe, validate_recipe
from medistill.training.micro_batch import training_micro_batch
from medistill.training.randomness import generator
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
    monkeypatch.setattr("medistill.methods.matching.match.student_micro_batch", lambda *_: 3)
    whole = distill(phantom_corpus, trajectories, tiny_recipe, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        distill(phantom_corpus, trajectories, tiny_recipe, out=tmp_path / "cut", progress=StopsAfter(2))
    monkeypatch.setattr("medistill.methods.matching.match.student_micro_batch", lambda *_: 1)
    resumed = distill(phantom_corpus, trajectories, tiny_recipe, out=tmp_path / "cut", resume=True)
    assert whole.provenance.micro_batch == resumed.provenance.micro_batch == 3
    assert whole.images.tobytes() == resumed.images.tobytes()


def recipe_of(**compute: object) -> Recipe:
    return validate_recipe({"network": {"width": 64, "depth": 1}, "data": {"image_size": 128}, "compute": compute}, "t")


def test_both_kinds_of_work_are_measured_apart_and_remembered_privately(private_cache: Path):
    recipe = recipe_of()
    spec = NetworkSpec(recipe.network, 1, 128, 2)
    student = Student(build_network(spec, generator(0)))
    for measured in (
        student_micro_batch(student, spec, recipe, 4),
        training_micro_batch(student.network, spec, recipe, 4),
    ):
        assert 1 <= measured <= 4
    path = private_cache / "tuning.json"
    assert path.stat().st_mode & 0o777 == 0o600
    remembered = json.loads(path.read_text())
    assert remembered.pop("checksum")
    assert {entry["for"]["work"] for entry in remembered.values()} == {
        "student step, reverse",
        "training",
    }


def test_a_number_in_the_recipe_or_a_compiled_step_is_not_measured(private_cache: Path):
    spec = NetworkSpec(recipe_of().network, 1, 128, 2)
    network = build_network(spec, generator(0))
    assert student_micro_batch(Student(network), spec, recipe_of(micro_batch=3), 4) == 3
    assert student_micro_batch(Student(network, "compiled"), spec, recipe_of(), 4) == 1
    assert not (private_cache / "tuning.json").exists()
