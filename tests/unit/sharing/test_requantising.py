"""Centroids of several sets united by their masses: nothing is lost, and k-means could not do it better."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.cluster import KMeans
from typer.testing import CliRunner

from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.normalisation import Normalisation
from medistill.errors import DataError
from medistill.sharing.archive import write_archive
from medistill.sharing.bundle import Bundle, pack
from medistill.sharing.lineage import source_parts
from medistill.sharing.merge_source import MergeSource
from medistill.sharing.merging import merge_sets
from medistill.sharing.requantising import requantised
from medistill.sharing.statement import Statement
from medistill.workflow.merge import merge
from medistill_cli.main import app
from tests.settings_restored import settings_restored

STATED = {"min_cluster_size": 2, "smallest_cluster": 3, "encoder": "pca", "weights": "mass", "labels": "soft"}
EAST, WEST = Normalisation((0.4,), (0.2,)), Normalisation((0.6,), (0.3,))


def centroids(seed: int, count: int = 5, **changes: Any) -> DistilledSet:
    """As many centroids of each of two classes, with masses and probabilities."""
    rng = np.random.default_rng(seed)
    masses = rng.permutation(np.arange(3, 60))[: 2 * count].astype(np.float64)
    values: dict[str, Any] = {
        "images": rng.normal(size=(2 * count, 1, 4, 4)).astype(np.float32),
        "labels": np.repeat([0, 1], count),
        "weights": (masses / masses.mean()).astype(np.float32),
        "stage": np.zeros(2 * count, np.int64),
        "student_lr": 0.01,
        "normalisation": EAST if seed % 2 else WEST,
        "class_names": ("COVID", "Normal"),
        "soft_labels": rng.dirichlet((2, 2), 2 * count).astype(np.float32),
        "provenance": {
            "method": "DDOQ", "starts_from": "quantised", "privacy": "No formal guarantee.", "quantisation": STATED,
        },
    }  # fmt: skip
    return DistilledSet(**{**values, **changes})


def united_of(*sets: DistilledSet) -> DistilledSet:
    return merge_sets([MergeSource(f"{n}.zip", one, one.digest(), f"Hospital {n}") for n, one in enumerate(sets)])


def stating(known: DistilledSet, **changes: object) -> DistilledSet:
    told = {**STATED, **changes}
    return replace(known, provenance=known.provenance.replaced(quantisation=None).as_json() | {"quantisation": told})


def moments(some: DistilledSet, label: int) -> tuple[float, np.ndarray, np.ndarray]:
    """Share of the weight, mean grey and mean probabilities of a class, each image by its weight, in float64."""
    assert some.soft_labels is not None
    here = some.labels == label
    weights = some.weights[here].astype(np.float64)
    grey = some.normalisation.grey(some.images[here].astype(np.float64))
    mean = np.tensordot(weights / weights.sum(), grey, 1)
    return weights.sum() / some.weights.sum(dtype=np.float64), mean, weights @ some.soft_labels[here] / weights.sum()


def test_masses_means_and_probabilities_of_every_class_add_up() -> None:
    united = united_of(centroids(1), centroids(2, 7), centroids(3))
    found = requantised(united, 3)
    assert np.bincount(found.labels).tolist() == [3, 3]
    assert found.weights.mean() == pytest.approx(1, abs=1e-6)
    for label in range(2):
        for before, after in zip(moments(united, label), moments(found, label), strict=True):
            np.testing.assert_allclose(after, before, atol=1e-6)
        assert (np.diff(found.weights[found.labels == label]) <= 0).all()  # by falling mass


def distortion(points: np.ndarray, weights: np.ndarray, cell: np.ndarray) -> float:
    total = 0.0
    for k in np.unique(cell):
        here = cell == k
        mean = weights[here] @ points[here] / weights[here].sum()
        total += weights[here] @ ((points[here] - mean) ** 2).sum(axis=1)
    return total


def test_no_division_of_the_images_is_better() -> None:
    """Against all 3^8 divisions of a class, and scikit-learn's k-means of as many copies as the mass says."""
    united = united_of(centroids(1, 4), centroids(2, 4))
    found = requantised(united, 3)
    for label in range(2):
        here = united.labels == label
        points, weights = united.images[here].reshape(8, -1).astype(np.float64), united.weights[here].astype(np.float64)
        least = min(distortion(points, weights, np.array(cell)) for cell in product(range(3), repeat=8))
        mine = found.images[found.labels == label].reshape(3, -1).astype(np.float64)
        squared = ((points[:, None] - mine[None]) ** 2).sum(axis=2)
        cell = squared.argmin(axis=1)
        assert weights @ squared.min(axis=1) == pytest.approx(least, rel=1e-5)
        np.testing.assert_allclose(
            np.bincount(cell, weights) / weights.sum(),
            found.weights[found.labels == label] / found.weights[found.labels == label].sum(),
            rtol=1e-5,
        )
        copies = np.repeat(points, np.rint(100 * weights).astype(int), axis=0)
        other = KMeans(3, n_init=20, random_state=1).fit(copies)
        assert weights @ squared.min(axis=1) * 100 == pytest.approx(other.inertia_, rel=0.02)


