"""The distance attack: it finds the members of small cells as far as theory says, and nobody where cells are large."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import norm
from sklearn.cluster import KMeans

from medistill.privacy.attacks.distance import distance_scores
from medistill.privacy.membership import Membership, MembershipAttack
from medistill.privacy.score_attack import Scores, measure
from medistill.recipe import AuditRecipe
from tests.factories.attacked import membership_hidden

SIDE = 16


def scores_of(centres: np.ndarray, labels: np.ndarray, weights: np.ndarray, asked: np.ndarray, of: np.ndarray):
    def read(rows: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(asked[rows]).float()

    images = torch.from_numpy(centres).float()
    return distance_scores(images, labels, weights.astype(np.float32), np.arange(len(asked)), of, read)


def attack_of(scores: np.ndarray, member: np.ndarray, cells=None) -> MembershipAttack:
    patients = np.arange(len(member))
    return measure("distance", Scores.asked_once("distilled", scores, member, patients, cells or {}), 0.95, 10)


def verdicts(attack: MembershipAttack) -> dict[str, str]:
    found = Membership((attack,), (), 0, 0, 0, 0, 0, 0.95, 0.0)
    return {one.name: one.verdict for one in membership_hidden(found, AuditRecipe()) if "distance" in one.name}


def test_scores_are_those_of_a_plain_loop() -> None:
    numbers = np.random.default_rng(0)
    centres, labels, weights = numbers.random((5, 12)), np.array([0, 0, 2, 2, 2]), numbers.random(5)
    asked, of = numbers.random((40, 12)), np.arange(40) % 3
    middle = (centres * weights[:, None]).sum(axis=0) / weights.sum()
    told = scores_of(centres, labels, weights, asked, of)
    for k, image in enumerate(asked):
        near = [((image - centre) ** 2).sum() for centre, label in zip(centres, labels, strict=True) if label == of[k]]
        if near:
            assert told[k] == pytest.approx(np.log(((image - middle) ** 2).sum() / min(near)), abs=1e-4)
        else:
            assert np.isnan(told[k])


def test_an_image_of_the_set_itself_scores_highest_and_finite() -> None:
    numbers = np.random.default_rng(1)
    asked = numbers.random((6, 9))
    told = scores_of(asked[:2], np.zeros(2, int), np.ones(2), asked, np.zeros(6, int))
    assert np.isfinite(told).all()
    assert told[:2].min() > told[2:].max()


@pytest.mark.parametrize("size", [5, 10, 40])
def test_it_ranks_members_of_a_cell_as_well_as_theory_says(size: int) -> None:
    """Of D independent numbers and cells of n: members and strangers lie sqrt(2 D) / n deviations apart.

    The cells lie far from each other, all as far from their common mean, so that this tells nothing.
    """
    numbers, dimension, cells = np.random.default_rng(2), 100, 400 // size
    half = numbers.normal(size=(cells // 2, dimension))
    half *= 1000 / np.linalg.norm(half, axis=1, keepdims=True)
    means = np.concatenate([half, -half])
    of = np.repeat(np.arange(cells), size)
    members, others = (means[of] + numbers.normal(size=(len(of), dimension)) for _ in range(2))
    centres = np.stack([members[of == cell].mean(axis=0) for cell in range(cells)])
    asked = np.concatenate([members, others])
    told = scores_of(centres, np.arange(cells), np.ones(cells), asked, np.tile(of, 2))
    auc = attack_of(told, np.arange(len(asked)) < len(members)).cells[0].auc.value
    assert auc == pytest.approx(norm.cdf(np.sqrt(dimension) / size), abs=0.045)


def people(count: int, seed: int) -> np.ndarray:
    """Independent smooth images (N, pixels) around a shared shape."""
    numbers = np.random.default_rng(seed)
    detail = gaussian_filter(numbers.normal(size=(count, SIDE, SIDE)), (0, 1.2, 1.2))
    return (0.5 + 0.4 * detail).reshape(count, -1)


def quantised(images: np.ndarray, centroids: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means of cells, their shares, and the images in each, by a k-means of another library."""
    found = KMeans(centroids, n_init=1, random_state=0).fit(images)
    sizes = np.bincount(found.labels_, minlength=centroids)
    return found.cluster_centers_, sizes / len(images), sizes


@pytest.mark.parametrize(
    ("centroids", "smallest", "expected"),
    [(1, 600, "pass"), (3, 100, "pass"), (60, 1, "fail"), (400, 1, "fail")],
)
def test_large_cells_pass_and_cells_of_a_few_fail(centroids: int, smallest: int, expected: str) -> None:
    """Two classes of 600; the last row has nearly as many images as the class, the last but one cells of ten."""
    parts = [people(600, seed) for seed in (1, 2)]
    held_out = [people(300, seed) for seed in (3, 4)]
    made = [quantised(part, centroids) for part in parts]
    assert min(sizes.min() for _, _, sizes in made) >= smallest
    told = scores_of(
        np.concatenate([centres for centres, _, _ in made]),
        np.repeat([0, 1], centroids),
        np.concatenate([shares for _, shares, _ in made]),
        np.concatenate([*parts, *held_out]),
        np.repeat([0, 1, 0, 1], [600, 600, 300, 300]),
    )
    found = verdicts(attack_of(told, np.arange(1800) < 1200))
    assert set(found) == {"Patients found (distance attack)", "AUC (distance attack)"}
    assert found["AUC (distance attack)"] == expected
    if centroids == 400:
        assert found["Patients found (distance attack)"] == "fail"


def test_a_small_class_of_outliers_in_a_small_cell_fails_though_the_rest_passes() -> None:
    """1,000 ordinary people in 3 cells and 40 of a rare class in cells of five."""
    common, rare = people(1000, 5), people(40, 6) + 0.3
    others = np.concatenate([people(500, 7), people(40, 8) + 0.3])
    made = [quantised(common, 3), quantised(rare, 8)]
    labels = np.repeat([0, 1], [3, 8])
    of = np.repeat([0, 1, 0, 1], [1000, 40, 500, 40])
    told = scores_of(
        np.concatenate([centres for centres, _, _ in made]),
        labels,
        np.concatenate([shares * len(shares) for _, shares, _ in made]),
        np.concatenate([common, rare, others]),
        of,
    )
    cells = {("class", "common"): np.flatnonzero(of == 0), ("class", "rare"): np.flatnonzero(of == 1)}
    found = verdicts(attack_of(told, np.arange(len(of)) < 1040, cells))
    assert found["AUC (distance attack)"] == "pass"
    assert found["AUC (distance attack, class rare)"] == "fail"
    assert "AUC (distance attack, class common)" not in found
