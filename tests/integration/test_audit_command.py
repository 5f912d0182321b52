"""`medistill audit` as it is typed, and the report that follows it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.normalisation import Normalisation
from medistill.evaluate.protocol import random_rows
from medistill.recipe import Recipe
from medistill.workflow.report import read_report, write_report
from medistill_cli.main import app
from tests import audited, reported_run


@pytest.fixture
def run(phantom_corpus: Corpus, tiny_recipe: Recipe, tmp_path: Path) -> Path:
    """A run whose set is the real images that it began as."""
    classes = len(phantom_corpus.class_names)
    rows = random_rows(phantom_corpus, [tiny_recipe.distill.ipc] * classes, tiny_recipe.seed, -1)
    normalisation = Normalisation.of(np.asarray(phantom_corpus.images[phantom_corpus.rows("train")]))
    DistilledSet(
        images=normalisation.apply(np.asarray(phantom_corpus.images[rows])),
        labels=phantom_corpus.labels[rows],
        weights=np.ones(len(rows), np.float32),
        stage=np.zeros(len(rows), np.int64),
        student_lr=0.01,
        normalisation=normalisation,
        class_names=phantom_corpus.class_names,
        provenance={
            "corpus": phantom_corpus.content,
            "recipe": tiny_recipe.model_dump(mode="json"),
            "starts_from": "real",
        },
    ).save(tmp_path / "run" / "set")
    return tmp_path / "run"


def invoke(*words: str | Path) -> tuple[int, str, str]:
    told = CliRunner().invoke(app, ["audit", *map(str, words), "--device", "cpu", "--no-membership"])
    return told.exit_code, told.stdout, told.stderr


def test_a_set_of_real_images_ends_with_exit_code_4(run: Path, phantom_folder: Path) -> None:
    code, out, _ = invoke(run, "--data", phantom_folder, "--set", "audit.copy_ratio=0.4")
    assert code == 4
    assert "fails the audit" in out
    assert "medistill report" in out
    known = json.loads((run / "audit" / "audit.json").read_text())
    assert known["verdict"] == "fail"
    assert known["thresholds"]["copy_ratio"] == 0.4
    assert str(phantom_folder.parent) not in known["command"]


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A set from noise, beside a corpus that is read already."""
    corpus = audited.corpus(tmp_path)
    monkeypatch.setattr("medistill_cli.commands.audit.read_corpus", lambda *_: corpus)
    audited.from_noise(corpus).save(tmp_path / "set")
    return tmp_path / "set"


def test_json_is_the_record_and_no_failure_ends_with_exit_code_0(drawn: Path, tmp_path: Path) -> None:
    out = tmp_path / "elsewhere"
    code, told, _ = invoke(drawn, "--data", tmp_path, "--out", out, "--json")
    known = json.loads((out / "audit.json").read_text())
    assert code == 0
    assert known["verdict"] == "not enough evidence"
    assert json.loads(told) == {"out": str(out), **known}


def test_a_set_of_real_images_needs_its_data(drawn: Path) -> None:
    code, _, err = invoke(drawn)
    assert code == 2
    assert "no --data was given" in err


def test_the_report_shows_the_audit_of_its_own_set_alone(drawn: Path, tmp_path: Path) -> None:
    run = reported_run.whole_run(tmp_path / "run", audited.RECIPE, tmp_path / "cache")
    assert "no audit was run" in read_report(run).missing["audit"]
    invoke(drawn, "--data", tmp_path, "--out", run / "audit")
    assert "of another set" in read_report(run).missing["audit"]
    shutil.rmtree(run / "set")
    shutil.copytree(drawn, run / "set")
    report = write_report(run)
    assert report.audit is not None
    assert report.audit.verdict == "not enough evidence"
    assert "audit" not in report.missing
    assert [caveat.title for caveat in report.not_promised][1] == "Not enough evidence to pass the set"
    page = (run / "report.html").read_text()
    assert "Not enough evidence to pass the set" in page
    assert "membership inference was not tried" in page
    for text in (page, (run / "report.json").read_text(), (run / "report.md").read_text()):
        assert "anonymous" not in text.lower()
