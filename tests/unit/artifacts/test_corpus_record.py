"""The corpus on disk: what is saved is what is loaded, its address follows its content, and damage is refused."""

from __future__ import annotations

import hashlib
import json
import stat
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medistill.artifacts import corpus as record
from medistill.artifacts.corpus import (
    SPLITS,
    TEXT_MASKED,
    Corpus,
    ManifestRow,
    TextCheck,
    load_corpus,
    rows_without_site,
    save_corpus,
    save_without_site,
)
from medistill.errors import ArtifactError, MedistillError
from tests.factories.flat_corpus import save_flat


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
    return save_flat(folder, **{**values, **changes})


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
    "sexes": ["female"] * 6,
    "ages": ["", "", "0 to 17", "", "", ""],
    "class_names": ["COVID", "Other"],
    "site_names": ["north", "south"],
}


@pytest.mark.parametrize("changed", sorted(CHANGES))
def test_the_address_follows_the_content(corpus: Corpus, changed: str) -> None:
    assert _save(corpus.path.parent).path == corpus.path
    other = _save(corpus.path.parent, **{changed: CHANGES[changed]})
    assert other.path != corpus.path
    assert other.path.name == other.content


def test_a_corpus_without_sex_and_age_keeps_the_address_that_it_had_before_there_were_any(corpus: Corpus) -> None:
    assert corpus.content == "b1df5528c5e4ef25da72d37d034a8d69ab4fe0e91def4cd7de9cb319394760fe"
    assert _save(corpus.path.parent, sexes=[""] * 6, ages=[""] * 6).content == corpus.content
    assert corpus.sexes == corpus.ages == ("",) * 6
    assert {"sexes", "ages"}.isdisjoint(json.loads((corpus.path / "index.json").read_text()))


def test_sex_and_age_come_back_and_cannot_be_altered_or_taken_away(tmp_path: Path) -> None:
    sexes, ages = ["female", "male", "", "other", "male", ""], ["0 to 17", "", "", "65 and over", "", "40 to 64"]
    saved = _save(tmp_path, sexes=sexes, ages=ages)
    assert (saved.sexes, saved.ages) == (tuple(sexes), tuple(ages))
    good = (saved.path / "index.json").read_text()
    for change in ({"sexes": sexes[::-1]}, {"ages": [""] * 6}, {"sexes": ...}, {"ages": ...}):
        (saved.path / "index.json").write_text(good)
        _edit(saved.path / "index.json", **change)
        with pytest.raises(ArtifactError, match="is damaged"):
            load_corpus(saved.path)


def test_traits_are_those_of_the_splits_rows_and_leave_out_what_is_not_known(tmp_path: Path) -> None:
    known = _save(
        tmp_path,
        sexes=["female", "", "male", "", "", "male"],
        sites=[0, 1, 2, 0, 1, 1],
        site_names=["north", "not stated", "south"],
    )
    assert known.traits("train") == {
        "site": ("north", "", "south"),
        "view": ("PA", "AP", ""),
        "sex": ("female", "", "male"),
    }
    assert known.traits("val") == {"view": ("PA",)}
    assert known.traits("test") == {"view": ("PA", "PA"), "sex": ("", "male")}
    assert _save(tmp_path, views=[""] * 6).traits("test") == {}


