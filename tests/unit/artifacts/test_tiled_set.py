"""A set with tiles: it is stored as it is, trained on as it is cut, and refused where it cannot be cut."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load, save
from torch.nn import functional as F

from medistill.artifacts import set_problem
from medistill.artifacts.contact_sheet import LINE, contact_sheet
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.normalisation import Normalisation
from medistill.artifacts.whitening import Whitening
from medistill.errors import ArtifactError
from medistill.sharing.archive import MOST_BYTES
from medistill.training.images import LabelledImages

CPU = torch.device("cpu")
SOFT = np.array([[0.75, 0.25], [0.25, 0.75], [0.5, 0.5], [0, 1]], np.float32)


def tiled(tiles: int = 2, *, soft: bool = False, size: int = 8) -> DistilledSet:
    rng = np.random.default_rng(0)
    return DistilledSet(
        images=rng.standard_normal((4, 1, size, size)).astype(np.float32),
        labels=np.array([0, 1, 0, 1]),
        weights=np.array([0.5, 1.5, 1, 1], np.float32),
        stage=np.array([0, 0, 1, 1]),
        student_lr=0.01,
        normalisation=Normalisation((0.4,), (0.2,)),
        class_names=("COVID", "Normal"),
        soft_labels=SOFT if soft else None,
        tiles=tiles,
    )


@pytest.mark.parametrize("soft", [False, True])
def test_the_expanded_set_is_each_tile_interpolated_with_what_its_image_has(soft: bool) -> None:
    distilled = tiled(soft=soft)
    whole = distilled.expanded()
    assert (whole.tiles, len(whole.images), distilled.shown, distilled.ipc) == (1, 16, 16, 2)
    for k in range(16):
        n, i, j = k // 4, k % 4 // 2, k % 2
        part = torch.from_numpy(distilled.images[n : n + 1, :, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4])
        wanted = F.interpolate(part, size=(8, 8), mode="bilinear", align_corners=False)[0].numpy()
        np.testing.assert_allclose(whole.images[k], wanted, atol=1e-6)
        for name in ("labels", "weights", "stage", *(["soft_labels"] if soft else [])):
            assert np.array_equal(getattr(whole, name)[k], getattr(distilled, name)[n]), name
    assert whole.student_lr == distilled.student_lr


@pytest.mark.parametrize("soft", [False, True])
def test_whoever_trains_on_it_trains_on_the_tiles_bit_for_bit(soft: bool) -> None:
    distilled = tiled(soft=soft)
    whole = distilled.expanded()
    seen, wanted = LabelledImages.of_set(distilled, CPU), LabelledImages.of_set(whole, CPU)
    for name in ("pixels", "labels", "weights", "stage", *(["soft_labels"] if soft else [])):
        assert torch.equal(getattr(seen, name), getattr(wanted, name)), name
    items, labels, weights = distilled.as_dataset().tensors
    assert torch.equal(items, wanted.pixels)
    assert torch.equal(labels, wanted.soft_labels if soft else wanted.labels)
    assert torch.equal(weights, wanted.weights)


def test_without_tiles_nothing_is_another(tmp_path: Path) -> None:
    plain = tiled(1)
    assert plain.expanded() is plain
    assert "tiles" not in plain.tensors()
    plain.save(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["schema"] == 2
    assert "tiles" not in manifest
    old = (plain.images, plain.labels, plain.weights, plain.stage, np.float64(plain.student_lr))
    told = b"".join(one.tobytes() for one in old) + json.dumps(plain.normalisation.as_json()).encode()
    assert hashlib.sha256(plain.training_bytes()).digest() == hashlib.sha256(told).digest()


def test_it_comes_back_as_it_was_and_no_former_version_reads_it(tmp_path: Path) -> None:
    distilled = tiled()
    distilled.save(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert (manifest["schema"], manifest["tiles"], manifest["shape"]) == (3, 2, [4, 1, 8, 8])
    back = DistilledSet.load(tmp_path)
    assert back.tiles == 2
    assert back.training_bytes() == distilled.training_bytes() != replace(distilled, tiles=1).training_bytes()
    assert back.digest() == distilled.digest() != replace(distilled, tiles=1).digest()
    assert distilled.first(1).tiles == 2


def edit(folder: Path, **changes: object) -> None:
    """Write these into a manifest; ... takes a value away."""
    path = folder / "manifest.json"
    known = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({name: value for name, value in known.items() if value is not ...}))


def test_a_schema_that_knows_no_tiles_is_refused_with_them(tmp_path: Path) -> None:
    tiled().save(tmp_path)
    for schema in (1, 2):
        edit(tmp_path, schema=schema)
        with pytest.raises(ArtifactError, match="it has tiles, and its schema is not 3"):
            DistilledSet.load(tmp_path)


@pytest.mark.parametrize(
    ("tiles", "stated"), [(2, ...), (2, 1), (2, 4), (2, "2"), (2, 2.0), (2, None), (1, 2), (1, True), (1, [1])]
)
def test_a_manifest_that_gives_other_tiles_is_refused(tiles: int, stated: object, tmp_path: Path) -> None:
    tiled(tiles).save(tmp_path)
    edit(tmp_path, tiles=stated)
    with pytest.raises(ArtifactError, match=r"not cut into the tiles that manifest\.json gives"):
        DistilledSet.load(tmp_path)


@pytest.mark.parametrize(
    "stored",
    [
        np.array([0]),
        np.array([-1]),
        np.array([3]),
        np.array([5]),
        np.array([2**40]),
        np.array([2, 2]),
        np.array(2),
        np.array([], np.int64),
        np.array([2.0]),
        np.array([np.nan]),
        np.array([2], np.int32),
    ],
)
def test_a_hostile_number_of_tiles_is_refused(stored: np.ndarray) -> None:
    tensors = load(save({**tiled().tensors(), "tiles": stored}))
    with pytest.raises(ArtifactError, match="tiles"):
        DistilledSet.of_tensors(tensors, ("COVID", "Normal"), tiled().provenance)


@pytest.mark.parametrize("tiles", [0, -2, 3, 5, 8, 2**31])
def test_images_that_cannot_be_cut_so_are_refused(tiles: int) -> None:
    with pytest.raises(ArtifactError, match=rf"{tiles} (x|tiles do not divide)"):
        tiled(tiles)


def test_tiles_that_would_not_fit_in_memory_are_refused_before_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = 4 * 16 * 8 * 8
    monkeypatch.setattr(set_problem, "MOST_SHOWN_BYTES", shown)
    tensors = tiled().tensors()
    DistilledSet.of_tensors(tensors, ("COVID", "Normal"), tiled().provenance)
    assert len(tiled(1, size=32).images) == 4
    monkeypatch.setattr(set_problem, "MOST_SHOWN_BYTES", shown - 1)
    with pytest.raises(ArtifactError, match="its tiles would be 4096 bytes of images to train on, and 4095 are the mo"):
        DistilledSet.of_tensors(tensors, ("COVID", "Normal"), tiled(1).provenance)


def test_the_most_that_a_bundle_may_hold_is_less_than_its_tiles_may_take() -> None:
    assert set_problem.MOST_SHOWN_BYTES == 2 * MOST_BYTES


def test_the_tiles_are_not_copied_once_they_are_made() -> None:
    distilled = tiled(4, size=128)
    distilled.as_dataset()
    tracemalloc.start()
    items = distilled.as_dataset().tensors[0]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < items.numel() * items.element_size() / 2  # torch's own memory is not counted


def test_the_images_of_a_dataset_are_not_those_of_the_set() -> None:
    for distilled in (tiled(1), tiled(2)):
        before = distilled.images.copy()
        for tensor in distilled.as_dataset().tensors:
            tensor.zero_()
        assert np.array_equal(distilled.images, before)
        assert distilled.labels.any()


def test_whitened_images_are_not_cut() -> None:
    grey = np.random.default_rng(6).integers(0, 256, (40, 1, 8, 8), dtype=np.uint8)
    plain = Normalisation.full_scale(1)
    whitening = Normalisation(plain.mean, plain.std, Whitening.of(plain.apply(grey), 0.1))
    with pytest.raises(ArtifactError, match="whitened, which mixes all pixels"):
        replace(tiled(), images=whitening.apply(grey[:4]), normalisation=whitening)


def test_the_contact_sheet_parts_the_tiles() -> None:
    images = np.full((1, 1, 8, 8), 90, np.uint8)
    plain, parted = (
        np.asarray(contact_sheet(images, np.array([0]), ["one"], tiles=tiles)).astype(int) for tiles in (1, 2)
    )
    colour = np.array(Image.new("RGB", (1, 1), LINE))[0, 0]
    lines = (parted == colour).all(axis=2)
    assert not (plain == colour).all(axis=2).any()
    assert lines.sum() == 96 + 96 - 1
    assert np.array_equal(parted[~lines], plain[~lines])
