"""Chosen originals against a naive choice on blobs that k-means cannot miss."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.normalisation import Normalisation
from medistill.artifacts.whitening import Whitening
from medistill.errors import DataError
from medistill.evaluate import representatives
from medistill.evaluate.representatives import Representatives, nearest_to_centres, rows_by_class
from tests.factories.drawn_corpus import drawn_corpus


def blobs(count: int, each: int, dimensions: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points (count x each, dimensions) in far-off blobs, shuffled, and the blob of each."""
    numbers = np.random.default_rng(seed)
    of = numbers.permutation(np.repeat(np.arange(count), each))
    centres = 100 * np.eye(count, dimensions)
    return (centres[of] + numbers.normal(size=(len(of), dimensions))).astype(np.float32), of


def naive(points: np.ndarray, of: np.ndarray) -> set[int]:
    """The point nearest to the mean of each blob, one after another."""
    chosen = set()
    for blob in np.unique(of):
        members = np.flatnonzero(of == blob)
        mean = points[members].astype(np.float64).mean(axis=0)
        chosen.add(min((int(i) for i in members), key=lambda i: float(((points[i] - mean) ** 2).sum())))
    return chosen


def test_the_point_nearest_to_each_centre_is_chosen():
    points, of = blobs(3, 40, 5)
    assert set(nearest_to_centres(points, 3, seed=1).tolist()) == naive(points, of)


def test_the_choice_depends_on_the_seed_alone():
    points, _ = blobs(2, 200, 30)  # more centres than blobs: where they end depends on where they start
    first = nearest_to_centres(points, 12, seed=3)
    with threadpool_limits(2):
        np.testing.assert_array_equal(nearest_to_centres(points, 12, seed=3), first)
    assert any(set(nearest_to_centres(points, 12, seed=seed)) != set(first) for seed in range(4, 8))


@pytest.mark.parametrize("count", [0, 1, 4, 7, 8])
def test_points_are_distinct_even_where_all_are_equal(count):
    found = nearest_to_centres(np.ones((8, 3), np.float32), count, seed=0)
    assert len(set(found.tolist())) == len(found) == count


@pytest.fixture
def patterned(tmp_path) -> Corpus:
    """Images of two patterns in every class; of which one a row is depends on whether it is even."""
    return drawn_corpus(tmp_path)


def test_images_are_compared_by_their_grey_values_also_where_networks_see_whitened_ones(patterned):
    plain = Normalisation.full_scale(1)
    whitened = replace(plain, whitening=Whitening.of(patterned.images, 0.01))
    theirs, ours = (Representatives.of(patterned, [2, 2, 2], seen).features for seen in (plain, whitened))
    for their, our in zip(theirs, ours, strict=True):
        np.testing.assert_array_equal(their, our)


def test_rows_of_a_corpus_are_those_of_a_naive_choice_on_its_pixels(patterned):
    classes = len(patterned.class_names)
    chosen = Representatives.of(patterned, [2] * classes, Normalisation.of(patterned.images)).draw(5)
    for c in range(classes):
        rows = patterned.rows("train")
        rows = rows[patterned.labels[rows] == c]
        points = patterned.images[rows].reshape(len(rows), -1).astype(np.float64)
        assert set(chosen[2 * c : 2 * c + 2].tolist()) == {int(rows[i]) for i in naive(points, rows % 2)}


def test_pieces_of_a_large_class_are_put_together(patterned, monkeypatch):
    monkeypatch.setattr(representatives, "FITTED", 7)
    rows = Representatives.of(patterned, [2, 3, 1], Normalisation.of(patterned.images)).draw(0)
    assert patterned.labels[rows].tolist() == [0, 0, 1, 1, 1, 2]
    assert len(set(rows.tolist())) == 6
    assert set(rows.tolist()) <= set(patterned.rows("train").tolist())


def test_more_images_than_a_class_has_are_refused_with_what_helps(patterned):
    wanted = [1000] * len(patterned.class_names)
    with pytest.raises(DataError, match=r"fewer than 1000 images per class.*take --ipc \d+ or less"):
        rows_by_class(patterned, wanted, beside="to be made")
    with pytest.raises(DataError, match=r"fewer than 1000 images per class.*evaluate.arms") as refused:
        Representatives.of(patterned, wanted, Normalisation.of(patterned.images))
    assert "--ipc" not in str(refused.value)  # the set is made: its size is what it is
    none = replace(patterned, splits=np.ones_like(patterned.splits))
    with pytest.raises(DataError, match="leave it out with --classes") as refused:
        rows_by_class(none, wanted, beside="to be made")
    assert "--ipc" not in str(refused.value)


def test_a_class_without_images_gives_none_where_none_is_wanted(patterned):
    train = patterned.rows("train")
    without = replace(patterned, labels=np.where(patterned.labels == 1, 0, patterned.labels))
    rows = Representatives.of(without, [1, 0, 1], Normalisation.of(patterned.images)).draw(0)
    assert without.labels[rows].tolist() == [0, 2]
    assert set(rows.tolist()) <= set(train.tolist())
