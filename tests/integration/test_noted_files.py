"""What was done to a file that its header does not ask for stands in the manifest, and in the notes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medistill.recipe import load_recipe
from medistill.workflow.prepare import prepare
from tests.unit.data.test_dicom_values import picture, window, written


def test_what_was_left_out_stands_in_the_manifest_and_in_the_notes(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("MEDISTILL_CACHE", str(tmp_path / "cache"))
    for n in range(12):
        place = tmp_path / "data" / "ab"[n % 2]
        place.mkdir(parents=True, exist_ok=True)
        values = (picture(0, 4000) + n).astype(np.uint16)
        more = window("2000", "0.5") if n == 4 else []
        high = 3 if n in (4, 6) else 11
        written(
            place / f"{n:02}.dcm",
            values,
            ("ViewPosition", "CS", "PA"),
            ("PatientID", "LO", f"P{n}"),
            *more,
            stored=12,
            high=high,
        )
    corpus = prepare(tmp_path / "data", load_recipe("demo", ["data.image_size=32"]), workers=1)
    rows = {row.file: row for row in corpus.manifest}
    assert len(corpus.labels) == 12
    assert (rows["a/04.dcm"].category, rows["a/06.dcm"].category) == ("header contradicted", "header contradicted")
    assert "HighBit is 3" in rows["a/04.dcm"].reason
    assert "a width of 0.5, which a LINEAR window cannot have" in rows["a/04.dcm"].reason
    assert rows["a/02.dcm"].category == rows["a/02.dcm"].reason == ""
    told = " ".join(corpus.notes)
    assert "was left out: 1." in told
    assert "were read from where they lie: 2." in told
