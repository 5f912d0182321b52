"""Results on stdout: what a terminal of 80 columns shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from rich.console import Console

from medistill_cli import results
from tests.factories import report_example

WITH_INTERVAL = r"\d\.\d{3} \(\d\.\d{3} to \d\.\d{3}\)"


def test_intervals_and_paths_are_whole_in_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(results, "out_console", lambda: Console(width=80, highlight=False))
    results.print_evaluation(report_example.evaluation(("raw", "random", "kmeans", "distilled")))
    rows = [line for line in capsys.readouterr().out.splitlines() if len(re.findall(WITH_INTERVAL, line)) == 2]
    names = [row.split("│")[1].strip() for row in rows]
    assert names == ["All originals", "Random originals", "Chosen originals", "Distilled images"]
    long = Path("/", *["folder"] * 20)
    results.print_written({"report": long})
    results.print_next([(["medistill", "report", str(long)], "write it again")])
    assert capsys.readouterr().out.count(str(long)) == 2
