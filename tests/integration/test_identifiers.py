"""Every byte that a run writes or says, searched for what the source files say of their invented patients."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydicom import dcmread

from medistill.progress import Silent, SilentTask
from medistill.recipe import Recipe
from medistill.workflow.run import run

IDENTIFYING = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "StudyDate",
    "SeriesDate",
    "ContentDate",
    "AcquisitionDate",
    "AccessionNumber",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "StudyID",
    "OtherPatientIDs",
    "PatientAddress",
    "ReferringPhysicianName",
    "InstitutionName",
    "StationName",
    "DeviceSerialNumber",
)


class Ear(Silent):
    """Keeps every word that is said."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def task(self, title: str, total: int, *, done: int = 0) -> SilentTask:
        words = self.words
        words.append(title)

        class Task(SilentTask):
            def advance(self, steps: int = 1, *, figures: str = "") -> None:
                words.append(figures)

        return Task()

    def say(self, message: str) -> None:
        self.words.append(message)


def identifiers(folder: Path) -> set[str]:
    """What the headers say of the patients; names also in parts, dates also as they are written elsewhere."""
    found: set[str] = set()
    for file in folder.rglob("*.dcm"):
        header = dcmread(file, stop_before_pixels=True)
        for keyword in IDENTIFYING:
            value = str(header.get(keyword, "") or "")
            found.add(value)
            if keyword in ("PatientName", "ReferringPhysicianName"):
                found.update(re.split(r"[\^= ]+", value))
            if keyword.endswith("Date") and len(value) == 8:
                found.add(f"{value[:4]}-{value[4:6]}-{value[6:]}")
    return {value for value in found if len(value) >= 4}


@pytest.fixture(scope="module")
def searched(phantom_folder: Path, tmp_path_factory: pytest.TempPathFactory, tiny_recipe: Recipe):
    """Everything that a whole run wrote and said."""
    monkeypatch, ear = pytest.MonkeyPatch(), Ear()
    monkeypatch.setenv("MEDISTILL_CACHE", str(tmp_path_factory.mktemp("cache")))
    out = tmp_path_factory.mktemp("out") / "run"
    try:
        run(tiny_recipe, out=out, data=phantom_folder, show_real=False, progress=ear)
    finally:
        monkeypatch.undo()
    return out, ear


def test_the_search_has_something_to_find(phantom_folder: Path):
    wanted = identifiers(phantom_folder)
    headers = b"".join(file.read_bytes() for file in phantom_folder.rglob("*.dcm"))
    assert len(wanted) > 100
    assert sum(value.encode() in headers for value in wanted) > len(wanted) / 2


def test_no_identifier_in_any_output(phantom_folder: Path, searched):
    out, ear = searched
    files = [file for file in out.rglob("*") if file.is_file()]
    assert {"report.html", "report.json", "images.safetensors", "log.jsonl"} <= {file.name for file in files}
    places = {str(file.relative_to(out)): file.read_bytes().lower() for file in files}
    places["file names"] = "\n".join(places).lower().encode()
    places["what was said"] = "\n".join(ear.words).lower().encode()
    leaks = {
        (place, value)
        for value in identifiers(phantom_folder)
        for place, content in places.items()
        if value.lower().encode() in content
    }
    assert leaks == set()


def test_what_a_recipient_gets_names_no_place_on_this_machine(searched, private_cache: Path):
    out, _ = searched
    given = b"".join(file.read_bytes() for file in [*(out / "set").iterdir(), out / "report.html", out / "report.json"])
    for place in (str(out), str(Path.home()), str(private_cache.parent)):
        assert len(place) < 4 or place.encode() not in given
