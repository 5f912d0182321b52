"""A bundle goes into a PACS once, whole, and only if it may; and --data takes a PACS for a folder."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

pytest.importorskip("dicomweb_client", reason="the dicomweb extra is not installed")
pytest.importorskip("highdicom", reason="the dicom extra is not installed")

from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.normalisation import Normalisation
from medistill.data.dicomweb import TRIES
from medistill.errors import DataError, GateError, UsageError
from medistill.progress import Silent
from medistill.sharing.archive import write_archive
from medistill.sharing.bundle import pack
from medistill.sharing.statement import Statement
from medistill.workflow.push import push
from medistill_cli.corpus import on_disk
from tests.fake_pacs import Answer, Pacs, serving


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    with serving(Pacs(studies=1)) as pacs:
        yield pacs


@pytest.fixture(scope="module")
def distilled() -> DistilledSet:
    grey = np.random.default_rng(1).integers(0, 256, (4, 1, 12, 12), np.uint8)
    normalisation = Normalisation.of(grey)
    return DistilledSet(
        images=normalisation.apply(grey).astype(np.float32),
        labels=np.arange(4) % 2,
        weights=np.ones(4, np.float32),
        stage=np.zeros(4, np.int64),
        student_lr=0.02,
        normalisation=normalisation,
        class_names=("COVID", "Normal"),
        provenance={"synthetic_source": True},
    )


def bundle(path: Path, distilled: DistilledSet, *, risk: str | None = "a test") -> Path:
    statement = Statement(licence="CC0-1.0", intended_use="tests", acknowledged_risk=risk)
    write_archive(path, pack(distilled, statement))
    return path


def fail(status: int) -> Answer:
    return lambda handler: handler.give(b"no", "text/plain", status)


def test_a_push_that_broke_off_goes_on_and_a_second_one_sends_nothing(
    pacs: Pacs, distilled: DistilledSet, tmp_path: Path
) -> None:
    file, before = bundle(tmp_path / "b.zip", distilled), set(pacs.files)
    pacs.answers = [*[lambda handler: False] * 3, *[fail(503)] * TRIES]  # one list, two images, then nothing more
    with pytest.raises(DataError, match="error 503, 5 times"):
        push(file, pacs.url, pause=0.001)
    assert len(set(pacs.files) - before) == 2
    again = push(file, pacs.url, pause=0.001)
    assert (again.images, again.sent, again.acknowledged_risk) == (4, 2, "a test")
    assert push(file, pacs.url, pause=0.001).sent == 0
    made = [dcmread(io.BytesIO(pacs.files[uids])) for uids in pacs.files if uids not in before]
    shown = {one.InstanceNumber: one.pixel_array for one in made}
    for k, picture in enumerate(distilled.viewable(), start=1):
        np.testing.assert_array_equal(shown[k], picture[0])
    assert {one.PatientID for one in made} == {again.patient}


def test_a_service_that_takes_and_does_not_keep_is_found_out(
    pacs: Pacs, distilled: DistilledSet, tmp_path: Path
) -> None:
    pacs.keeps = False
    with pytest.raises(DataError, match="lists 0 of 4"):
        push(bundle(tmp_path / "b.zip", distilled), pacs.url, pause=0.001)


def test_nothing_is_asked_or_sent_without_a_passing_audit(pacs: Pacs, distilled: DistilledSet, tmp_path: Path) -> None:
    with pytest.raises(GateError, match="declares no audit") as told:
        push(bundle(tmp_path / "b.zip", distilled, risk=None), pacs.url)
    assert told.value.exit_code == 4
    assert pacs.asked == []


def test_an_address_with_a_query_is_nothing_to_send_to(pacs: Pacs, distilled: DistilledSet, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has a query"):
        push(bundle(tmp_path / "b.zip", distilled), f"{pacs.url}?Modality=DX")


def test_data_may_name_a_pacs_although_a_path_loses_a_slash(pacs: Pacs, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text(f"StudyInstanceUID,label\n{pacs.studies[0]},A\n", encoding="utf-8")
    folder, labels = on_disk(Path(f"dicomweb+{pacs.url}?Modality=DX"), table, Silent())
    assert folder is not None
    assert labels is not None
    assert {dcmread(file).SOPInstanceUID for file in folder.iterdir()} == {uids[2] for uids in pacs.files}
    assert "Modality=DX" in pacs.asked[0][1]
    with pytest.raises(UsageError, match="there is no --labels"):
        on_disk(Path(f"dicomweb+{pacs.url}"), None, Silent())
    assert on_disk(tmp_path, table, Silent()) == (tmp_path, table)
    assert on_disk(None, None, Silent()) == (None, None)
