"""ZCA whitening against NumPy's covariance and scikit-learn's PCA, there and back, on disk, in stores and in sets."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.decomposition import PCA

from medistill.artifacts import whitening
from medistill.artifacts.atomic import read_tensors, sha256_file, write_tensors
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.normalisation import Normalisation
from medistill.artifacts.trajectories import load_trajectories, open_trajectories
from medistill.artifacts.whitening import LARGEST, Whitening
from medistill.errors import ArtifactError, RecipeError

PIXELS = hnp.arrays(
    np.uint8, st.tuples(st.integers(1, 5), st.sampled_from([1, 3]), st.integers(1, 5), st.integers(1, 5))
)


def photographs(count: int = 400, shape: tuple[int, int, int] = (3, 4, 4)) -> np.ndarray:
    """Uint8 (N, C, H, W) whose neighbouring values are alike, as those of photographs are."""
    rng = np.random.default_rng(0)
    values = int(np.prod(shape))
    mixing = np.exp(-np.abs(np.subtract.outer(np.arange(values), np.arange(values))) / 3)
    grey = 128 + 40 * rng.standard_normal((count, values)) @ mixing / np.sqrt((mixing**2).sum(axis=0))
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8).reshape(count, *shape)


def whitened(images: np.ndarray, regularisation: float = 0.1) -> Normalisation:
    return replace(Normalisation.full_scale(images.shape[1]), whitening=Whitening.of(images, regularisation))


def rows(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1)


@pytest.mark.parametrize("regularisation", [0.1, 1e-3, 1e-9])
def test_every_variance_s_becomes_s_by_s_plus_r(regularisation: float) -> None:
    images = photographs()
    told = rows(whitened(images, regularisation).apply(images).astype(np.float64))
    variances, directions = np.linalg.eigh(np.cov(rows(images) / 255, rowvar=False))
    expected = (directions * (variances / (variances + regularisation))) @ directions.T
    np.testing.assert_allclose(np.cov(told, rowvar=False), expected, atol=2e-5)
    np.testing.assert_allclose(told.mean(axis=0), 0, atol=1e-4)
    if regularisation == 1e-9:
        np.testing.assert_allclose(np.cov(told, rowvar=False), np.eye(48), atol=1e-4)


def test_it_is_fitted_piece_by_piece_to_the_mean_and_covariance_of_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    images, taken = photographs(), np.random.default_rng(1).permutation(400)[:301]
    whole = Whitening.of(images[taken], 0.1)
    assert Whitening.of(images, 0.1, taken) == whole
    monkeypatch.setattr(whitening, "ROWS", 7)
    found = Whitening.of(images, 0.1, taken)
    variances, directions = np.linalg.eigh(np.cov(rows(images[taken]) / 255, rowvar=False))
    np.testing.assert_array_equal(found.mean, (rows(images[taken]) / 255).mean(axis=0).astype(np.float32))
    np.testing.assert_allclose(found.matrix, (directions / np.sqrt(variances + 0.1)) @ directions.T, rtol=0, atol=3e-7)


def test_it_is_whitened_pca_turned_back() -> None:
    images = photographs()
    scaled = rows(images) / 255
    pca = PCA(whiten=True, svd_solver="full").fit(scaled)
    told = whitened(images, 1e-12).apply(images)
    np.testing.assert_allclose(rows(told), pca.transform(scaled) @ pca.components_, atol=1e-3)


@settings(max_examples=60, deadline=None)
@given(PIXELS)
def test_the_way_back_is_exact(images: np.ndarray) -> None:
    """With one image, with equal ones, and with fewer images than values too."""
    normalisation = whitened(images)
    normal = normalisation.apply(images)
    assert normal.dtype == np.float32
    np.testing.assert_array_equal(normalisation.invert(normal), images)


def test_images_whose_matrix_would_be_too_large_are_refused() -> None:
    side = int(LARGEST**0.5) + 1
    with pytest.raises(RecipeError, match=r"2\.1 GiB.*data\.image_size.*data\.zca=false"):
        Whitening.of(np.zeros((1, 1, side, side), np.uint8), 0.1)


def test_equal_to_the_bit_or_not_equal() -> None:
    images = photographs(50)
    assert Whitening.of(images, 0.1) == Whitening.of(images, 0.1)
    assert hash(Whitening.of(images, 0.1)) == hash(Whitening.of(images, 0.1))
    assert Whitening.of(images, 0.1) != Whitening.of(images, 0.2)
    assert Whitening.of(images, 0.1) != Whitening.of(images[1:], 0.1)
    assert whitened(images) != Normalisation.full_scale(3)


@pytest.mark.parametrize(
    ("mean", "matrix", "regularisation", "said"),
    [
        (np.zeros(2), np.eye(2, dtype=np.float32), 0.1, "not float32"),
        (np.zeros(3, np.float32), np.eye(2, dtype=np.float32), 0.1, "shapes"),
        (np.zeros((1, 2), np.float32), np.eye(2, dtype=np.float32), 0.1, "shapes"),
        (np.zeros(2, np.float32), np.array([[1, 0.5], [0.4, 1]], np.float32), 0.1, "not symmetric"),
        (np.zeros(2, np.float32), -np.eye(2, dtype=np.float32), 0.1, "not symmetric and positive"),
        (np.array([0, np.inf], np.float32), np.eye(2, dtype=np.float32), 0.1, "infinite"),
        (np.zeros(2, np.float32), np.full((2, 2), np.nan, np.float32), 0.1, "NaN"),
        (np.zeros(2, np.float32), np.eye(2, dtype=np.float32), 0.0, "regularisation"),
        (np.zeros(2, np.float32), np.eye(2, dtype=np.float32), float("nan"), "regularisation"),
    ],
)
def test_what_is_no_whitening_cannot_be_made(mean: Any, matrix: Any, regularisation: float, said: str) -> None:
    with pytest.raises(ArtifactError, match=said):
        Whitening(mean, matrix, regularisation)


def test_a_matrix_without_an_inverse_is_said() -> None:
    flat = Whitening(np.zeros(2, np.float32), np.ones((2, 2), np.float32), 0.1)
    with pytest.raises(ArtifactError, match="no inverse"):
        flat.invert(np.zeros((1, 1, 1, 2)))


def test_a_folder_gives_back_what_was_saved_and_nothing_else(tmp_path: Path) -> None:
    made = Whitening.of(photographs(50), 0.1)
    made.save(tmp_path)
    assert Whitening.load(tmp_path, made.digest) == made
    (path,) = tmp_path.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    write_tensors(path, {**made.tensors(), "whitening_mean": made.mean + 1})
    with pytest.raises(ArtifactError, match=r"digest is another.*remove its meta\.json"):
        Whitening.load(tmp_path, made.digest)
    for damaged in ({"whitening_mean": made.mean}, {**made.tensors(), "whitening_regularisation": np.zeros(0)}):
        write_tensors(path, damaged)
        with pytest.raises(ArtifactError, match="cannot be used"):
            Whitening.load(tmp_path, made.digest)
    path.write_bytes(b"x")
    with pytest.raises(ArtifactError, match="damaged"):
        Whitening.load(tmp_path, made.digest)
    path.unlink()
    with pytest.raises(ArtifactError, match="missing"):
        Whitening.load(tmp_path, made.digest)


def store_description() -> dict[str, Any]:
    return {
        "key": "k",
        "count": 1,
        "epochs": 1,
        "names": ["weight"],
        "shapes": [[2]],
        "normalisation": Normalisation.full_scale(3).as_json(),
    }


def test_a_store_fits_its_whitening_once_and_keeps_it(tmp_path: Path) -> None:
    images = photographs(50)
    fitted: list[Whitening] = []

    def fit(regularisation: float = 0.1) -> Whitening:
        fitted.append(Whitening.of(images, regularisation))
        return fitted[-1]

    store = open_trajectories(tmp_path, store_description(), whitening=fit)
    again = open_trajectories(tmp_path, store_description(), whitening=fit)
    assert len(fitted) == 1
    assert store.normalisation == again.normalisation == load_trajectories(store.path).normalisation == whitened(images)
    assert json.loads((store.path / "meta.json").read_text())["normalisation"]["whitening"] == fitted[0].digest

    (store.path / "meta.json").unlink()  # as when another process describes the store a moment later
    other = open_trajectories(tmp_path, store_description(), whitening=lambda: fit(0.2))
    assert other.normalisation.whitening == fitted[1]
    assert Whitening.load(store.path, fitted[0].digest) == fitted[0]

    with pytest.raises(ArtifactError, match="not what was written"):
        open_trajectories(tmp_path, store_description())
    (store.path / "meta.json").unlink()
    plain = open_trajectories(tmp_path, store_description())
    assert plain.normalisation == Normalisation.full_scale(3)
    with pytest.raises(ArtifactError, match="not what was written"):
        open_trajectories(tmp_path, store_description(), whitening=fit)


@pytest.fixture
def whitened_set() -> DistilledSet:
    images = photographs(50)
    normalisation = whitened(images)
    return DistilledSet(
        images=normalisation.apply(images[:4]),
        labels=np.array([0, 0, 1, 1]),
        weights=np.ones(4, np.float32),
        stage=np.zeros(4, np.int64),
        student_lr=0.01,
        normalisation=normalisation,
        class_names=("cat", "dog"),
    )


def test_a_set_carries_its_whitening(whitened_set: DistilledSet, tmp_path: Path) -> None:
    whitened_set.save(tmp_path)
    loaded = DistilledSet.load(tmp_path)
    assert loaded.normalisation == whitened_set.normalisation
    np.testing.assert_array_equal(loaded.images, whitened_set.images)
    np.testing.assert_array_equal(loaded.viewable(), photographs(50)[:4])
    np.testing.assert_array_equal(read_tensors(tmp_path / "images.safetensors", "x")[0]["viewable"], loaded.viewable())


@pytest.mark.parametrize(
    ("tensor", "value", "said"),
    [
        ("whitening_matrix", np.triu(np.ones((48, 48), np.float32)), "not symmetric"),
        ("whitening_matrix", np.full((48, 48), np.nan, np.float32), "NaN"),
        ("whitening_matrix", np.eye(47, dtype=np.float32), "shapes"),
        ("whitening_mean", None, "whitening_mean"),
    ],
)
def test_a_set_with_a_forged_whitening_is_refused(
    whitened_set: DistilledSet, tmp_path: Path, tensor: str, value: np.ndarray | None, said: str
) -> None:
    whitened_set.save(tmp_path)
    path = tmp_path / "images.safetensors"
    tensors = {**read_tensors(path, "x")[0], tensor: value}
    write_tensors(path, {name: array for name, array in tensors.items() if array is not None})
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    manifest["files"]["images.safetensors"] = sha256_file(path)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=said):
        DistilledSet.load(tmp_path)


def test_a_whitening_of_other_images_does_not_fit(whitened_set: DistilledSet) -> None:
    with pytest.raises(ArtifactError, match="whitening does not fit"):
        replace(whitened_set, normalisation=whitened(photographs(50, (3, 2, 4))))
