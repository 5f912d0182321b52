"""Prepare: from folders of real and of broken files to a corpus, and back to it from the cache."""

from __future__ import annotations

import csv
import json
import os
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image as Pillow

from medistill.artifacts.corpus import Corpus, load_corpus
from medistill.artifacts.purge import purge
from medistill.errors import ArtifactError, DataError
from medistill.progress import Silent, SilentTask
from medistill.recipe import DataRecipe, Recipe, load_recipe, override_recipe
from medistill.workflow.prepare import prepare

RECIPE = Recipe(data=DataRecipe(image_size=16))


class Heard(Silent):
    """What a workflow said, and the bars that it started."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.tasks: list[str] = []

    def task(self, title: str, total: int, *, done: int = 0) -> SilentTask:
        self.tasks.append(title)
        return SilentTask()

    def say(self, message: str) -> None:
        self.said.append(message)


def recipe(**data: object) -> Recipe:
    return Recipe(data=DataRecipe(image_size=16, **data))


def pictures(folder: Path, count: int = 10, classes: tuple[str, ...] = ("COVID", "Normal"), seed: int = 0) -> Path:
    """``count`` PNG files of noise for each class, none like another."""
    numbers = np.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for n in range(count):
            Pillow.fromarray(numbers.integers(0, 256, (20, 24), np.uint8)).save(folder / name / f"{n:03}.png")
    return folder


def table(path: Path, *rows: dict[str, str]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def fates(corpus: Corpus) -> dict[str, str]:
    return {row.file: row.category for row in corpus.manifest}


def area(pixels: np.ndarray, size: int) -> np.ndarray:
    """Mean of the pixels under each of ``size`` x ``size`` equal squares; sides must be multiples of it."""
    height, width = pixels.shape
    return pixels.astype(float).reshape(size, height // size, size, width // size).mean(axis=(1, 3))


def test_the_chest_collection(shared_data):
    """The usual four classes, against the collection's own table and Pillow."""
    chest = shared_data / "chest"
    chosen = load_recipe("covid-xray-cpu", ['data.prefer_sites="raddb,guangzhou"'])
    corpus = prepare(chest, chosen, labels=chest / "manifest.csv")
    assert corpus.class_names == ("Bacterial_Pneumonia", "COVID", "Normal", "Viral_Pneumonia")
    assert [len(corpus.rows(split)) for split in ("train", "val", "test")] == [2248, 345, 687]
    others = {path.name for path in chest.glob("*.csv")} - {"manifest.csv"}  # tables that were not named
    assert (corpus.split_source, corpus.split_unit, corpus.found) == ("given", "patient", 4408 + len(others))
    assert corpus.refused == {"site not chosen": 1128, **({"not in the table": len(others)} if others else {})}
    assert "raddb and guangzhou alone" in corpus.notes[0]
    with (chest / "manifest.csv").open(newline="") as file:
        said = {row["file"]: row for row in csv.DictReader(file)}
    group_of: dict[str, int] = {}
    for row in corpus.manifest:
        if row.row < 0:
            assert row.file in others or said[row.file]["site"] not in corpus.site_names
            continue
        one = said[row.file]
        assert corpus.class_names[corpus.labels[row.row]] == one["label"]
        assert corpus.site_names[corpus.sites[row.row]] == one["site"]
        assert ("train", "val", "test")[corpus.splits[row.row]] == one["split"]
        assert group_of.setdefault(one["group_id"], int(corpus.groups[row.row])) == corpus.groups[row.row]
    assert len(set(group_of.values())) == len(group_of) == corpus.groups.max() + 1
    squares = [row for row in corpus.manifest if row.row >= 0 and said[row.file]["width"] == said[row.file]["height"]]
    for row in squares[:: len(squares) // 20]:
        pixels = np.asarray(Pillow.open(chest / row.file).convert("L"))
        np.testing.assert_allclose(corpus.images[row.row, 0], area(pixels, 32), atol=0.51)


FATES = {  # file -> what becomes of it by default, and with data.view_policy keep and data.not_chest tell
    "6154": ("other body part", ""),
    "CR-MONO1-10-chest": ("no transfer syntax", "no transfer syntax"),
    "CR-ModalitySequenceLUT.dcm": ("other body part", ""),
    "DICOMDIR": ("no pixels", "no pixels"),
    "DX_16bit_j2k_headerless_upsidedown.dcm": ("unknown view", "display transform left out"),
    "Fake_MONOHR1.dcm": ("", ""),
    "GREYSCALE_IMAGE.dcm": ("not a radiograph", "burnt-in annotation"),
    "MR_small_bigendian.dcm": ("not a radiograph", "orientation not followed"),
    "MR_truncated.dcm": ("not a radiograph", "truncated"),
    "OutOfBoundsOverlay.dcm": ("not a radiograph", "orientation not followed"),
    "RG1_J2KI.dcm": ("pixel size not followed", "pixel size not followed"),
    "RG3_JLSL": ("other body part", "turned"),
    "RG3_JPLL": ("other body part", "duplicate"),
    "RG3_JPLY": ("other body part", "unsupported coding"),
    "RG3_RLE": ("other body part", "duplicate"),
    "TestPattern_Palette.dcm": ("not a radiograph", "orientation not followed"),
    "badVR.dcm": ("unreadable", "unreadable"),
    "chrArab.dcm": ("not a radiograph", ""),
    "chrH31.dcm": ("not a radiograph", "duplicate"),
    "dx_image.dcm": ("not human", "not human"),
    "gdcm-CR-MONO1-10-chest.dcm": ("", ""),
    "image_dfl.dcm": ("not a radiograph", ""),
    "multiframe.dcm": ("several frames", "several frames"),
    "nema-us1_j2ki.dcm": ("not a radiograph", ""),
    "no_meta_group_length.dcm": ("no pixels", "no pixels"),
    "rsna_.1517875201.850819.dcm": ("", ""),
    "rtplan_truncated.dcm": ("no pixels", "no pixels"),
    "vlut_04.dcm": ("not a radiograph", ""),
}


PEOPLE = {  # sex and age of those that state one, as a person reads them from the headers
    "6154": ("", "40 to 64"),
    "CR-ModalitySequenceLUT.dcm": ("male", "65 and over"),
    "Fake_MONOHR1.dcm": ("male", "40 to 64"),
    "MR_small_bigendian.dcm": ("female", ""),
    "OutOfBoundsOverlay.dcm": ("female", "18 to 39"),
    "RG1_J2KI.dcm": ("female", "40 to 64"),
    "RG3_JLSL": ("female", "18 to 39"),
    "TestPattern_Palette.dcm": ("other", "0 to 17"),
    "nema-us1_j2ki.dcm": ("male", ""),
    "rsna_.1517875201.850819.dcm": ("male", "40 to 64"),
    "vlut_04.dcm": ("other", ""),
}


@pytest.mark.parametrize("settings", [{}, {"view_policy": "keep", "not_chest": "tell"}])
def test_every_awkward_dicom_file_is_accounted_for(shared_data, tmp_path, settings):
    folder = pictures(tmp_path / "data", 5)
    for name in FATES:
        shutil.copy(shared_data / "dicom" / name, folder / "Normal" / name)
    names = [file.relative_to(folder).as_posix() for file in sorted(folder.rglob("*")) if file.is_file()]
    rows = [{"file": name, "label": name.split("/")[0], "patient": name} for name in names]
    corpus = prepare(folder, recipe(**settings), labels=table(tmp_path / "labels.csv", *rows))
    told = {file.removeprefix("Normal/"): category for file, category in fates(corpus).items()}
    expected = {name: fate[bool(settings)] for name, fate in FATES.items()}
    assert {name: told[name] for name in FATES} == expected
    assert {path.name for path in (shared_data / "dicom").iterdir()} == {*FATES, "manifest.csv"}
    reasons = {row.file.removeprefix("Normal/"): row.reason for row in corpus.manifest}
    assert ("JPEG Extended" if settings else "BodyPartExamined") in reasons["RG3_JPLY"]
    taken = [name for name in FATES if not expected[name]]
    place = {row.file.removeprefix("Normal/"): row.row for row in corpus.manifest}
    people = {name: (corpus.sexes[place[name]], corpus.ages[place[name]]) for name in taken}
    assert people == {name: PEOPLE.get(name, ("", "")) for name in taken}
    row_of = {row.file.removeprefix("Normal/"): row.row for row in corpus.manifest}
    chest = pydicom.dcmread(shared_data / "dicom" / "gdcm-CR-MONO1-10-chest.dcm")
    shown = corpus.images[row_of["gdcm-CR-MONO1-10-chest.dcm"], 0].astype(float)
    stored = -np.asarray(Pillow.fromarray(chest.pixel_array.astype(np.float32)).resize((16, 16), Pillow.Resampling.BOX))
    assert np.corrcoef(shown.ravel(), stored.ravel())[0, 1] > 0.98
    for name in FATES:  # neither a name nor an identifier of anyone is in a reason
        header = pydicom.dcmread(shared_data / "dicom" / name, force=True, stop_before_pixels=True)
        for value in (str(header.get("PatientName", "")), str(header.get("PatientID", "")).strip()):
            assert len(value) < 4 or not any(value in reason for reason in reasons.values())


def test_broken_files_are_refused_and_the_rest_is_taken(tmp_path):
    folder = pictures(tmp_path / "data")
    normal = folder / "Normal"
    (normal / "empty.png").touch()
    (normal / "text.dcm").write_text("words alone " * 50)
    (normal / "cut.png").write_bytes((normal / "000.png").read_bytes()[:200])
    shutil.copy(normal / "001.png", normal / "copy of 001.png")
    shutil.copy(normal / "002.png", folder / "COVID" / "zzz.png")
    Pillow.open(normal / "003.png").save(normal / "same pixels.png", compress_level=0)
    (normal / "outside.png").symlink_to(tmp_path / "elsewhere.png")
    corpus = prepare(folder, RECIPE)
    told = {file: category for file, category in fates(corpus).items() if category}
    assert told == {
        "COVID/zzz.png": "two labels",
        "Normal/002.png": "two labels",
        "Normal/copy of 001.png": "duplicate",
        "Normal/cut.png": "truncated",
        "Normal/empty.png": "empty",
        "Normal/outside.png": "link out of the folder",
        "Normal/same pixels.png": "duplicate",
        "Normal/text.dcm": "not an image",
    }
    assert corpus.found == 27
    assert len(corpus.labels) == 19
    assert corpus.refused["two labels"] == 2
    assert corpus.split_unit == "image"
    assert "No patient is known" in corpus.notes[0]


def test_the_phantom_corpus(phantom_folder, phantom_corpus):
    """DICOM with patients: the groups are the patients that the headers name, and no name is kept."""
    corpus = phantom_corpus
    assert corpus.synthetic
    assert (corpus.split_unit, corpus.split_source) == ("patient", "drawn")
    said = {}
    for row in corpus.manifest:
        header = pydicom.dcmread(phantom_folder / row.file, stop_before_pixels=True)
        said[row.row] = (str(header.PatientID), str(header.PatientName), str(header.StudyInstanceUID))
    patients = [said[n][0] for n in range(len(corpus.labels))]
    assert len(set(zip(patients, corpus.groups.tolist(), strict=True))) == len(set(patients)) == corpus.groups.max() + 1
    splits_of: dict[str, set[int]] = {}
    for patient, split in zip(patients, corpus.splits.tolist(), strict=True):
        splits_of.setdefault(patient, set()).add(split)
    assert all(len(splits) == 1 for splits in splits_of.values())
    kept = [path.read_bytes() for path in corpus.path.parents[1].rglob("*") if path.is_file()]
    for value in {one for values in said.values() for one in values}:
        assert not any(value.encode() in content for content in kept)


def test_the_phantoms_sex_and_age(phantom_folder, phantom_corpus):
    """Against the headers, with the age counted in another way; the cache holds neither age nor date of birth."""
    corpus = phantom_corpus
    for row in corpus.manifest:
        header = pydicom.dcmread(phantom_folder / row.file, stop_before_pixels=True)
        years = (int(header.StudyDate) - int(header.PatientBirthDate)) // 10_000
        band = ("0 to 17", "18 to 39", "40 to 64", "65 and over")[(years >= 18) + (years >= 40) + (years >= 65)]
        assert corpus.sexes[row.row] == {"F": "female", "M": "male"}[header.PatientSex]
        assert corpus.ages[row.row] == band
    assert len(set(corpus.ages)) > 2
    assert corpus.traits("test")["age"] == tuple(corpus.ages[row] for row in corpus.rows("test"))


def test_a_table_settles_sex_and_age_and_nonsense_is_counted(phantom_folder, tmp_path):
    folder = pictures(tmp_path / "data", 6)
    ours = sorted(phantom_folder.rglob("*.dcm"))[:2]
    for n, file in enumerate(ours):
        shutil.copy(file, folder / "COVID" / f"d{n}.dcm")
    of_file = pydicom.dcmread(ours[1]).PatientSex
    said = {
        "COVID/000.png": ("f", "7317 days"),
        "COVID/001.png": ("Müller", "999Y"),
        "COVID/002.png": ("", "-3"),
        "COVID/d0.dcm": ("O", "6 months"),
        "COVID/d1.dcm": ("?!", ""),
    }
    names = [file.relative_to(folder).as_posix() for file in sorted(folder.rglob("*")) if file.is_file()]
    rows = [
        {"file": n, "label": n.split("/")[0], "Geschlecht": said.get(n, ("", ""))[0], "Alter": said.get(n, ("", ""))[1]}
        for n in names
    ]
    heard = Heard()
    corpus = prepare(
        folder,
        recipe(sex_column="Geschlecht", age_column="Alter"),
        labels=table(tmp_path / "labels.csv", *rows),
        progress=heard,
    )
    row_of = {row.file: row.row for row in corpus.manifest}
    told = {name: (corpus.sexes[row_of[name]], corpus.ages[row_of[name]]) for name in said}
    assert told["COVID/000.png"] == ("female", "18 to 39")
    assert told["COVID/001.png"] == told["COVID/002.png"] == ("", "")
    assert told["COVID/d0.dcm"] == ("other", "0 to 17")
    assert told["COVID/d1.dcm"][0] == {"F": "female", "M": "male"}[of_file]
    assert told["COVID/d1.dcm"][1] != ""
    assert "Sexes that could not be read and count as not stated: 1." in corpus.notes
    assert "Ages that could not be read and count as not stated: 2." in corpus.notes
    kept = [path.read_bytes() for path in corpus.path.parents[1].rglob("*") if path.is_file()]
    for text in ("7317", "Müller", "999Y", "6 months"):
        assert not any(text.encode() in content for content in kept)
        assert not any(text in line for line in heard.said)


def test_a_table_may_vouch_for_the_view(phantom_folder, tmp_path):
    """A DICOM file that does not state its view is taken where the table says that it is frontal."""
    folder = pictures(tmp_path / "data", 5)
    for n, file in enumerate(sorted(phantom_folder.rglob("*.dcm"))[:2]):
        dataset = pydicom.dcmread(file)
        dataset.ViewPosition = dataset.SeriesDescription = ""
        dataset.pop("ViewCodeSequence", None)
        dataset.save_as(folder / "COVID" / f"d{n}.dcm")
    names = [file.relative_to(folder).as_posix() for file in sorted(folder.rglob("*")) if file.is_file()]
    rows = [{"file": n, "label": n.split("/")[0], "view": "PA" if n == "COVID/d1.dcm" else ""} for n in names]
    told = fates(prepare(folder, RECIPE, labels=table(tmp_path / "labels.csv", *rows)))
    assert (told["COVID/d0.dcm"], told["COVID/d1.dcm"]) == ("unknown view", "")


def test_a_second_run_decodes_nothing(tmp_path):
    folder = pictures(tmp_path / "data")
    first = prepare(folder, RECIPE)
    heard = Heard()
    again = prepare(folder, RECIPE, progress=heard)
    assert heard.tasks == []
    assert "in the cache already" in heard.said[0]
    assert again.content == first.content


@pytest.mark.parametrize("how", ["replaced", "overwritten"])
def test_other_bytes_of_the_same_size_and_time_are_seen(tmp_path, how):
    """As `tar`, `rsync -t` and `cp -p` leave a file that was mended; its name, size and time are those of before."""
    folder = pictures(tmp_path / "data")
    first = prepare(folder, RECIPE)
    victim = folder / "Normal" / "004.png"
    facts = victim.stat()
    other = victim if how == "overwritten" else tmp_path / "other"
    other.write_bytes(b"\0" * facts.st_size)
    os.utime(other, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    other.replace(victim)
    changed = prepare(folder, RECIPE)
    assert fates(changed)["Normal/004.png"] == "not an image"
    assert changed.content != first.content


def test_a_file_that_changes_while_it_is_read_is_read_again(tmp_path):
    folder = pictures(tmp_path / "data")

    class Meddling(Heard):
        def task(self, title: str, total: int, *, done: int = 0) -> SilentTask:
            (folder / "Normal" / "004.png").write_bytes(b"something else")
            return super().task(title, total, done=done)

    heard = Meddling()
    prepare(folder, RECIPE, progress=heard)
    assert any("changed while they were read" in said for said in heard.said)
    heard = Heard()
    prepare(folder, RECIPE, progress=heard)
    assert heard.tasks == ["Reading images"]


def test_what_makes_another_corpus_and_what_does_not(tmp_path):
    folder = pictures(tmp_path / "data")
    first = prepare(folder, RECIPE)
    assert prepare(folder, recipe(fit="pad")).content != first.content
    assert prepare(folder, RECIPE.model_copy(update={"seed": 1})).content != first.content
    shutil.copytree(folder, tmp_path / "moved")
    heard = Heard()
    assert prepare(tmp_path / "moved", RECIPE, progress=heard).content == first.content
    assert heard.tasks == []  # the same files elsewhere
    heard = Heard()
    slow = override_recipe(RECIPE, ["method.experts.count=3"], "test")
    assert prepare(folder, slow, progress=heard).content == first.content
    assert heard.tasks == []


def test_another_table_is_read_anew(tmp_path):
    folder = pictures(tmp_path / "data")
    names = [file.relative_to(folder).as_posix() for file in sorted(folder.rglob("*.png"))]
    rows = [{"file": name, "label": name.split("/")[0], "patient": str(n)} for n, name in enumerate(names)]
    first = prepare(folder, RECIPE, labels=table(tmp_path / "labels.csv", *rows))
    assert first.split_unit == "patient"
    rows[0]["label"] = "Normal"
    second = prepare(folder, RECIPE, labels=table(tmp_path / "labels.csv", *rows))
    assert second.counts() != first.counts()


@pytest.mark.parametrize("name", ["images.npy", "index.json", "manifest.csv", "entry"])
@pytest.mark.parametrize("how", ["flip", "cut", "remove"])
def test_a_damaged_cache_is_read_anew(tmp_path, private_cache, name, how):
    folder = pictures(tmp_path / "data")
    first = prepare(folder, RECIPE)
    pixels, manifest = np.array(first.images), (first.path / "manifest.csv").read_bytes()
    path = next((private_cache / "sources").glob("*.json")) if name == "entry" else first.path / name
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.unlink()
    if how != "remove":
        path.write_bytes(bytes(content) if how == "flip" else bytes(content)[: len(content) // 2])
    heard = Heard()
    again = prepare(folder, RECIPE, progress=heard)
    assert heard.tasks == ["Reading images"]
    assert name == "entry" or "read again" in heard.said[0]
    assert again.content == first.content
    np.testing.assert_array_equal(again.images, pixels)
    assert (again.path / "manifest.csv").read_bytes() == manifest


def test_a_cache_of_another_version_is_made_anew(tmp_path):
    folder = pictures(tmp_path / "data")
    first = prepare(folder, RECIPE)
    index = json.loads((first.path / "index.json").read_text())
    (first.path / "index.json").write_text(json.dumps({**index, "schema": 0}))
    heard = Heard()
    assert prepare(folder, RECIPE, progress=heard).content == first.content
    assert "of another version" in heard.said[0]


def test_two_folders_with_one_content_do_not_share_a_manifest(tmp_path):
    """The accepted images are the same, the refused are not: neither may be told the other's refusals."""
    folder = pictures(tmp_path / "data")
    other = shutil.copytree(folder, tmp_path / "other")
    (other / "Normal" / "notes.txt").write_text("words")
    first = prepare(folder, RECIPE)
    assert prepare(other, RECIPE).content == first.content
    assert fates(prepare(folder, RECIPE)) == dict.fromkeys(fates(first), "")


def test_the_cache_is_private(tmp_path, private_cache):
    before = os.umask(0)
    try:
        prepare(pictures(tmp_path / "data"), RECIPE)
    finally:
        os.umask(before)
    for path in private_cache.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path
    assert not any(path.is_dir() for path in (private_cache / "sources").iterdir())  # nothing is left of the reading


def test_a_kill_leaves_nothing_half_valid(tmp_path, private_cache, monkeypatch):
    """The process is killed when its first chunk is told of; a second run ends where an uninterrupted one does."""
    folder = pictures(tmp_path / "data", 40)
    script = tmp_path / "killed.py"
    script.write_text(
        textwrap.dedent(f"""
            import os, signal
            from medistill.progress import Silent, SilentTask
            from medistill.recipe import DataRecipe, Recipe
            from medistill.workflow.prepare import prepare

            class Task(SilentTask):
                def advance(self, steps=1, *, figures=""):
                    os.kill(os.getpid(), signal.SIGKILL)

            class Deadly(Silent):
                def task(self, title, total, *, done=0):
                    return Task()

            if __name__ == "__main__":
                prepare({str(folder)!r}, Recipe(data=DataRecipe(image_size=16)), workers=2, progress=Deadly())
        """)
    )
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    killed = subprocess.run([sys.executable, script], env=environment, capture_output=True, timeout=120)  # waits for
    assert killed.returncode == -signal.SIGKILL  # the workers too, since they hold its pipes: none outlives it
    assert not (private_cache / "corpora").exists()
    assert len(list((private_cache / "sources").glob("*/*.safetensors"))) >= 1
    resumed = prepare(folder, RECIPE)
    monkeypatch.setenv("MEDISTILL_CACHE", str(tmp_path / "other cache"))
    assert prepare(folder, RECIPE, workers=1).content == resumed.content


def test_chunks_that_changed_places_are_read_again(tmp_path, private_cache):
    folder = pictures(tmp_path / "data", 32)  # few enough to be read without workers
    whole = prepare(folder, RECIPE).content

    class Stopped(SilentTask):
        def advance(self, steps: int = 1, *, figures: str = "") -> None:
            nonlocal chunks
            chunks -= 1
            if not chunks:
                raise KeyboardInterrupt

    class Impatient(Heard):
        def task(self, title: str, total: int, *, done: int = 0) -> SilentTask:
            return Stopped()

    chunks = 2
    purge()
    with pytest.raises(KeyboardInterrupt):
        prepare(folder, RECIPE, workers=1, progress=Impatient())
    first, second = sorted(private_cache.glob("sources/*/*.safetensors"))
    first.rename(private_cache / "aside")
    second.rename(first)
    (private_cache / "aside").rename(second)
    assert prepare(folder, RECIPE, workers=1).content == whole


def test_ctrl_c_keeps_what_is_read_and_a_purge_removes_it(tmp_path, private_cache):
    class Stopped(SilentTask):
        def advance(self, steps: int = 1, *, figures: str = "") -> None:
            raise KeyboardInterrupt

    class Impatient(Heard):
        def task(self, title: str, total: int, *, done: int = 0) -> SilentTask:
            self.tasks.append(f"{done} of {total}")
            return Stopped() if done == 0 else SilentTask()

    folder = pictures(tmp_path / "data", 20)
    with pytest.raises(KeyboardInterrupt):
        prepare(folder, RECIPE, workers=1, progress=Impatient())
    assert list(private_cache.rglob("*.safetensors"))
    heard = Impatient()
    assert len(prepare(folder, RECIPE, progress=heard).labels) == 40
    assert heard.tasks == ["32 of 40"]
    with pytest.raises(KeyboardInterrupt):
        prepare(folder, recipe(fit="pad"), progress=Impatient())
    purge()
    assert not [path for path in private_cache.rglob("*") if path.is_file()]


def test_the_guide_names_every_reason_for_a_refusal():
    root = Path(__file__).resolve().parents[2]
    code = [path.read_text(encoding="utf-8") for path in (root / "medistill" / "data").glob("*.py")]
    patterns = r'RejectedFile\(\s*"([a-z ]+)"', r'category="([a-z ]+)"', r'_left_out\(\s*one,\s*"([a-z ]+)"'
    reasons = {found for text in code for pattern in patterns for found in re.findall(pattern, text)} | {"truncated"}
    assert len(reasons) > 25
    guide = (root / "docs" / "guide" / "preparing-a-corpus.md").read_text(encoding="utf-8")
    table = guide.partition("## What is refused")[2].partition("\n## ")[0]
    assert set(re.findall(r"`([a-z ]+)`(?=[ ,].*\|.*\|.*\|)", table)) >= reasons


def test_names_of_files_that_are_not_utf8(tmp_path):
    folder = pictures(tmp_path / "data")
    try:
        os.rename(folder / "Normal" / "000.png", os.fsencode(folder / "Normal") + b"/M\xfcller.png")
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    assert fates(prepare(folder, RECIPE))["Normal/M\\udcfcller.png"] == ""


@pytest.mark.parametrize("limit", [1000, 6000])
def test_a_full_disk_is_told_of_and_nothing_is_lost(tmp_path, limit):
    """A limit on the size of files stands for a full disk: on the first chunk, and on the pixels as a whole."""
    folder = pictures(tmp_path / "data", 32)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(ArtifactError, match="could not be written"):
            prepare(folder, RECIPE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(prepare(folder, RECIPE).labels) == 64


def test_one_class_alone(tmp_path):
    with pytest.raises(DataError, match=r"only one class was found: Normal \(4 images\)"):
        prepare(pictures(tmp_path / "data", 4, ("Normal",)), RECIPE)
    with pytest.raises(DataError, match=r"only one class was found: Normal \(1 image\)"):
        prepare(pictures(tmp_path / "one", 1, ("Normal",), seed=1), RECIPE)


def test_nothing_accepted(tmp_path):
    for name in ("A/1.png", "B/2.dcm"):
        (tmp_path / "data" / name).parent.mkdir(parents=True)
        (tmp_path / "data" / name).write_text("words")
    with pytest.raises(DataError, match="none of 2 files could be used; refused: 2 not an image"):
        prepare(tmp_path / "data", RECIPE)


def test_a_class_without_training_images(tmp_path):
    folder = pictures(tmp_path / "data")
    names = [file.relative_to(folder).as_posix() for file in sorted(folder.rglob("*.png"))]
    rows = [
        {"file": n, "label": n.split("/")[0], "split": ("train", "val", "test")[i % 3]} for i, n in enumerate(names)
    ]
    for row in rows:
        row["split"] = "test" if row["label"] == "COVID" and row["split"] == "train" else row["split"]
    with pytest.raises(DataError, match="class COVID has no images in the train split"):
        prepare(folder, RECIPE, labels=table(tmp_path / "labels.csv", *rows))


def test_a_patient_in_two_given_splits_ends_it_before_anything_is_read(tmp_path):
    folder = pictures(tmp_path / "data")
    names = [file.relative_to(folder).as_posix() for file in sorted(folder.rglob("*.png"))]
    rows = [
        {"file": n, "label": n.split("/")[0], "patient": f"ID-{i // 2}", "split": ("train", "val", "test")[i % 3]}
        for i, n in enumerate(names)
    ]
    heard = Heard()
    with pytest.raises(DataError, match="more than one of the given splits") as error:
        prepare(folder, RECIPE, labels=table(tmp_path / "labels.csv", *rows), progress=heard)
    assert "ID-" not in str(error.value)
    assert heard.tasks == []


def test_one_patient_for_all_images(tmp_path):
    folder = pictures(tmp_path / "data")
    names = [file.relative_to(folder).as_posix() for file in sorted(folder.rglob("*.png"))]
    rows = [{"file": name, "label": name.split("/")[0], "patient": "export"} for name in names]
    with pytest.raises(DataError, match="all 20 images name one and the same patient"):
        prepare(folder, RECIPE, labels=table(tmp_path / "labels.csv", *rows))


def test_a_table_inside_the_folder_is_no_image_and_is_told_of_where_it_is_not_used(tmp_path):
    folder = pictures(tmp_path / "data")
    names = [file.relative_to(folder).as_posix() for file in sorted(folder.rglob("*.png"))]
    inside = table(folder / "labels.csv", *[{"file": name, "label": name.split("/")[0]} for name in names])
    assert prepare(folder, RECIPE, labels=inside).found == 20
    corpus = prepare(folder, RECIPE)
    assert corpus.refused == {"no label": 1}
    assert any("named with --labels" in note for note in corpus.notes)


LAYOUTS = {
    "CLASS/file": [""],
    "SITE/CLASS/file": ["north/", "south/"],
    "SPLIT/CLASS/file": ["train/", "val/", "test/"],
    "SITE/SPLIT/CLASS/file": [
        "north/Train/",
        "north/Valid/",
        "north/TEST/",
        "south/train/",
        "south/val/",
        "south/test/",
    ],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_folders(tmp_path, layout):
    for seed, above in enumerate(LAYOUTS[layout]):
        pictures(tmp_path / "data" / above, 4, seed=seed)
    corpus = prepare(tmp_path / "data", RECIPE)
    names = sorted(path.relative_to(tmp_path / "data").as_posix() for path in (tmp_path / "data").rglob("*.png"))
    assert [row.file for row in corpus.manifest] == names
    assert corpus.found == len(corpus.labels) == len(names)
    assert not corpus.synthetic
    assert corpus.split_source == ("given" if "SPLIT" in layout else "drawn")
    assert corpus.site_names == (("north", "south") if "SITE" in layout else ("not stated",))
    known = {"train": 0, "val": 1, "valid": 1, "test": 2}
    for row in corpus.manifest:
        folders = row.file.split("/")[:-1]
        assert corpus.class_names[corpus.labels[row.row]] == folders[-1]
        if "SITE" in layout:
            assert corpus.site_names[corpus.sites[row.row]] == folders[0]
        if "SPLIT" in layout:
            assert corpus.splits[row.row] == known[folders[-2].lower()]


def test_a_table_as_a_spreadsheet_writes_it(tmp_path):
    """A byte order mark, semicolons, line ends of two bytes, a name with an umlaut, columns in any order and case."""
    folder = pictures(tmp_path / "data", 6, ("x",)) / "x"
    lines = ["Finding Labels;Patient ID;Image Index;Hospital;View Position;Follow-up"]
    lines += [f"{'Pleuraerguß' if n % 2 else 'Normal'};P{n:03};{n:03}.png;Köln;PA;{n}" for n in range(6)]
    (tmp_path / "labels.csv").write_bytes(("\r\n".join(lines) + "\r\n").encode("utf-8-sig"))
    corpus = prepare(folder, RECIPE, labels=tmp_path / "labels.csv")
    assert (corpus.class_names, corpus.site_names) == (("Normal", "Pleuraerguß"), ("Köln",))
    assert (corpus.split_unit, corpus.split_source, corpus.views[0]) == ("patient", "drawn", "PA")
    assert [corpus.labels[row.row] for row in corpus.manifest] == [0, 1] * 3
    kept = [path.read_bytes() for path in corpus.path.parents[1].rglob("*") if path.is_file()]
    assert not any(f"P{n:03}".encode() in content for n in range(6) for content in kept)


def test_a_patient_whom_the_table_names_in_some_rows_alone_is_one_patient(phantom_folder, tmp_path):
    """What the header says joins the other rows to those; else half of the images would be a second patient."""
    files = sorted(phantom_folder.rglob("*.dcm"))[:60]
    said = {file.relative_to(phantom_folder).as_posix(): file for file in files}
    patient = {name: str(pydicom.dcmread(file, stop_before_pixels=True).PatientID) for name, file in said.items()}
    rows = [
        {"file": name, "label": said[name].parent.name, "patient": f"other {patient[name]}" if n % 2 else ""}
        for n, name in enumerate(said)
    ]
    corpus = prepare(phantom_folder, RECIPE, labels=table(tmp_path / "labels.csv", *rows))
    groups = {(patient[row.file], int(corpus.groups[row.row])) for row in corpus.manifest if row.row >= 0}
    assert len(groups) == len({one for one, _ in groups}) == len({group for _, group in groups}) > 10


def test_one_identifier_for_all_files_does_not_undo_the_table(phantom_folder, tmp_path):
    """An export may have put one PatientID into every header; the table then tells the patients apart."""
    rows = []
    for n, file in enumerate(sorted(phantom_folder.rglob("*.dcm"))[:24]):
        dataset = pydicom.dcmread(file)
        dataset.PatientID = "REMOVED"
        (tmp_path / "data").mkdir(exist_ok=True)
        dataset.save_as(tmp_path / "data" / f"{n}.dcm")
        rows.append({"file": f"{n}.dcm", "label": "AB"[n % 2], "patient": str(n // 2 * 2 + n % 2)})
    corpus = prepare(tmp_path / "data", RECIPE, labels=table(tmp_path / "labels.csv", *rows))
    assert len(set(corpus.groups.tolist())) == 24


def test_the_second_on_the_same_files_waits_for_the_first_and_finds_its_corpus(tmp_path):
    """Without that the first to end would take away the chunks that the other needs. Threads stand for processes."""
    folder = pictures(tmp_path / "data", 20)
    waits = threading.Event()

    class Slow(Heard):
        def task(self, title: str, total: int, *, done: int = 0) -> SilentTask:
            self.tasks.append(title)
            reading.set()
            assert waits.wait(30)
            return SilentTask()

    class Second(Heard):
        def say(self, message: str) -> None:
            self.said.append(message)
            waits.set()

    reading, slow, second = threading.Event(), Slow(), Second()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(prepare, folder, RECIPE, progress=slow)
        assert reading.wait(30)
        assert prepare(folder, RECIPE, progress=second).content == first.result().content
    assert (slow.tasks, second.tasks) == (["Reading images"], [])
    assert "waits for it" in second.said[0]
    assert "in the cache already" in second.said[1]


@pytest.mark.parametrize(
    ("make", "seen"),
    [
        (lambda data: None, "there is no folder"),
        (lambda data: data.mkdir(), "holds no files"),
        (lambda data: data.write_text("words"), "is a file"),
        (lambda data: pictures(data, 3, (".",)), "most files in .* lie directly in it"),
        (lambda data: pictures(data, 3, ("Normal",)), "only one class was found"),
        (lambda data: pictures(data, 2), "class COVID has no images in the (val|test) split"),
        (lambda data: [pictures(data / c, 1, [f"{n:03}" for n in range(12)]) for c in "AB"], "they look like patients"),
        (lambda data: [pictures(data / s, 3) for s in ("train", "here")], "most files|lie one folder deep|lie outside"),
        (lambda data: pictures(data, 5, ("COVID", "Covid")), "differ in upper and lower case alone"),
    ],
)
def test_folders_that_end_it_say_what_was_seen_and_what_to_do(tmp_path, make, seen):
    make(tmp_path / "data")
    with pytest.raises(DataError, match=seen) as error:
        prepare(tmp_path / "data", RECIPE)
    assert error.value.exit_code == 3
    assert re.search(r"\. Expected: .+\. What to do: .+\.$", str(error.value))
    assert "\n" not in str(error.value)


def test_files_without_a_patient_are_split_by_study_and_say_so(phantom_folder, tmp_path):
    """An export that empties every PatientID leaves studies, of which one person may have several."""
    for file in sorted(phantom_folder.rglob("*.dcm")):
        dataset = pydicom.dcmread(file)
        dataset.PatientID = ""
        (tmp_path / "data" / file.parent.name).mkdir(parents=True, exist_ok=True)
        dataset.save_as(tmp_path / "data" / file.parent.name / file.name)
    corpus = prepare(tmp_path / "data", RECIPE)
    studies = {}
    for row in corpus.manifest:
        if row.row >= 0:
            header = pydicom.dcmread(tmp_path / "data" / row.file, stop_before_pixels=True)
            studies.setdefault(str(header.StudyInstanceUID), set()).add(int(corpus.groups[row.row]))
    assert corpus.split_unit == "study"
    assert all(len(groups) == 1 for groups in studies.values())
    assert len(set.union(*studies.values())) == len(studies)
    assert "splits are by study" in corpus.notes[0]
    assert load_corpus(corpus.path).split_unit == "study"


def test_what_was_refused_and_noted_is_said_again_from_the_cache(tmp_path):
    """Whoever opens a corpus that was read before has to know as much of it as whoever read it."""
    for seed, site in enumerate(("north", "south", "west")):
        pictures(tmp_path / "data" / site, 4, seed=seed)
    (tmp_path / "data" / "north" / "COVID" / "empty.png").touch()
    chosen = recipe(prefer_sites=("north", "south"))
    first, again = Heard(), Heard()
    corpus = prepare(tmp_path / "data", chosen, progress=first)
    prepare(tmp_path / "data", chosen, progress=again)
    assert again.tasks == []
    assert any(line.startswith("Not taken: 1 empty, 8 site not chosen.") for line in again.said)
    assert len(corpus.notes) >= 3
    assert set(corpus.notes) <= set(again.said)
    assert first.said[1:] == again.said[1:]


@pytest.mark.parametrize(
    "other",
    [
        {"class_map": {"Abnormal": ("COVID",)}},
        {"folders": "class/site"},
        {"patient_ids": "global"},
        {"several_findings": "priority", "classes": ("COVID", "Normal")},
        {"finding_columns": ("a", "b")},
    ],
)
def test_every_setting_of_the_reading_is_another_entry_of_the_cache(tmp_path, other):
    from medistill.workflow.prepare import _source

    plain, changed = (_source([], [], None, asked.data, asked.seed, None) for asked in (recipe(), recipe(**other)))
    assert plain != changed


def test_patients_numbered_anew_at_each_hospital_may_lie_in_different_splits(tmp_path):
    folder = pictures(tmp_path / "data", 6, ("x",)) / "x"
    rows = [
        {"file": f"{n:03}.png", "label": "AB"[n % 2], "patient": f"{n % 2}", "site": f"s{n // 2}", "split": split}
        for n, split in enumerate(("train", "train", "val", "val", "test", "test"))
    ]
    listed = table(tmp_path / "labels.csv", *rows)
    corpus = prepare(folder, RECIPE, labels=listed)
    assert len(set(corpus.groups.tolist())) == 6
    with pytest.raises(DataError, match="2 patients have images in more than one"):
        prepare(folder, recipe(patient_ids="global"), labels=listed)
