"""``croissant.json``, read by mlcroissant, which MLCommons makes: no complaint, and the records are the set's."""

from __future__ import annotations

import hashlib
import logging
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medistill.artifacts.distilled_set import DistilledSet
from medistill.sharing.archive import write_archive
from medistill.sharing.bundle import pack
from medistill.sharing.statement import Statement
from tests.factories.sent_bundle import small_set

mlcroissant = pytest.importorskip("mlcroissant", reason="mlcroissant is not installed")


def coloured() -> DistilledSet:
    """Three channels, soft labels, stages and weights."""
    numbers = np.random.default_rng(8)
    return replace(
        small_set(),
        images=numbers.normal(size=(4, 3, 8, 8)).astype(np.float32),
        weights=np.array([0.5, 1.5, 1.25, 0.75], np.float32),
        stage=np.array([0, 1, 0, 1]),
        normalisation=replace(small_set().normalisation, mean=(0.5,) * 3, std=(0.2,) * 3),
        soft_labels=numbers.dirichlet((1, 1), 4).astype(np.float32),
    )


def valued() -> DistilledSet:
    """Labels that are values."""
    values = np.random.default_rng(9).normal(size=(4, 2)).astype(np.float32)
    return replace(small_set(), soft_labels=values, label_kind="values")


@pytest.mark.parametrize("made", [small_set, coloured, valued])
@pytest.mark.parametrize(
    "statement",
    [
        Statement(
            licence="CC-BY-4.0",
            intended_use="Tests",
            sender="St Example",
            acknowledged_risk="a test",
            month="2026-11",
        ),
        Statement(licence="Data use agreement 12", intended_use="Tests", acknowledged_risk="a test"),
    ],
)
def test_mlcroissant_reads_the_records_of_an_unpacked_bundle(
    made, statement: Statement, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    distilled: DistilledSet = made()
    write_archive(tmp_path / "bundle.zip", pack(distilled, statement))
    with zipfile.ZipFile(tmp_path / "bundle.zip") as archive:
        archive.extractall(tmp_path / "unpacked")
    folder = tmp_path / "unpacked"
    with caplog.at_level(logging.WARNING):
        data = mlcroissant.Dataset(jsonld=str(folder / "croissant.json"))
        assert not data.metadata.ctx.issues.errors
        assert not data.metadata.ctx.issues.warnings
        records = list(data.records("records"))
    assert [message for message in caplog.messages if "deprecated" not in message] == []
    assert len(records) == len(distilled.labels)
    viewable = np.moveaxis(distilled.viewable(), 1, 3)
    for k, record in enumerate(records):
        assert record["records/index"] == k
        assert record["records/class"].decode() == distilled.class_names[distilled.labels[k]]
        assert np.float32(record["records/weight"]) == distilled.weights[k]
        assert record["records/stage"] == distilled.stage[k]
        shown = np.asarray(record["records/image"])  # mlcroissant turns every picture into three colours
        assert np.array_equal(shown, np.broadcast_to(viewable[k], shown.shape))
        if distilled.soft_labels is not None:
            told = [record[f"records/{'value' if distilled.by_values else 'probability'}_{c}"] for c in range(2)]
            assert np.array_equal(np.array(told, np.float32), distilled.soft_labels[k])
    for file in data.metadata.distribution:
        if getattr(file, "sha256", None):
            assert hashlib.sha256((folder / file.content_url).read_bytes()).hexdigest() == file.sha256


def test_the_reader_notices_what_is_wrong(tmp_path: Path) -> None:
    files = pack(small_set(), Statement(licence="CC-BY-4.0", intended_use="Tests", acknowledged_risk="a test"))
    broken = files["croissant.json"].replace(b'"license": "CC-BY-4.0",', b"")
    assert broken != files["croissant.json"]
    (tmp_path / "croissant.json").write_bytes(broken)
    assert mlcroissant.Dataset(jsonld=str(tmp_path / "croissant.json")).metadata.ctx.issues.warnings
