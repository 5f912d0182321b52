"""KRR-ST through the whole chain: target vectors of a tiny teacher, a pool that is resumed, and a set that says so."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from medistill.artifacts.distilled_set import DistilledSet
from medistill.encoders.encoder import Encoder
from medistill.recipe import Recipe, override_recipe
from medistill.workflow.run import run
from tests.factories.tiny_encoder import stored_tiny, tiny_architecture

SMALL = (
    "method.batch_real=6", "method.image_lr=0.05", "method.label_lr=0.05", "method.pool_networks=2",
    "method.pool_age=3", "evaluate.lr=0.05",
)  # fmt: skip


@pytest.fixture
def teacher(tmp_path: Path, private_cache: Path) -> Iterator[Encoder]:
    with tiny_architecture():
        yield stored_tiny(tmp_path / "tiny")


@pytest.fixture
def recipe(tiny_recipe: Recipe) -> Recipe:
    return override_recipe(tiny_recipe, ["method.name=krr-st", *SMALL], "test")


def test_from_files_to_report(recipe: Recipe, teacher: Encoder, phantom_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    report = run(recipe, out=out, data=phantom_folder, device="cpu")
    made = DistilledSet.load(out)
    assert made.provenance.method == "KRR-ST"
    assert made.by_targets
    assert not made.by_values
    assert made.soft_labels is not None
    assert made.soft_labels.shape == (len(made.labels), teacher.dimension)
    assert made.student_lr == 0.1
    assert made.provenance.teacher is not None
    assert made.provenance.teacher.sha256 == teacher.sha256
    assert made.provenance.encoder is None
    assert json.loads((out / "set" / "manifest.json").read_text())["schema"] == 4
    history = json.loads((out / "history.json").read_text())
    assert len(history["loss"]) == recipe.method.outer_steps
    arms = {arm.arm: arm.images for arm in report.evaluation.arms}
    assert arms["hard"] == arms["distilled"] == len(made.labels)
    page = html.unescape((out / "report.html").read_text(encoding="utf-8"))
    page = " ".join(re.sub(r"<[^>]*>", " ", page).split())
