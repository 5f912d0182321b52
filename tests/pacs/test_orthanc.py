"""The round trip with a real PACS: Orthanc and its DICOMweb plugin, started here on a loopback port."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests
from pydicom import dcmread
from typer.testing import CliRunner

pytest.importorskip("dicomweb_client", reason="the dicomweb extra is not installed")
pytest.importorskip("highdicom", reason="the dicom extra is not installed")

from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.normalisation import Normalisation
from medistill.data.dicomweb import PASSWORD, USER
from medistill.errors import DataError, GateError
from medistill.sharing.archive import write_archive
from medistill.sharing.bundle import pack
from medistill.sharing.statement import Statement
from medistill.workflow.pull import pull
from medistill.workflow.push import push
from medistill_cli.main import app
from tests.factories.tiny import TINY

pytestmark = pytest.mark.pacs
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
ACCESS = ("medistill", "a password of the test")


class Orthanc:
    """An Orthanc of this test's own."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.root, self.url = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.port}/dicom-web"
        self.settings = folder / "orthanc.json"
        self.settings.write_text(
            json.dumps(
                {
                    "HttpPort": self.port,
                    "DicomServerEnabled": False,
                    "RemoteAccessAllowed": False,
                    "AuthenticationEnabled": True,
                    "RegisteredUsers": dict([ACCESS]),
                    "StorageDirectory": str(folder / "storage"),
                    "IndexDirectory": str(folder / "storage"),
                    "Plugins": [str(PLUGIN)],
                    "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
                }
            ),
            encoding="utf-8",
        )
        self.log = folder / "orthanc.log"
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(["Orthanc", str(self.settings)], stdout=log, stderr=log)
        for _ in range(300):
            try:
                requests.get(f"{self.root}/system", auth=ACCESS, timeout=1).raise_for_status()
                return
            except requests.RequestException:
                assert self.process.poll() is None, self.log.read_text(encoding="utf-8", errors="replace")
                time.sleep(0.1)
        raise AssertionError("Orthanc did not start within 30 s")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)

    def get(self, path: str) -> list:
        answer = requests.get(f"{self.root}{path}", auth=ACCESS, timeout=10)
        answer.raise_for_status()
        return answer.json()

    def empty(self) -> None:
        for patient in self.get("/patients"):
            requests.delete(f"{self.root}/patients/{patient}", auth=ACCESS, timeout=10).raise_for_status()

    def images(self) -> dict[str, bytes]:
        """SOP Instance UID -> file, by Orthanc's own REST interface."""
        found = {}
        for key in self.get("/instances"):
            content = requests.get(f"{self.root}/instances/{key}/file", auth=ACCESS, timeout=10).content
            found[str(dcmread(io.BytesIO(content)).SOPInstanceUID)] = content
        return found


class CuttingProxy:
    """Hands connections on, and breaks the first ones off after some bytes of the answer."""

    def __init__(self, target: str, *, cuts: int, after: int) -> None:
        self.target, self.cuts, self.after = urlsplit(target), cuts, after
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}{self.target.path}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listening.accept()
            except OSError:
                return
            left = self.after if self.cuts else None
            self.cuts = max(0, self.cuts - 1)
            service = socket.create_connection((self.target.hostname, self.target.port))
            threading.Thread(target=self._hand_on, args=(client, service, None), daemon=True).start()
            threading.Thread(target=self._hand_on, args=(service, client, left), daemon=True).start()

    @staticmethod
    def _hand_on(source: socket.socket, sink: socket.socket, left: int | None) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(1024):
                if left is not None:
                    piece, left = piece[:left], left - len(piece)
                sink.sendall(piece)
                if left is not None and left <= 0:
                    break
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    if shutil.which("Orthanc") is None or not PLUGIN.exists():
        pytest.skip("Orthanc and its DICOMweb plugin are not installed (apt-get install orthanc orthanc-dicomweb)")
    orthanc = Orthanc(tmp_path_factory.mktemp("orthanc"))
    yield orthanc
    orthanc.stop()


@pytest.fixture
def orthanc(server: Orthanc, monkeypatch: pytest.MonkeyPatch) -> Orthanc:
    monkeypatch.setenv(USER, ACCESS[0])
    monkeypatch.setenv(PASSWORD, ACCESS[1])
    server.empty()
    return server


def small_set() -> DistilledSet:
    grey = np.random.default_rng(1).integers(0, 256, (6, 1, 21, 21), np.uint8)
    normalisation = Normalisation.of(grey)
    return DistilledSet(
        images=normalisation.apply(grey).astype(np.float32),
        labels=np.arange(6) % 2,
        weights=np.ones(6, np.float32),
        stage=np.zeros(6, np.int64),
        student_lr=0.02,
        normalisation=normalisation,
        class_names=("COVID", "Normal"),
        provenance={"synthetic_source": True},
    )


def bundle(path: Path, *, risk: str | None = "a test of the round trip") -> Path:
    statement = Statement(licence="CC0-1.0", intended_use="tests", acknowledged_risk=risk)
    write_archive(path, pack(small_set(), statement))
    return path


def by_image(path: Path, uids: list[str]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["SOPInstanceUID", "label"], *([uid, "A"] for uid in uids)])
    return path


