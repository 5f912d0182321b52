"""The corpus on disk: what is saved is what is loaded, its address follows its content, and damage is refused."""

from __future__ import annotations

import json
import stat
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medistill.artifacts.corpus import SPLITS, Corpus, ManifestRow, load_corpus, save_corpus
from medistill.errors import ArtifactError, MedistillError


def _save(folder: Path, **changes: Any) -> Corpus:
    rng = np.random.default_rng(0)
    values: dict[str, Any] = {
        "images": rng.integers(0, 256, (6, 1, 8, 8)).astype(np.uint8),
        "labels": [0, 0, 1, 1, 0, 1],
        "groups": [0, 1, 2, 3, 4, 4],
        "sites": [0, 0, 0, 1, 1, 1],
        "splits": [0, 0, 0, 1, 2, 2],
        "views": ["PA", "AP", "", "PA", "PA", "PA"],
        "class_names": ["COVID", "Normal"],
        "site_names": ["north", "süd"],
        "split_unit": "patient",
        "split_source": "drawn",
        "synthetic": True,
        "notes": ["a note"],
        "manifest": [
            *(ManifestRow(f"folder/{k}, first.dcm", k) for k in range(6)),
            ManifestRow('odd "name"\nbroken.dcm', -1, "truncated", "pixels end early, after 7 of 64"),
            ManifestRow("b.dcm", -1, "truncated", "empty"),
            ManifestRow("c.dcm", -1, "lateral view", "LL"),
        ],
    }
    return save_corpus(folder, **{**values, **changes})


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return _save(tmp_path)


def test_everything_comes_back(corpus: Corpus) -> None:
    loaded = load_corpus(corpus.path)
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(loaded.images, rng.integers(0, 256, (6, 1, 8, 8)))
    assert isinstance(loaded.images, np.memmap)
    assert not loaded.images.flags.writeable
    assert loaded.labels.dtype == loaded.groups.dtype == loaded.sites.dtype == loaded.splits.dtype == np.int64
    assert loaded.labels.tolist() == [0, 0, 1, 1, 0, 1]
    assert loaded.groups.tolist() == [0, 1, 2, 3, 4, 4]
    assert loaded.views == ("PA", "AP", "", "PA", "PA", "PA")
    assert (loaded.class_names, loaded.site_names) == (("COVID", "Normal"), ("north", "süd"))
    assert (loaded.split_unit, loaded.split_source, loaded.synthetic) == ("patient", "drawn", True)
    assert (loaded.found, loaded.refused) == (9, {"lateral view": 1, "truncated": 2})
    assert loaded.notes == ("a note",)


def test_the_manifest_keeps_odd_file_names(corpus: Corpus) -> None:
    rows = load_corpus(corpus.path).manifest
    assert rows[0] == ManifestRow("folder/0, first.dcm", 0)
    assert rows[6] == ManifestRow('odd "name"\nbroken.dcm', -1, "truncated", "pixels end early, after 7 of 64")
    assert len(rows) == 9


def test_rows_and_counts_agree(corpus: Corpus) -> None:
    assert {split: corpus.rows(split).tolist() for split in SPLITS} == {"train": [0, 1, 2], "val": [3], "test": [4, 5]}
    assert corpus.counts() == {
        "train": {"COVID": 2, "Normal": 1},
        "val": {"COVID": 0, "Normal": 1},
        "test": {"COVID": 1, "Normal": 1},
    }


def test_only_the_owner_may_look(corpus: Corpus) -> None:
    assert stat.S_IMODE(corpus.path.stat().st_mode) == 0o700
    assert stat.S_IMODE(corpus.path.parent.stat().st_mode) == 0o700
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in corpus.path.iterdir()}
    assert modes == {"images.npy": 0o600, "index.json": 0o600, "manifest.csv": 0o600}


CHANGES: dict[str, Any] = {
    "images": np.zeros((6, 1, 8, 8), np.uint8),
    "labels": [1, 0, 1, 1, 0, 1],
    "groups": [0, 1, 2, 3, 4, 5],
    "sites": [1, 0, 0, 1, 1, 1],
    "splits": [1, 0, 0, 1, 2, 2],
    "views": ["AP"] * 6,
    "class_names": ["COVID", "Other"],
    "site_names": ["north", "south"],
}


@pytest.mark.parametrize("changed", sorted(CHANGES))
def test_the_address_follows_the_content(corpus: Corpus, changed: str) -> None:
    assert _save(corpus.path.parent).path == corpus.path
    other = _save(corpus.path.parent, **{changed: CHANGES[changed]})
    assert other.path != corpus.path
    assert other.path.name == other.content


def test_the_same_bytes_in_another_shape_have_another_address(corpus: Corpus) -> None:
    assert _save(corpus.path.parent, images=np.array(corpus.images).reshape(6, 1, 4, 16)).content != corpus.content


