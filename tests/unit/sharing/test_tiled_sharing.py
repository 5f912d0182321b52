"""A set with tiles that is shared: whoever gets it is told, and given the images that networks are trained on."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace

import numpy as np
import pydicom
import pytest
import torch
from safetensors.numpy import load, save

from medistill.artifacts.distilled_set import DistilledSet
from medistill.errors import ArtifactError, DataError
from medistill.recipe import load_recipe
from medistill.sharing.bundle import Bundle, pack
from medistill.sharing.dd_ranking import dd_ranking_tensors
from medistill.sharing.dicom import dicom_files
from medistill.sharing.merge_source import MergeSource
from medistill.sharing.merging import merge_sets
from medistill.sharing.statement import Statement
from tests.factories.sent_bundle import listed_anew, small_set

PLAIN = Statement(licence="CC-BY-4.0", intended_use="Tests", acknowledged_risk="a test")


def tiled(**changes: object) -> DistilledSet:
    return replace(small_set(), tiles=2, **changes)  # type: ignore[arg-type]


def said_in(data: bytes) -> str:
    return " ".join(data.decode().split())


def test_the_set_comes_back_bit_by_bit_and_is_told_of() -> None:
    files = pack(tiled(), PLAIN)
    found = Bundle.of_files(files).distilled
    assert found.tiles == 2
    assert found.file_bytes() == tiled().file_bytes()
    assert len(found.as_dataset()) == 16
    for name in ("README.md", "croissant.json"):
        assert "Each stored image holds 2 by 2 tiles" in said_in(files[name]), name
    plain = pack(small_set(), PLAIN)
    for name in ("README.md", "croissant.json"):
        assert "tile" not in said_in(plain[name]), name


@pytest.mark.parametrize("tiles", [2, 4])
def test_the_lines_of_the_card_give_what_medistill_trains_on(tiles: int) -> None:
    distilled = replace(small_set(), tiles=tiles)
    card = pack(distilled, PLAIN)["README.md"].decode()
    (code,) = [one for one in re.findall(r"```python\n(.*?)```", card, re.DOTALL) if "interpolate" in one]
    held = {
        "x": torch.from_numpy(distilled.images),
        "labels": torch.from_numpy(distilled.labels),
        "weights": torch.from_numpy(distilled.weights),
    }
    exec(code, held)
    images, labels, weights = distilled.as_dataset().tensors
    torch.testing.assert_close(held["x"], images)
    assert torch.equal(held["labels"], labels)
    assert torch.equal(held["weights"], weights)


@pytest.mark.parametrize("stored", [np.array([0]), np.array([3]), np.array([2**40]), np.array([1])])
def test_a_bundle_with_hostile_tiles_is_refused(stored: np.ndarray) -> None:
    files = pack(tiled(), PLAIN)
    tensors = {**load(files["images.safetensors"]), "tiles": stored}
    with pytest.raises(ArtifactError, match=r"images\.safetensors"):
        Bundle.of_files(listed_anew({**files, "images.safetensors": save(tensors, {})}))


@pytest.mark.parametrize(("named", "cut"), [(1, 2), (2, 1), (4, 2), (None, 2)])
def test_a_recipe_that_names_other_tiles_is_refused(named: int | None, cut: int) -> None:
    recipe = load_recipe("covid-xray-dm", [f"method.tiles={named or 1}", "data.image_size=8", "network.depth=2"])
    plain = recipe.model_dump(mode="json")
    if named is None:
        del plain["method"]["tiles"]
    known = {**small_set().provenance.as_json(), "recipe": plain}
    with pytest.raises(ArtifactError, match=rf"cut into {cut} x {cut} tiles, and its recipe names {named or 1}"):
        Bundle.of_files(pack(replace(small_set(), tiles=cut, provenance=known), PLAIN))


def test_dd_ranking_gets_the_tiles_in_the_order_of_their_classes() -> None:
    found, whole = dd_ranking_tensors(tiled(labels=np.array([1, 0, 1, 0]))), tiled().expanded()
    assert found["labels"].tolist() == [0] * 8 + [1] * 8
    assert np.array_equal(found["images"][:4], whole.images[4:8])


def test_dicom_objects_show_what_is_stored_and_say_how_it_is_cut() -> None:
    pytest.importorskip("highdicom", reason="highdicom, which writes DICOM objects, is not installed")
    for distilled in (tiled(), small_set()):
        files = dicom_files(distilled)
        assert len(files) == 4
        held = pydicom.dcmread(io.BytesIO(files["dicom/0000.dcm"]))
        assert np.array_equal(held.pixel_array, distilled.viewable()[0, 0])
        assert ("2 by 2 tiles" in held.ImageComments) == (distilled.tiles == 2)


def _source(name: str, distilled: DistilledSet) -> MergeSource:
    return MergeSource(name, distilled, distilled.digest(), sender=name, label_map={})


def test_sets_are_united_with_those_that_are_cut_alike_alone() -> None:
    one, other = tiled(), tiled(images=small_set().images[::-1].copy())
    united = merge_sets([_source("east", one), _source("west", other)])
    assert (united.tiles, united.shown) == (2, 32)
    assert np.array_equal(united.expanded().images, np.concatenate([one.expanded().images, other.expanded().images]))
    with pytest.raises(DataError, match=r"different tiles \(east: 2 x 2; west: 1 x 1\)"):
        merge_sets([_source("east", one), _source("west", small_set())])
    large = tiled(images=np.repeat(np.repeat(small_set().images, 2, axis=2), 2, axis=3))
    with pytest.raises(DataError, match="west has images of 2 x 2 tiles, made for 16 pixels"):
        merge_sets([_source("east", one), _source("west", large)], image_size=8)


def test_the_manifest_of_a_set_without_tiles_says_nothing_of_them() -> None:
    assert "tiles" not in json.dumps(json.loads(pack(small_set(), PLAIN)["manifest.json"]))
