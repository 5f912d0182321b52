"""The distilled set: what is shared is what was made, and nothing else is accepted."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from medistill.artifacts.atomic import read_tensors, sha256_file, write_tensors
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.normalisation import Normalisation
from medistill.artifacts.provenance import Provenance
from medistill.artifacts.set_folder import SET_SCHEMA
from medistill.artifacts.set_problem import LIMIT
from medistill.errors import ArtifactError, UsageError
from medistill.visible import steers

SOFT = np.array([[0.75, 0.25], [1.0, 0.0], [0.125, 0.875], [0.5, 0.5]], np.float32)

VALUES = np.array([[1.5, -1.25], [-3.0, 0.0], [0.125, 40.0], [0.5, 0.75]], np.float32)


def _set(**changes: Any) -> DistilledSet:
    rng = np.random.default_rng(0)
    values: dict[str, Any] = {
        "images": rng.standard_normal((4, 1, 8, 8)).astype(np.float32),
        "labels": np.array([0, 0, 1, 1]),
        "weights": np.ones(4, np.float32),
        "stage": np.zeros(4, np.int64),
        "student_lr": 0.0123,
        "normalisation": Normalisation((0.4,), (0.2,)),
        "class_names": ("COVID", "Normal"),
        "provenance": {"method": "IADD", "counts": {"train": 10}, "list": [1, 2.5, None, "ü"]},
    }
    return DistilledSet(**{**values, **changes})


def test_the_first_images_of_each_class_are_a_set() -> None:
    labels = np.array([1, 0, 0, 1, 1, 0, 2])
    weights = np.array([1, 2, 1, 0.5, 1.5, 0.5, 0.5], np.float32)
    images = np.arange(7, dtype=np.float32)[:, None, None, None] * np.ones((1, 1, 8, 8), np.float32)
    soft = np.eye(3, dtype=np.float32)[labels]
    whole = _set(
        images=images, labels=labels, weights=weights, stage=np.arange(7), soft_labels=soft, class_names=("a", "b", "c")
    )
    for ipc in (1, 2, 3):
        seen, rows = {0: 0, 1: 0, 2: 0}, []
        for row, label in enumerate(labels.tolist()):
            seen[label] += 1
            if seen[label] <= ipc:
                rows.append(row)
        part = whole.first(ipc)
        assert part.images[:, 0, 0, 0].tolist() == part.stage.tolist() == rows
        assert part.labels.tolist() == labels[rows].tolist()
        assert part.cut_to == (ipc if ipc < 3 else None)
        assert part.soft_labels is not None
        assert np.array_equal(part.soft_labels, soft[rows])
        np.testing.assert_allclose(part.weights, weights[rows] * len(rows) / weights[rows].sum(), rtol=1e-6)
        assert (part.student_lr, part.normalisation, part.provenance) == (
            whole.student_lr,
            whole.normalisation,
            whole.provenance,
        )


@pytest.mark.parametrize("ipc", [0, -1, 3])
def test_more_images_of_a_class_than_there_are_cannot_be_taken(ipc: int) -> None:
    with pytest.raises(UsageError, match=rf"the first {ipc} images of each class, of a set with 2\. Expected: 1 to 2"):
        _set().first(ipc)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    _set().save(tmp_path / "set")
    return tmp_path / "set"


def _edit(folder: Path, **changes: Any) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest.update(changes)
    manifest = {key: value for key, value in manifest.items() if value is not ...}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def _forge(folder: Path, **tensors: np.ndarray | None) -> None:
    """Change tensors and the hash with them, as a hostile or a careless sender might."""
    path = folder / "images.safetensors"
    found, _ = read_tensors(path, "test")
    found.update(tensors)
    write_tensors(path, {name: value for name, value in found.items() if value is not None})
    _edit(folder, files={"images.safetensors": sha256_file(path)})


def test_everything_comes_back_to_the_bit(folder: Path) -> None:
    made = _set()
    for place in (folder, str(folder), folder.parent):
        loaded = DistilledSet.load(place)
        for name in ("images", "labels", "weights", "stage"):
            np.testing.assert_array_equal(getattr(loaded, name), getattr(made, name))
            assert getattr(loaded, name).dtype == getattr(made, name).dtype
        assert loaded.student_lr == made.student_lr
        assert loaded.normalisation == made.normalisation
        assert loaded.class_names == made.class_names
        assert loaded.provenance == made.provenance
        assert loaded.ipc == 2


def test_soft_labels_come_back_to_the_bit(tmp_path: Path) -> None:
    made = _set(soft_labels=SOFT, stage=np.array([0, 1, 0, 1]))
    made.save(tmp_path)
    loaded = DistilledSet.load(tmp_path)
    assert loaded.soft_labels is not None
    assert loaded.soft_labels.dtype == np.float32
    np.testing.assert_array_equal(loaded.soft_labels, SOFT)
    np.testing.assert_array_equal(loaded.stage, [0, 1, 0, 1])
    np.testing.assert_array_equal(loaded.labels, [0, 0, 1, 1])


def test_label_values_come_back_to_the_bit_and_are_no_probabilities(tmp_path: Path) -> None:
    made = _set(soft_labels=VALUES, label_kind="values")
    assert (made.by_values, _set(soft_labels=SOFT).by_values, _set(label_kind="values").by_values) == (
        True,
        False,
        False,
    )
    made.save(tmp_path)
    loaded = DistilledSet.load(tmp_path)
    assert loaded.by_values
    assert loaded.soft_labels is not None
    np.testing.assert_array_equal(loaded.soft_labels, VALUES)
    assert "soft_labels" not in read_tensors(tmp_path / "images.safetensors", "test")[0]
    assert loaded.first(1).by_values
    assert made.training_bytes() != replace(made, soft_labels=SOFT, label_kind="probabilities").training_bytes()
    assert (
        replace(made, soft_labels=SOFT).training_bytes()
        != replace(made, soft_labels=SOFT, label_kind="probabilities").training_bytes()
    )


def test_a_former_version_would_refuse_label_values(tmp_path: Path) -> None:
    """It would train on the classes in their place; so the schema is another, and one that says less is refused."""
    _set(soft_labels=VALUES, label_kind="values").save(tmp_path)
    assert json.loads((tmp_path / "manifest.json").read_text())["schema"] == 3
    _edit(tmp_path, schema=SET_SCHEMA)
    with pytest.raises(ArtifactError, match=r"it has label values, and its schema is not 3"):
        DistilledSet.load(tmp_path)


def test_a_set_has_one_kind_of_labels() -> None:
    tensors = _set(soft_labels=VALUES, label_kind="values").tensors()
    with pytest.raises(ArtifactError, match="both soft_labels and label_values"):
        DistilledSet.of_tensors({**tensors, "soft_labels": SOFT}, ("COVID", "Normal"), Provenance())


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -1001.0])
def test_label_values_are_finite_and_bounded(wrong: float) -> None:
    values = VALUES.copy()
    values[2, 1] = wrong
    with pytest.raises(ArtifactError, match=r"a label value is not finite, or beyond 1000"):
        _set(soft_labels=values, label_kind="values")
    with pytest.raises(ArtifactError, match=r"soft labels are float32 \(4, 1\)"):
        _set(soft_labels=VALUES[:, :1], label_kind="values")


TARGETS = np.random.default_rng(6).normal(size=(4, 7)).astype(np.float32)


def test_target_vectors_come_back_to_the_bit_and_are_of_no_class(tmp_path: Path) -> None:
    made = _set(soft_labels=TARGETS, label_kind="targets")
    assert (made.by_targets, made.by_values, _set(label_kind="targets").by_targets) == (True, False, False)
    made.save(tmp_path)
    loaded = DistilledSet.load(tmp_path)
    assert loaded.by_targets
    assert loaded.soft_labels is not None
    np.testing.assert_array_equal(loaded.soft_labels, TARGETS)
    np.testing.assert_array_equal(loaded.labels, [0, 0, 1, 1])
    stored = read_tensors(tmp_path / "images.safetensors", "test")[0]
    assert "targets" in stored
    assert not {"soft_labels", "label_values"} & stored.keys()
    assert loaded.first(1).soft_labels is not None
    np.testing.assert_array_equal(loaded.first(1).soft_labels, TARGETS[[0, 2]])
    assert made.as_dataset()[1][1].tolist() == TARGETS[1].tolist()
    hard = replace(made, soft_labels=None)
    two = [replace(hard, soft_labels=VALUES, label_kind=kind).training_bytes() for kind in ("values", "targets")]
    assert len({made.training_bytes(), hard.training_bytes(), *two}) == 4


def test_a_former_version_would_refuse_target_vectors(tmp_path: Path) -> None:
    """It would train on the classes in their place."""
    _set(soft_labels=TARGETS, label_kind="targets").save(tmp_path)
    assert json.loads((tmp_path / "manifest.json").read_text())["schema"] == 4
    for former in (2, 3):
        _edit(tmp_path, schema=former)
        with pytest.raises(ArtifactError, match=r"it has targets, and its schema is not 4"):
            DistilledSet.load(tmp_path)
    tensors = _set(soft_labels=TARGETS, label_kind="targets").tensors()
    for name, other in (("soft_labels", SOFT), ("label_values", VALUES)):
        with pytest.raises(ArtifactError, match=f"both {name} and targets"):
            DistilledSet.of_tensors({**tensors, name: other}, ("COVID", "Normal"), Provenance())


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (np.full((4, 7), np.nan, np.float32), "a number of a target vector is not finite"),
        (np.full((4, 7), -np.inf, np.float32), "a number of a target vector is not finite"),
        (np.full((4, 7), 1001, np.float32), "beyond 1000"),
        (np.zeros((3, 7), np.float32), r"target vectors are float32 \(3, 7\), not float32 \(4, width\)"),
        (np.zeros((4, 0), np.float32), r"target vectors are float32 \(4, 0\)"),
        (np.zeros((4, 7, 1), np.float32), r"target vectors are float32 \(4, 7, 1\)"),
        (np.zeros(4, np.float32), r"target vectors are float32 \(4,\)"),
        (np.zeros((4, 7)), r"target vectors are float64 \(4, 7\)"),
        (np.zeros((4, 16_385), np.float32), "target vectors have 16385 numbers each, and 16384 are the most"),
    ],
)
def test_target_vectors_from_elsewhere_are_finite_and_bounded(wrong: np.ndarray, said: str) -> None:
    tensors = {**_set().tensors(), "targets": wrong}
    with pytest.raises(ArtifactError, match=said):
        DistilledSet.of_tensors(tensors, ("COVID", "Normal"), Provenance())


def test_a_set_of_the_first_schema_is_read_and_has_no_soft_labels(folder: Path) -> None:
    assert json.loads((folder / "manifest.json").read_text())["schema"] == SET_SCHEMA
    _edit(folder, schema=1)
    assert DistilledSet.load(folder).soft_labels is None
    assert "soft_labels" not in read_tensors(folder / "images.safetensors", "test")[0]


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_valid_set_comes_back(data: st.DataObject) -> None:
    count, channels, side = (
        data.draw(st.integers(1, 4)),
        data.draw(st.sampled_from([1, 3])),
        data.draw(st.integers(1, 3)),
    )
    reach = st.floats(-LIMIT, LIMIT, width=32)
    share = st.floats(0.01, 1)
    classes = data.draw(
        st.lists(
            st.text(min_size=1, max_size=6).filter(lambda name: not steers(name)), min_size=1, max_size=3, unique=True
        )
    )
    made = DistilledSet(
        images=data.draw(hnp.arrays(np.float32, (count, channels, side, side), elements=reach)),
        labels=data.draw(hnp.arrays(np.int64, count, elements=st.integers(0, len(classes) - 1))),
        weights=data.draw(hnp.arrays(np.float32, count, elements=st.floats(0, 100, width=32))),
        stage=data.draw(hnp.arrays(np.int64, count, elements=st.integers(0, 5))),
        student_lr=data.draw(st.floats(1e-9, 1e3)),
        normalisation=Normalisation(
            tuple(data.draw(st.lists(share, min_size=channels, max_size=channels))),
            tuple(data.draw(st.lists(share, min_size=channels, max_size=channels))),
        ),
        class_names=tuple(classes),
        provenance={"seed": data.draw(st.integers())},
    )
    with tempfile.TemporaryDirectory() as place:
        made.save(Path(place))
        loaded = DistilledSet.load(place)
    for name in ("images", "labels", "weights", "stage"):
        assert getattr(loaded, name).tobytes() == getattr(made, name).tobytes()
    assert (loaded.student_lr, loaded.normalisation) == (made.student_lr, made.normalisation)
    assert (loaded.class_names, loaded.provenance) == (made.class_names, made.provenance)


def test_the_manifest_says_what_lies_beside_it(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["shape"] == [4, 1, 8, 8]
    assert manifest["ipc"] == 2
    assert sorted(manifest["files"]) == ["contact_sheet.png", "images.safetensors"]
    assert sorted(entry.name for entry in folder.iterdir()) == sorted([*manifest["files"], "manifest.json"])


def test_the_viewable_images_are_grey_values_a_person_can_see(folder: Path) -> None:
    tensors, _ = read_tensors(folder / "images.safetensors", "test")
    grey = np.clip(np.round((tensors["images"].astype(np.float64) * 0.2 + 0.4) * 255), 0, 255)
    assert tensors["viewable"].dtype == np.uint8
    assert np.abs(tensors["viewable"] - grey).max() <= 1
    with Image.open(folder / "contact_sheet.png") as sheet:
        assert sheet.width > 2 * 96


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"images": np.zeros((4, 8, 8), np.float32)}, "not float32"),
        ({"images": np.zeros((4, 1, 8, 8), np.float64)}, "not float32"),
        ({"images": np.zeros((0, 1, 8, 8), np.float32)}, "not float32"),
        ({"images": np.zeros((4, 1, 0, 8), np.float32)}, "not float32"),
        ({"images": np.full((4, 1, 8, 8), np.nan, np.float32)}, "NaN"),
        ({"images": np.full((4, 1, 8, 8), -np.inf, np.float32)}, "infinite"),
        ({"images": np.full((4, 1, 8, 8), 2 * LIMIT, np.float32)}, "standard deviations"),
        ({"labels": np.array([0, 1])}, "one entry an image"),
        ({"labels": np.zeros((4, 1), np.int64)}, "one entry an image"),
        ({"labels": np.array([0, 0, 1, 2])}, "label lies outside"),
        ({"labels": np.array([0, 0, 1, -1])}, "label lies outside"),
        ({"labels": np.array([0.0, 0.5, 1.0, np.nan])}, "int64"),
        ({"weights": np.array([1, 1, 1, np.nan], np.float32)}, "NaN"),
        ({"weights": np.array([1, 1, 1, -1], np.float32)}, "negative"),
        ({"weights": np.ones(4)}, "not float32"),
        ({"class_names": ("COVID", "COVID")}, "same name"),
        ({"class_names": ("COVID", 2)}, "not text"),
        ({"class_names": ("COVID", "\x1b]0;mine\x07Normal")}, "control character"),
        ({"class_names": ("COVID", "\u202elamroN")}, "control character"),
        ({"class_names": ("COVID", "N" * 201)}, "200 characters"),
        ({"class_names": tuple(map(str, range(10_001)))}, "10001 classes"),
        ({"weights": np.ones(3, np.float32)}, "one entry an image"),
        ({"stage": np.array([0, 0, 0, -1])}, "negative"),
        ({"stage": np.array([0, 0, 0, 0.5])}, "int64"),
        ({"student_lr": float("nan")}, "learning rate"),
        ({"student_lr": float("inf")}, "learning rate"),
        ({"student_lr": 0.0}, "learning rate"),
        ({"student_lr": -1.0}, "learning rate"),
        ({"normalisation": Normalisation((0.4, 0.4), (0.2, 0.2))}, "normalisation"),
        ({"normalisation": Normalisation((0.4,), (0.2, 0.2))}, "normalisation"),
        ({"normalisation": Normalisation((0.4,), ())}, "normalisation"),
        ({"normalisation": Normalisation((0.4,), (0.0,))}, "normalisation"),
        ({"normalisation": Normalisation((0.4,), (float("nan"),))}, "normalisation"),
        ({"normalisation": Normalisation((float("inf"),), (0.2,))}, "normalisation"),
        ({"soft_labels": SOFT.astype(np.float64)}, "soft labels are float64"),
        ({"soft_labels": SOFT[:3]}, "not float32"),
        ({"soft_labels": np.ones((4, 1), np.float32)}, "not float32"),
        ({"soft_labels": SOFT * np.float32(1.01)}, "not a probability distribution"),
        ({"soft_labels": np.array([[1.5, -0.5]] * 4, np.float32)}, "not a probability distribution"),
        ({"soft_labels": np.array([[np.nan, 1]] * 4, np.float32)}, "not a probability distribution"),
    ],
)
def test_an_inconsistent_set_cannot_be_made(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ArtifactError, match=said):
        _set(**change)


@pytest.mark.parametrize(
    "tensors",
    [
        {"images": np.full((4, 1, 8, 8), np.nan, np.float32)},
        {"images": np.zeros((3, 1, 8, 8), np.float32)},
        {"images": np.zeros((4, 1, 9, 9), np.float32)},
        {"images": np.zeros((4, 1, 8, 8), np.float16)},
        {"images": None},
        {"labels": np.array([0, 0, 1, 9])},
        {"labels": np.array([0, 0, 1, 1], np.uint8)},
        {"weights": None},
        {"student_lr": np.zeros(0)},
        {"student_lr": np.array([np.inf])},
        {"std": np.array([-0.2])},
        {"mean": np.array([np.nan])},
        {"mean": np.array([[0.4]])},
        {"soft_labels": SOFT[::-1, :1].copy()},
        {"soft_labels": 2 * SOFT},
        {"soft_labels": np.zeros((4, 2), np.int64)},
    ],
    ids=lambda tensors: ", ".join(f"{k} {None if v is None else f'{v.dtype}{v.shape}'}" for k, v in tensors.items()),
)
def test_a_forged_set_whose_hash_fits_is_refused_by_its_content(folder: Path, tensors: dict[str, Any]) -> None:
    _forge(folder, **tensors)
    with pytest.raises(ArtifactError) as caught:
        DistilledSet.load(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("name", ["images.safetensors", "contact_sheet.png"])
def test_any_altered_byte_is_refused(folder: Path, name: str) -> None:
    path = folder / name
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.choice(len(good), 60, replace=False):
        bad = bytearray(good)
        bad[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(bad)
        with pytest.raises(ArtifactError, match="its SHA-256 is not the one in manifest"):
            DistilledSet.load(folder)
    for kept in (0, 1, len(good) // 2, -1):
        path.write_bytes(good[:kept])
        with pytest.raises(ArtifactError, match="SHA-256"):
            DistilledSet.load(folder)
    path.write_bytes(good)
    DistilledSet.load(folder)


@pytest.mark.parametrize("name", ["images.safetensors", "contact_sheet.png", "manifest.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=name.replace(".", r"\.")):
        DistilledSet.load(folder)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "..", ".", "", "a/../secret", "sub/file", "x\0y"])
def test_a_manifest_cannot_point_elsewhere(folder: Path, name: str) -> None:
    (folder.parent / "secret").write_text("elsewhere")
    (folder / "sub").mkdir()
    (folder / "sub" / "file").write_text("below")
    files = json.loads((folder / "manifest.json").read_text())["files"]
    _edit(folder, files={**files, name: sha256_file(folder.parent / "secret")})
    with pytest.raises(ArtifactError, match="not a file beside it"):
        DistilledSet.load(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 99},
        {"schema": ...},
        {"files": ...},
        {"files": {}},
        {"files": ["images.safetensors"]},
        {"files": {"images.safetensors": None}},
        {"class_names": ...},
        {"class_names": 3},
        {"class_names": ["COVID"]},
        {"class_names": "ab"},
        {"class_names": [1, 2]},
        {"class_names": ["COVID", "COVID"]},
        {"provenance": ...},
        {"provenance": [1]},
    ],
    ids=str,
)
def test_a_manifest_that_does_not_fit_is_refused(folder: Path, change: dict[str, Any]) -> None:
    _edit(folder, **change)
    with pytest.raises(ArtifactError) as caught:
        DistilledSet.load(folder)
    assert str(folder) in str(caught.value)


def test_a_set_saved_over_an_older_one_is_the_new_one(folder: Path) -> None:
    newer = replace(_set(), student_lr=0.5, class_names=("a", "b"))
    newer.save(folder)
    assert DistilledSet.load(folder).class_names == ("a", "b")


KILLED = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
from medistill.artifacts import distilled_set
from medistill.artifacts.distilled_set import DistilledSet

def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

old = DistilledSet.load(sys.argv[1])
distilled_set.contact_sheet = kill
replace(old, images=old.images + 1).save(Path(sys.argv[1]))
"""


def test_a_kill_between_the_files_leaves_nothing_that_passes_for_a_set(folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder)], check=False)
    assert done.returncode == -signal.SIGKILL
    with pytest.raises(ArtifactError, match="SHA-256"):
        DistilledSet.load(folder)
    _set().save(folder)
    DistilledSet.load(folder)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ArtifactError, match="could not be written"):
        _set().save(tmp_path / "file" / "set")
