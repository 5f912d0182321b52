"""What an audit leaves behind: an exit code for each verdict, the report with it, what is next, and no whole audit
lost to a quick one."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

import medistill
from medistill.artifacts.atomic import read_json
from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.errors import UsageError
from medistill.privacy.audit import Audit, load_audit
from medistill.report.audit_statements import HEADINGS
from medistill.workflow.report import tells_of, write_report
from medistill_cli.main import app
from tests.factories import audited, report_example, reported_run


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    """A corpus that is read already."""
    corpus = audited.corpus(tmp_path)
    monkeypatch.setattr("medistill_cli.commands.audit.read_corpus", lambda *_: corpus)
    return corpus


@pytest.fixture
def run(corpus: Corpus, tmp_path: Path) -> Path:
    """A run with a report, whose set is from noise."""
    run = reported_run.whole_run(tmp_path / "run", audited.RECIPE, tmp_path / "cache")
    shutil.rmtree(run / "set")
    audited.from_noise(corpus).save(run / "set")
    write_report(run)
    return run


def typed(*words: str | Path) -> tuple[int, str]:
    told = CliRunner().invoke(app, ["audit", *map(str, words), "--device", "cpu", "--quick"])
    return told.exit_code, " ".join(told.output.split())


def quick(run: Path, corpus: Corpus, out: Path | None = None) -> Audit:
    distilled = DistilledSet.load(run / "set")
    return medistill.audit(distilled, corpus, audited.RECIPE, out=out or run / "audit", run=run, quick=True)


@pytest.mark.parametrize(("verdict", "code"), [("pass", 0), ("fail", 4), ("not enough evidence", 7)])
def test_a_script_tells_the_verdicts_apart_by_the_exit_code(
    verdict: str, code: int, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = report_example.audited()
    criteria = tuple(replace(one, verdict=verdict, figure=one.threshold) for one in example.criteria[:1])  # type: ignore[arg-type]
    found = replace(example, verdict=verdict, criteria=criteria)  # type: ignore[arg-type]
    monkeypatch.setattr("medistill.studies.audit.audit.audit", lambda *_, **__: found)
    seen, said = typed(run, "--data", run)
    assert seen == code, said
    assert HEADINGS[found.verdict] in said
    next_ = said.split("Next:")[1]
    assert ("medistill share" in next_) == (verdict == "pass")
    assert ("make another set" in next_) == (verdict == "fail")


def test_a_pass_by_laxer_settings_is_none_for_a_script_either(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = report_example.audited()
    laxer = replace(example, verdict="pass", criteria=example.criteria[:1], thresholds={"most_copies": 0.9})
    monkeypatch.setattr("medistill.studies.audit.audit.audit", lambda *_, **__: laxer)
    assert typed(run, "--data", run)[0] == 7


def test_the_report_that_lies_in_the_run_is_written_again(run: Path) -> None:
    before = (run / "report.html").read_text()
    assert "no audit was run" in json.loads((run / "report.json").read_text())["missing"]["audit"]
    code, said = typed(run, "--data", run)
    assert code == 7
    assert f"the report, with the audit in it {run / 'report.html'}" in said
    assert "audit it without --quick" in said.split("Next:")[1]
    assert "medistill report" not in said
    page = (run / "report.html").read_text()
    assert HEADINGS["not enough evidence"] in page
    assert HEADINGS["not enough evidence"] not in before
    known = json.loads((run / "report.json").read_text())["audit"]
    assert known["seconds"] == load_audit(run / "audit" / "audit.json").seconds
    assert HEADINGS["not enough evidence"] in (run / "report.md").read_text()


def test_python_writes_the_report_again_and_only_for_the_audit_of_the_run(run: Path, corpus: Corpus) -> None:
    elsewhere = quick(run, corpus, out=run / "second")
    assert not tells_of(run, elsewhere)
    assert tells_of(run, quick(run, corpus))


def test_a_run_without_a_report_stays_without(run: Path, corpus: Corpus) -> None:
    for name in ("report.json", "report.html", "report.md"):
        (run / name).unlink()
    quick(run, corpus)
    assert not (run / "report.html").exists()
    assert "medistill report" in typed(run, "--data", run)[1].split("Next:")[1]


def test_an_audit_outlives_a_report_that_cannot_be_written(run: Path) -> None:
    (run / "evaluation" / "evaluation.json").write_text("{}")
    before = (run / "report.html").read_bytes()
    code, said = typed(run, "--data", run)
    assert code == 7
    assert "could not be written again" in said
    assert "with the audit in it" not in said.split("Next:")[0]
    assert (run / "report.html").read_bytes() == before


def test_a_report_with_real_images_is_not_replaced_by_one_that_looks_shareable(run: Path) -> None:
    shown = {**read_json(run / "report.json", "report"), "shows_real": True}
    (run / "report.json").write_text(json.dumps(shown))
    before = (run / "report.html").read_bytes()
    assert "real images cannot be shown" in typed(run, "--data", run)[1]
    assert (run / "report.html").read_bytes() == before


def test_a_quick_audit_from_python_takes_no_whole_ones_place(
    run: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(run, corpus)
    before = (run / "audit" / "audit.json").read_bytes()
    monkeypatch.setattr(Audit, "trained", property(lambda _: True))
    with pytest.raises(UsageError, match="holds a whole audit of this set, which says: not enough evidence"):
        quick(run, corpus)
    assert (run / "audit" / "audit.json").read_bytes() == before


def test_an_audit_says_of_what_and_when_it_is(run: Path, corpus: Corpus) -> None:
    found = quick(run, corpus)
    distilled = DistilledSet.load(run / "set")
    assert (found.recipe, found.images) == (audited.RECIPE.name, len(distilled.labels))
    assert found.method == (distilled.provenance.method or "")
    assert len(found.date) == len("2026-12-01")
