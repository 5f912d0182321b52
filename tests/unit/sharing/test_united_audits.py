"""A united set says which of the sets that it was united from do not pass an audit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from medistill.artifacts.distilled_set import DistilledSet
from medistill.report.united_audits import united_audits
from medistill.sharing.archive import write_archive
from medistill.sharing.bundle import Bundle, pack
from medistill.sharing.statement import Statement
from medistill_cli.main import app
from tests.factories import sent_bundle


def sent(path: Path, verdict: str, sender: str = "") -> Path:
    """A bundle whose audit ended so; without a verdict it has none."""
    made = sent_bundle.small_set()
    made = replace(made, images=made.images + np.float32(0.01 * (1 + len(list(path.parent.iterdir())))))
    said = Statement(
        licence="CC-BY-4.0",
        intended_use="Tests",
        sender=sender,
        acknowledged_risk=None if verdict == "pass" else "Tests.",
    )
    audit = sent_bundle.audit_of(made.digest(), verdict) if verdict else None  # type: ignore[arg-type]
    write_archive(path, pack(made, said, audit=audit))
    return path


def test_it_stands_at_the_top_in_the_set_and_on_the_card_of_what_is_shared_of_it(tmp_path: Path) -> None:
    endings = {"east": "fail", "north": "pass", "south": "not enough evidence", "west": ""}
    places = [sent(tmp_path / f"{name}.zip", verdict, name.title()) for name, verdict in endings.items()]
    out = tmp_path / "merged"
    told = CliRunner().invoke(app, ["merge", *map(str, places), "--out", str(out)])
    assert told.exit_code == 0, told.output
    first = told.stdout.splitlines()[0]
    assert first.startswith("3 of 4 sets do not pass an audit: set 1 (East) fails its audit, set 3 (South) passes no")
    assert "set 4 (West) was not audited" in first
    united = DistilledSet.load(out)
    assert [part.audit for part in united.provenance.sources or ()] == ["fail", "pass", "not enough evidence", "none"]
    said = Statement(licence="CC-BY-4.0", intended_use="Tests", acknowledged_risk="Tests.")
    card = Bundle.of_files(pack(united, said)).files["README.md"].decode()
    assert "3 of 4 sets do not pass an audit" in card


def test_nothing_is_said_where_all_pass_or_it_was_not_looked_at(tmp_path: Path) -> None:
    out = tmp_path / "merged"
    told = CliRunner().invoke(
        app, ["merge", *(str(sent(tmp_path / f"{n}.zip", "pass")) for n in range(2)), "--out", str(out)]
    )
    assert told.exit_code == 0, told.output
    assert "do not pass an audit" not in told.stdout
    parts = DistilledSet.load(out).provenance.sources or ()
    assert united_audits([part.model_copy(update={"audit": None}) for part in parts]) == ""