def test_images_that_are_not_contiguous_are_the_same_images(corpus: Corpus) -> None:
    turned = np.asfortranarray(np.array(corpus.images))
    again = _save(corpus.path.parent / "other", images=turned)
    assert again.content == corpus.content
    np.testing.assert_array_equal(again.images, corpus.images)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_consistent_corpus_comes_back(data: st.DataObject) -> None:
    count, channels = data.draw(st.integers(1, 5)), data.draw(st.sampled_from([1, 3]))

    def numbers(top: int) -> list[int]:
        return data.draw(st.lists(st.integers(0, top), min_size=count, max_size=count))

    pixels = data.draw(st.binary(min_size=count * channels * 4, max_size=count * channels * 4))
    names = data.draw(st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=3, unique=True))
    given_values: dict[str, Any] = {
        "images": np.frombuffer(pixels, np.uint8).reshape(count, channels, 2, 2),
        "labels": numbers(len(names) - 1),
        "groups": numbers(9),
        "sites": [0] * count,
        "splits": numbers(2),
        "views": data.draw(st.lists(st.text(max_size=3), min_size=count, max_size=count)),
        "class_names": names,
        "site_names": ["one"],
    }
    with tempfile.TemporaryDirectory() as folder:
        loaded = load_corpus(_save(Path(folder), **given_values).path)
        for name, value in given_values.items():
            np.testing.assert_array_equal(np.array(getattr(loaded, name)), np.array(value))


def _edit(path: Path, **changes: Any) -> None:
    index = json.loads(path.read_text())
    index.update(changes)
    path.write_text(json.dumps({key: value for key, value in index.items() if value is not ...}))


@pytest.mark.parametrize(
    "change",
    [
        {"labels": [0, 0, 1, 1, 0, 7]},
        {"labels": [0, 0, 1, 1, 0, 0]},
        {"labels": [0, 0, 1]},
        {"labels": None},
        {"labels": [10**30] * 6},
        {"labels": ["x"] * 6},
        {"splits": [0, 0, 0, 1, 2, 0]},
        {"groups": [0, 1, 2, 3, 4, 5]},
        {"views": ["PA"]},
        {"class_names": ["Normal", "COVID"]},
        {"class_names": ...},
        {"notes": ...},
        {"refused": 3},
        {"content": "0" * 64},
    ],
    ids=str,
)
def test_an_altered_index_is_refused(corpus: Corpus, change: dict[str, Any]) -> None:
    _edit(corpus.path / "index.json", **change)
    with pytest.raises(ArtifactError, match=r"is damaged .*medistill purge"):
        load_corpus(corpus.path)


def test_another_schema_is_refused(corpus: Corpus) -> None:
    _edit(corpus.path / "index.json", schema=99)
    with pytest.raises(ArtifactError, match=r"has schema 99.*Expected: schema \d+.*medistill purge"):
        load_corpus(corpus.path)


@pytest.mark.parametrize("kept", [0, 5, 60, 130, -1])
def test_truncated_pixels_are_refused(corpus: Corpus, kept: int) -> None:
    file = corpus.path / "images.npy"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(ArtifactError, match="is damaged"):
        load_corpus(corpus.path)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((5, 1, 8, 8), np.uint8),
        np.zeros((6, 8, 8), np.uint8),
        np.zeros((6, 1, 8, 8), np.float32),
        np.zeros((6, 1, 16, 4), np.uint8),
        np.array([{"a": "pickled object"}] * 6, dtype=object),
    ],
    ids=["count", "dimensions", "type", "shape", "pickle"],
)
def test_foreign_pixels_are_refused(corpus: Corpus, images: np.ndarray) -> None:
    np.save(corpus.path / "images.npy", images, allow_pickle=True)
    with pytest.raises(ArtifactError, match="is damaged"):
        load_corpus(corpus.path)


@pytest.mark.parametrize("name", ["index.json", "images.npy"])
def test_a_missing_file_is_refused(corpus: Corpus, name: str) -> None:
    (corpus.path / name).unlink()
    with pytest.raises(ArtifactError, match=name):
        load_corpus(corpus.path)


def test_a_folder_without_its_index_is_no_corpus_and_can_be_written_again(corpus: Corpus) -> None:
    (corpus.path / "index.json").unlink()
    (corpus.path / "images.npy").write_bytes(b"half")
    assert load_corpus(_save(corpus.path.parent).path).content == corpus.content


def test_a_flipped_bit_anywhere_in_the_index_is_refused_or_harms_no_array(corpus: Corpus) -> None:
    good = (corpus.path / "index.json").read_bytes()
    rng = np.random.default_rng(1)
    for place in rng.choice(len(good), 150, replace=False):
        bad = bytearray(good)
        bad[place] ^= 1 << int(rng.integers(8))
        (corpus.path / "index.json").write_bytes(bad)
        try:
            found = load_corpus(corpus.path)
        except MedistillError:
            continue
        for name in ("images", "labels", "groups", "sites", "splits"):
            np.testing.assert_array_equal(getattr(found, name), getattr(corpus, name))
        assert (found.views, found.class_names) == (corpus.views, corpus.class_names)
