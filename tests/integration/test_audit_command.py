"""`medistill audit` as it is typed, and the report that follows it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.normalisation import Normalisation
from medistill.evaluate.protocol import random_rows
from medistill.privacy.audit import Audit
from medistill.recipe import Recipe
from medistill.workflow.report import read_report, write_report
from medistill_cli.main import app
from tests.factories import audited, report_example, reported_run


@pytest.fixture
def run(phantom_corpus: Corpus, tiny_recipe: Recipe, tmp_path: Path) -> Path:
    """A run whose set is the real images that it began as."""
    classes = len(phantom_corpus.class_names)
    rows = random_rows(phantom_corpus, [tiny_recipe.method.ipc] * classes, tiny_recipe.seed, -1)
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
    told = CliRunner().invoke(app, ["audit", *map(str, words), "--device", "cpu", "--quick"])
    return told.exit_code, told.stdout, told.stderr


def test_a_set_of_real_images_ends_with_exit_code_4(run: Path, phantom_folder: Path) -> None:
    code, out, _ = invoke(run, "--data", phantom_folder, "--set", "audit.copy_ratio=0.4")
    assert code == 4
    assert "fails the audit" in out
    assert "make another set" in out.split("Next:")[1]
    known = json.loads((run / "audit" / "audit.json").read_text())
    assert known["verdict"] == "fail"
    assert known["thresholds"]["copy_ratio"] == 0.4
    assert str(phantom_folder.parent) not in known["command"]
    assert " --quick " in known["command"], "else the command would make another audit"


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A set from noise, beside a corpus that is read already."""
    corpus = audited.corpus(tmp_path)
    monkeypatch.setattr("medistill_cli.commands.audit.read_corpus", lambda *_: corpus)
    audited.from_noise(corpus).save(tmp_path / "set")
    return tmp_path / "set"


def test_json_is_the_record_and_too_little_evidence_ends_with_exit_code_7(drawn: Path, tmp_path: Path) -> None:
    out = tmp_path / "elsewhere"
    code, told, _ = invoke(drawn, "--data", tmp_path, "--out", out, "--json")
    known = json.loads((out / "audit.json").read_text())
    assert code == 7
    assert known.pop("checksum")
    assert known["verdict"] == "not enough evidence"
    assert json.loads(told) == {"out": str(out), **known}


def test_a_quick_audit_takes_no_whole_ones_place(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "elsewhere"
    for _ in range(2):  # one quick audit after another is none of less
        assert invoke(drawn, "--data", tmp_path, "--out", out)[0] == 7
    before = (out / "audit.json").read_bytes()
    monkeypatch.setattr(Audit, "trained", property(lambda _: True))
    code, _, err = invoke(drawn, "--data", tmp_path, "--out", out)
    assert code == 2
    assert "holds a whole audit of this set, which says: not enough evidence" in " ".join(err.split())
    assert (out / "audit.json").read_bytes() == before


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
    page = (run / "report.html").read_text()
    assert "Not enough evidence to pass the set" in page.split("</header>")[0]
    assert "Not enough evidence to pass the set" in (run / "report.md").read_text().split("\n## ")[0]
    assert json.loads((run / "report.json").read_text())["audit"]["verdict"] == "not enough evidence"
    assert "membership inference was not tried with networks" in page.lower()
    for text in (page, (run / "report.json").read_text(), (run / "report.md").read_text()):
        assert "anonymous" not in text.lower()


def test_the_set_inside_a_run_is_audited_into_the_run(drawn: Path, tmp_path: Path) -> None:
    run = reported_run.whole_run(tmp_path / "run", audited.RECIPE, tmp_path / "cache")
    shutil.rmtree(run / "set")
    shutil.copytree(drawn, run / "set")
    _, out, _ = invoke(run / "set", "--data", tmp_path)
    assert "the report, with the audit in it" in out
    assert read_report(run).audit is not None


def test_the_audit_of_another_set_is_not_written_over(drawn: Path, tmp_path: Path) -> None:
    out = tmp_path / "audits"
    invoke(drawn, "--data", tmp_path, "--out", out)
    first = (out / "audit.json").read_bytes()
    other = DistilledSet.load(drawn)
    replace(other, images=other.images + np.float32(0.5)).save(tmp_path / "other")
    code, told, err = invoke(tmp_path / "other", "--data", tmp_path, "--out", out)
    assert (code, told) == (2, "")
    assert "holds the audit of another set" in err
    assert (out / "audit.json").read_bytes() == first
    assert invoke(drawn, "--data", tmp_path, "--out", out)[0] == 7, "the same set may be audited again"


def test_the_attacks_stand_beside_their_controls_and_stdout_has_the_verdict(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medistill.studies.audit.audit.audit", lambda *_, **__: report_example.audited())
    told = CliRunner().invoke(app, ["audit", str(drawn), "--data", str(tmp_path), "--out", str(tmp_path / "out")])
    assert told.exit_code == 4
    for figure, shown in (("AUC", "0.610 (0.570 to 0.650)"), ("found", "0.020 (0.017 to 0.024)")):
        row = next(line for line in told.stdout.splitlines() if f"loss: {figure}" in line)
        assert row.count(shown) == 3
    assert "It took 1 min 15 s" in told.stdout
    assert "What failed: Remains of the picture an image began as: images that give it away" in told.stdout
    assert "Membership inference (not judged): too few <shadows>." in told.stdout