def test_leaving_a_site_out_keeps_its_patients_apart(tmp_path: Path) -> None:
    """Rows 6 to 8: a patient of north imaged in the south, a test image of the south, an image of an unknown site."""
    corpus = _save(
        tmp_path,
        images=np.arange(10 * 64, dtype=np.uint32).astype(np.uint8).reshape(10, 1, 8, 8),
        labels=[0, 0, 1, 1, 0, 1, 0, 1, 0, 0],
        groups=[0, 1, 2, 3, 4, 5, 0, 6, 7, 8],
        sites=[0, 0, 0, 1, 1, 1, 1, 1, 2, 1],
        splits=[0, 1, 2, 0, 0, 1, 0, 2, 0, 1],
        views=["PA", "AP", "", "PA", "PA", "PA", "AP", "AP", "AP", "AP"],
        sexes=["male"] * 5 + ["female"] * 5,
        site_names=["north", "south", "not stated"],
        manifest=[ManifestRow("broken", -1, "empty", "it is"), *(ManifestRow(f"{k}.dcm", k) for k in range(10))],
    )
    assert [part.tolist() for part in rows_without_site(corpus, "north")] == [
        [0, 1, 2, 3, 4, 5, 9],
        [2, 2, 2, 0, 0, 1, 1],
    ]
    without = save_without_site(tmp_path, corpus, "north", ["COVID", "Normal"])
    assert without.content != corpus.content
    assert without.path.parent == corpus.path.parent
    assert {split: without.rows(split).tolist() for split in SPLITS} == {
        "train": [3, 4],
        "val": [5, 6],
        "test": [0, 1, 2],
    }
    np.testing.assert_array_equal(without.images, corpus.images[[0, 1, 2, 3, 4, 5, 9]])
    assert without.labels.tolist() == [0, 0, 1, 1, 0, 1, 0]
    assert without.groups.tolist() == [0, 1, 2, 3, 4, 5, 8]
    assert without.sexes == ("male",) * 5 + ("female",) * 2
    assert set(without.groups[without.rows("test")]).isdisjoint(without.groups[without.splits != 2])
    assert (without.found, without.refused) == (11, {"empty": 1, "left out with a site": 3})
    assert [row.row for row in without.manifest] == [-1, 0, 1, 2, 3, 4, 5, -1, -1, -1, 6]
    assert "north is the test split" in without.notes[-1]


def test_a_corpus_is_the_same_however_many_of_its_images_are_read_at_once(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = np.array([4, 0, 3])
    columns = corpus.columns.of_rows(taken.tolist())
    whole = save_corpus(tmp_path / "whole", corpus.images[taken], columns, corpus.facts, [])
    monkeypatch.setattr(record, "PIECE", 2)
    parts = save_corpus(tmp_path / "parts", corpus.images, columns, corpus.facts, [], taken)
    assert parts.content == whole.content
    assert parts.pixels == hashlib.sha256(np.ascontiguousarray(corpus.images[taken]).tobytes()).hexdigest()
    assert (parts.path / "images.npy").read_bytes() == (whole.path / "images.npy").read_bytes()


def test_leaving_a_site_out_may_leave_out_classes_too(corpus: Corpus) -> None:
    """The corpus has no COVID at a site but the first one with a split to learn from."""
    without = save_without_site(corpus.path.parent, corpus, "süd", ["Normal"])
    assert without.class_names == ("Normal",)
    assert without.labels.tolist() == [0] * 3
    assert without.splits.tolist() == [0, 2, 2]
    np.testing.assert_array_equal(without.images, corpus.images[[2, 3, 5]])


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


def test_how_text_was_looked_for_comes_back_and_belongs_to_the_address(corpus: Corpus) -> None:
    check = TextCheck(by="a reader 1.0", policy="mask")
    rows = [
        ManifestRow("a.dcm", 0, TEXT_MASKED, "text was masked in 2 places"),
        *(ManifestRow(f"{k}.dcm", k) for k in range(1, 6)),
    ]
    checked = _save(corpus.path.parent, text_check=check, manifest=rows)
    assert (checked.text_check, checked.text_masked) == (check, 1)
    assert checked.manifest == rows
    assert (corpus.text_check, corpus.text_masked) == (None, 0)
    assert checked.content != corpus.content
    without = save_without_site(corpus.path.parent, checked, "süd", ["COVID", "Normal"])
    assert (without.text_check, without.text_masked) == (check, 1)
    newer = _save(corpus.path.parent, text_check=TextCheck(by="a reader 2.0", policy="mask"), manifest=rows)
    assert newer.content == checked.content, "the same pixels, whichever version looked: a run goes on with them"
    _edit(checked.path / "index.json", text_check={"by": "a reader 1.0", "policy": "quarantine"})
    with pytest.raises(ArtifactError):
        load_corpus(checked.path)
