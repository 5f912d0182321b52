"""The chain of states and the record of a making: what is changed without the key is noticed."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medistill.artifacts.making import FILE, Chain, Making, array_digest, load_making, making
from medistill.errors import ArtifactError
from tests.factories.sent_bundle import small_set

KEY, OTHER = b"k" * 32, b"o" * 32
ORIGIN = {"corpus": "c" * 64, "recipe_digest": "d" * 64, "seed": 7, "experts": "", "start": ""}


def record() -> Making:
    return making(Chain.start(KEY, ORIGIN).linked("a" * 64), ORIGIN, small_set())


def test_a_chain_is_taken_up_where_it_was_left() -> None:
    start = Chain.start(KEY, ORIGIN)
    first = start.linked("a")
    second = first.linked("b")
    assert start.resumed(second.as_text(first), "b") == second
    assert start.resumed(first.as_text(start), "a") == first
    assert second.links == 2
    assert second.whole


def test_another_state_another_run_and_another_order_are_refused() -> None:
    start = Chain.start(KEY, ORIGIN)
    first = start.linked("a")
    text = first.as_text(start)
    assert start.resumed(text, "edited") is None
    assert Chain.start(KEY, {**ORIGIN, "seed": 8}).resumed(text, "a") is None
    assert Chain.start(KEY, {**ORIGIN, "start": "f" * 64}).resumed(text, "a") is None
    for name, value in (("links", 2), ("whole", False), ("before", "0" * 64), ("head", "0" * 64)):
        assert start.resumed(json.dumps({**json.loads(text), name: value}), "a") is None
    assert start.resumed("[1]", "a") is None


@pytest.mark.parametrize("text", [None, "{}", '{"key": "of another"}'])
def test_a_state_of_an_earlier_version_or_elsewhere_leaves_a_gap_that_stays(text: str | None) -> None:
    start = Chain.start(KEY, ORIGIN)
    resumed = start.resumed(text, "a")
    assert resumed is not None
    assert not resumed.whole
    later = resumed.linked("b")
    again = start.resumed(later.as_text(resumed), "b")
    assert again == later
    assert not making(later, ORIGIN, small_set()).whole


def test_a_record_is_private_and_reads_back(tmp_path: Path) -> None:
    known = record()
    known.save(tmp_path)
    assert load_making(tmp_path) == known
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert known.sealed_by(KEY)
    assert known.is_of(small_set())
    assert load_making(tmp_path / "nothing") is None


def test_no_key_or_another_one_seals_nothing() -> None:
    assert not record().sealed_by(None)
    assert not record().sealed_by(OTHER)
    assert not record().sealed(OTHER).sealed_by(KEY)


@pytest.mark.parametrize("name", ["corpus", "recipe_digest", "start", "head", "set_digest", "provenance", "key"])
def test_no_part_of_a_record_can_be_changed(name: str) -> None:
    assert not record().replaced(**{name: "0" * 64}).sealed_by(KEY)
    assert not record().replaced(whole=False).sealed_by(KEY)


def test_a_set_whose_images_or_words_differ_is_another_one() -> None:
    known, made = record(), small_set()
    images = made.images.copy()
    images[0, 0, 0, 0] = np.nextafter(images[0, 0, 0, 0], np.float32(9))
    assert not known.is_of(replace(made, images=images))
    assert not known.is_of(replace(made, provenance={**made.provenance.as_json(), "starts_from": "noise"}))
    assert not known.is_of(replace(made, class_names=("Pneumonia", "Normal")))


def test_a_damaged_record_is_refused(tmp_path: Path) -> None:
    record().save(tmp_path)
    stored = json.loads((tmp_path / FILE).read_text())
    for change in ({"schema": 9}, {"links": "many"}):
        (tmp_path / FILE).write_text(json.dumps({**stored, **change}))
        with pytest.raises(ArtifactError):
            load_making(tmp_path)


def test_the_digest_of_arrays_tells_names_kinds_and_shapes_apart() -> None:
    array = np.arange(4, dtype=np.float32)
    alike = [{"a": array}, {"b": array}, {"a": array.reshape(2, 2)}, {"a": array.view(np.int32)}, {"a": array[:3]}]
    assert len({array_digest(one) for one in alike}) == len(alike)
    assert array_digest({"a": array, "b": np.float64(1)}) == array_digest({"b": np.float64(1), "a": array.copy()})
    assert array_digest({"a": np.asfortranarray(array.reshape(2, 2))}) == array_digest({"a": array.reshape(2, 2)})