def test_two_halves_of_a_mass_are_one_image_and_few_images_all_stay() -> None:
    one = centroids(1)
    half = replace(one, normalisation=WEST, images=EAST.moved(one.images, WEST).astype(np.float32))
    both = united_of(one, replace(half, student_lr=0.02))
    found = requantised(replace(both, images=np.concatenate([both.images[:10]] * 2)), 5)
    assert np.bincount(found.labels).tolist() == [5, 5]
    order = np.lexsort((-one.weights, one.labels))
    np.testing.assert_allclose(found.images, both.images[:10][order], atol=1e-6)
    np.testing.assert_allclose(found.weights, one.weights[order], rtol=1e-6)
    assert len(requantised(replace(both, images=np.concatenate([both.images[:10]] * 2)), 50).labels) == 10


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"encoder": "features"}, "rendered from an encoder's features"),
        ({"encoder": "autoencoder"}, "decoded by an autoencoder of each hospital's own"),
        ({"encoder": ""}, "in a space that the sets do not all state alike"),
        ({"weights": "sqrt"}, r"not their masses \(method\.quantise\.weights = sqrt\)"),
        ({"weights": "uniform"}, "not their masses"),
        ({"weights": ""}, "not all sets state images that are centroids"),
    ],
)
def test_what_masses_cannot_unite_is_refused(changes: dict[str, object], why: str) -> None:
    sets = [stating(centroids(seed), **changes) for seed in (1, 2)]
    with pytest.raises(DataError, match=why):
        requantised(united_of(*sets), 2)
    differing = stating(centroids(1)), stating(centroids(2), **changes)
    with pytest.raises(DataError, match=r"not all sets state|do not all state|not their masses"):
        requantised(united_of(*differing), 2)
    plain = replace(centroids(2), provenance={"starts_from": "noise"})
    with pytest.raises(DataError, match="not all sets state images that are centroids"):
        requantised(united_of(centroids(1), plain), 2)


def test_images_of_features_are_united_with_their_masses_and_not_into_fewer() -> None:
    """Within each set the measures are kept; the error says what would be lost, and what to do."""
    sets = [stating(centroids(seed, count), encoder="features") for seed, count in ((1, 5), (2, 7))]
    united, first = united_of(*sets), 0
    for one in sets:
        here = slice(first, first := first + len(one.labels))
        masses = united.weights[here].astype(np.float64)
        np.testing.assert_allclose(masses / masses.sum(), one.weights / one.weights.sum(dtype=np.float64), rtol=1e-6)
        grey, own = united.normalisation.grey(united.images[here]), one.normalisation.grey(one.images)
        np.testing.assert_allclose(masses @ grey.reshape(len(masses), -1), masses @ own.reshape(len(masses), -1), 1e-4)
    with pytest.raises(DataError, match=r"images and masses and not the centroids.*method\.ipc"):
        requantised(united, 3)


def test_the_lineage_and_the_data_card_say_of_how_many_sets_and_how(tmp_path: Path) -> None:
    sets = [centroids(1), centroids(2, 7)]
    found = requantised(united_of(*sets), 3)
    assert found.provenance.united_images == 24
    assert [(part.first, part.images) for part in found.provenance.sources or ()] == [(0, 10), (10, 14)]
    statement = Statement(licence="CC0-1.0", intended_use="Tests.", acknowledged_risk="A test.")
    write_archive(tmp_path / "u.zip", pack(found, statement))
    opened = Bundle.open(tmp_path / "u.zip")
    card = opened.files["README.md"].decode()
    assert "Sets of 2 sources, united:" in card
    assert "The 24 images of the sources were united into 6 by their masses, class by class" in card
    assert opened.manifest.provenance.united_images == 24
    again = united_of(opened.distilled, centroids(3))
    assert again.provenance.united_images == 34
    assert [(part.first, part.images) for part in again.provenance.sources or ()] == [(0, 10), (10, 14), (24, 10)]
    assert len(source_parts(MergeSource("a", again, again.digest()))) == 3
    assert requantised(again, 2).provenance.united_images == 34


def test_the_workflow_unites_folders(tmp_path: Path) -> None:
    for seed in (1, 2):
        (tmp_path / str(seed)).mkdir()
        centroids(seed).save(tmp_path / str(seed))
    folders = [tmp_path / "1", tmp_path / "2"]
    united = merge(folders, out=tmp_path / "out", ipc=4)
    assert np.bincount(united.labels).tolist() == [4, 4]
    np.testing.assert_array_equal(DistilledSet.load(tmp_path / "out").images, united.images)
    assert len(merge(folders, out=tmp_path / "all").labels) == 20


def test_the_command_says_of_how_many_images_they_are_the_means(tmp_path: Path) -> None:
    for seed in (1, 2):
        (tmp_path / str(seed)).mkdir()
        centroids(seed).save(tmp_path / str(seed))
    words = ["merge", str(tmp_path / "1"), str(tmp_path / "2"), "--ipc", "3", "--out"]
    with settings_restored():
        plain = CliRunner().invoke(app, [*words, str(tmp_path / "out")])
        told = CliRunner().invoke(app, [*words, str(tmp_path / "again"), "--json"])
    assert plain.exit_code == told.exit_code == 0, plain.stderr + told.stderr
    assert "6 images of 2 sets, the means of 20 by their masses" in plain.stdout
    assert "10 to 19" in plain.stdout
    assert json.loads(told.stdout)["images"] == 6