def test_a_bundle_is_pushed_listed_and_pulled_back(orthanc: Orthanc, tmp_path: Path) -> None:
    file = bundle(tmp_path / "bundle.zip")
    pushed = push(file, orthanc.url)
    assert (pushed.images, pushed.sent) == (6, 6)
    (patient,) = [orthanc.get(f"/patients/{key}") for key in orthanc.get("/patients")]
    assert patient["MainDicomTags"]["PatientID"] == pushed.patient
    held = {uid: dcmread(io.BytesIO(content)) for uid, content in orthanc.images().items()}
    pictures = {one.InstanceNumber: one.pixel_array for one in held.values()}
    for k, picture in enumerate(small_set().viewable(), start=1):
        np.testing.assert_array_equal(pictures[k], picture[0])
    assert push(file, orthanc.url).sent == 0

    (first, *_), address = list(held), f"{orthanc.url}?Modality=OT&StudyDate=19990101-20010101"
    pulled = pull(address, by_image(tmp_path / "t.csv", list(held)))
    assert {dcmread(one).SOPInstanceUID: dcmread(one).PixelData for one in pulled.folder.iterdir()} == {
        uid: one.PixelData for uid, one in held.items()
    }
    with pytest.raises(DataError, match="none of the 1 rows"):
        pull(f"{orthanc.url}?Modality=CT", by_image(tmp_path / "u.csv", [first]))

    (key,) = [
        k
        for k in orthanc.get("/instances")
        if orthanc.get(f"/instances/{k}")["MainDicomTags"]["SOPInstanceUID"] == first
    ]
    requests.delete(f"{orthanc.root}/instances/{key}", auth=ACCESS, timeout=10).raise_for_status()
    assert push(file, orthanc.url).sent == 1
    assert len(orthanc.images()) == 6


def test_what_was_pulled_is_distilled(orthanc: Orthanc, tmp_path: Path, phantom_folder: Path) -> None:
    names, rows = set(), {}
    for file in sorted(phantom_folder.rglob("*.dcm")):
        requests.post(f"{orthanc.root}/instances", data=file.read_bytes(), auth=ACCESS, timeout=10).raise_for_status()
        header = dcmread(file, stop_before_pixels=True)
        rows[str(header.StudyInstanceUID)] = file.parent.name
        names |= {str(header[k].value) for k in ("PatientName", "PatientID", "StudyInstanceUID", "SOPInstanceUID")}
    table = tmp_path / "studies.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["StudyInstanceUID", "class"], *rows.items()])
    data = ["--data", f"dicomweb+{orthanc.url}", "--labels", str(table)]
    settings = [word for one in (*TINY, "method.ipc=2") for word in ("--set", one)]
    run = tmp_path / "run"
    told = CliRunner().invoke(
        app, ["distill", *data, "--recipe", "demo", "--out", str(run), "--device", "cpu", *settings]
    )
    assert told.exit_code == 0, told.output + told.stderr
    made = DistilledSet.load(run)
    assert made.class_names == tuple(sorted(set(rows.values())))
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    assert record["corpus"]["found"] == len(list(phantom_folder.rglob("*.dcm")))
    assert record["corpus"]["split_unit"] == "patient"
    texts = [told.output, told.stderr]
    texts += [file.read_bytes().decode(errors="replace") for file in run.rglob("*") if file.is_file()]
    assert not [name for name in names if any(name in text for text in texts)]
    assert f"127.0.0.1:{orthanc.port}" not in "".join(texts[2:])


def test_cut_connections_are_mended(orthanc: Orthanc, tmp_path: Path) -> None:
    file = bundle(tmp_path / "bundle.zip")
    sending = CuttingProxy(orthanc.url, cuts=4, after=60)
    assert push(file, sending.url, pause=0.01).images == 6
    assert len(orthanc.images()) == 6
    fetching = CuttingProxy(orthanc.url, cuts=4, after=700)
    uids = list(orthanc.images())
    assert len(list(pull(fetching.url, by_image(tmp_path / "t.csv", uids), pause=0.01).folder.iterdir())) == 6
    assert (sending.cuts, fetching.cuts) == (0, 0)


def test_a_service_that_is_down_is_told_and_the_push_goes_on(orthanc: Orthanc, tmp_path: Path) -> None:
    file = bundle(tmp_path / "bundle.zip")
    push(file, orthanc.url)
    (key, *_) = orthanc.get("/instances")
    requests.delete(f"{orthanc.root}/instances/{key}", auth=ACCESS, timeout=10).raise_for_status()
    orthanc.stop()
    with pytest.raises(DataError, match="cannot be reached"):
        push(file, orthanc.url, pause=0.001)
    orthanc.start()
    assert push(file, orthanc.url).sent == 1


def test_wrong_credentials_are_refused(orthanc: Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD, "mistyped")
    told = CliRunner().invoke(app, ["push", str(bundle(tmp_path / "bundle.zip")), "--dicomweb", orthanc.url])
    assert told.exit_code == 3
    assert "refuses access (401" in told.stderr
    assert "mistyped" not in told.stderr
    assert orthanc.images() == {}


def test_a_bundle_without_a_passing_audit_stays(orthanc: Orthanc, tmp_path: Path) -> None:
    file = bundle(tmp_path / "bundle.zip", risk=None)
    with pytest.raises(GateError, match="declares no audit"):
        push(file, orthanc.url)
    assert CliRunner().invoke(app, ["push", str(file), "--dicomweb", orthanc.url]).exit_code == 4
    assert orthanc.images() == {}
