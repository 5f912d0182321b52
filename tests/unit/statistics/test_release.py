"""One release: what a patient can change, measured by leaving each out, and what noise is put on."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from medistill.artifacts.projection import Projection, ProjectionRecord
from medistill.statistics.contributions import Blocks, contributions
from medistill.statistics.release import release, summed
from medistill.training.exact_normal import BITS

IDENTITY = Projection(np.zeros(6, np.float32), np.ones(6, np.float32), ProjectionRecord(kind="none", encoder="0" * 64))
BOTH = Blocks(classes=3, dimension=6, clip=1.5, counts=0.1, second=0.2)


def _corpus(seed: int = 0, count: int = 60, patients: int = 17) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, labels and patients; many patients have images of several classes."""
    rng = np.random.default_rng(seed)
    features = (rng.normal(size=(count, 6)) * rng.choice([0.1, 1, 30], (count, 1))).astype(np.float16)
    return features, rng.integers(0, 3, count), rng.integers(0, patients, count) * 1000


def _sum(
    features: np.ndarray, labels: np.ndarray, units: np.ndarray, blocks: Blocks = BOTH, sigma: float = 1.0
) -> np.ndarray:
    return summed(lambda some: IDENTITY.apply(features[some]), labels, units, blocks, sigma)


@pytest.mark.parametrize("blocks", [BOTH, Blocks(3, 6, 0.2, 0.0, 0.0), Blocks(3, 6, 1.0, 0.5, 0.0)])
@pytest.mark.parametrize("sigma", [0.6, 3.7307])
def test_no_patient_who_is_left_out_moves_the_sum_by_more_than_the_bound(blocks: Blocks, sigma: float) -> None:
    features, labels, units = _corpus()
    whole, bound = _sum(features, labels, units, blocks, sigma), (2**BITS / sigma) ** 2
    moved = []
    for patient in np.unique(units):
        rest = units != patient
        change = (whole - _sum(features[rest], labels[rest], units[rest], blocks, sigma)).tolist()
        moved.append(sum(step * step for step in change))  # whole numbers of Python: no rounding
    assert max(moved) <= bound
    assert max(moved) > 0.2 * bound


def test_the_bound_is_reached_and_two_classes_cost_no_more_than_one() -> None:
    """The worst a patient can do is to have images of one class, longer than the clip; in two it is divided."""
    blocks, far = Blocks(3, 6, 1.0, 0.0, 0.0), np.full((2, 6), 1e4, np.float16)
    alone = _sum(far[:1], np.array([0]), np.array([7]), blocks)
    assert np.linalg.norm(alone / 2**BITS) == pytest.approx(1, abs=1e-8)
    both = _sum(far, np.array([0, 1]), np.array([7, 7]), blocks)
    assert np.linalg.norm(both / 2**BITS) == pytest.approx(np.sqrt(0.5), abs=1e-8)
    clipped_by_class = np.linalg.norm(np.concatenate([alone, alone]) / 2**BITS)
    assert clipped_by_class == pytest.approx(np.sqrt(2), abs=1e-8)  # what a clip of each class by itself would cost


def test_contributions_are_what_a_double_loop_makes_of_their_definition() -> None:
    features, labels, units = _corpus(1)
    made = np.concatenate(list(contributions(lambda some: IDENTITY.apply(features[some]), labels, units, BOTH)))
    for row, patient in enumerate(np.unique(units)):
        sums, counts, second = np.zeros((3, 6)), np.zeros(3), np.zeros((6, 6))
        images = np.flatnonzero(units == patient)
        for image in images:
            z = features[image].astype(float)
            z = z * min(1, 1.5 / np.sqrt((z**2).sum()))
            sums[labels[image]] += z / len(images)
            counts[labels[image]] += 1 / len(images)
            second += np.outer(z, z) / len(images)
        norm = np.sqrt(0.7 * (sums**2).sum() / 1.5**2 + 0.1 * (counts**2).sum() + 0.2 * (second**2).sum() / 1.5**4)
        assert norm <= 1 + 1e-12
        assert np.linalg.norm(made[row]) == pytest.approx(norm, rel=1e-8)
        back = BOTH.unstacked(made[row])
        for one, other in zip(back, (sums, counts, second), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-8)


def test_the_order_of_images_and_the_pieces_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels, units = _corpus(2)
    whole, order = _sum(features, labels, units), np.random.default_rng(3).permutation(60)
    monkeypatch.setattr("medistill.statistics.contributions.PIECE", 200)
    np.testing.assert_array_equal(whole, _sum(features[order], labels[order], units[order]))


def test_a_number_that_is_not_finite_takes_its_patient_out_and_nobody_else() -> None:
    features, labels, units = _corpus()
    broken = features.copy()
    broken[np.flatnonzero(units == units[0])[0]] = np.nan
    rest = units != units[0]
    np.testing.assert_array_equal(_sum(broken, labels, units), _sum(features[rest], labels[rest], units[rest]))


def test_the_noise_has_the_size_that_the_record_states() -> None:
    """Many releases of nobody, with an injected source of normals: means 0, deviations as stated, all independent."""
    rng, drawn = np.random.default_rng(4), []

    def noise(count: int) -> np.ndarray:
        return np.floor(rng.standard_normal(count) * 2**BITS).astype(np.int64)

    nobody = np.zeros(0, np.int64)
    for _ in range(3000):
        drawn.append(
            release(
                lambda some: np.zeros((len(some), 6)),
                nobody,
                nobody,
                class_names=("A", "B", "C"),
                projection=IDENTITY,
                blocks=BOTH,
                sigma=3.0,
                unit="patient",
                noise=noise,
            )
        )
    record = drawn[0].record
    sums = np.stack([one.sums for one in drawn]).reshape(3000, -1) / record.sums_noise[0]
    counts = np.stack([one.counts for one in drawn]) / record.counts_noise[0]
    second = np.stack([one.second for one in drawn if one.second is not None])
    diagonal, beside = second[:, 0, 0] / record.second_noise, second[:, 0, 1] * np.sqrt(2) / record.second_noise
    for column in (*sums.T, *counts.T, diagonal, beside):
        assert stats.kstest(column, "norm").pvalue > 1e-6
    assert np.abs(np.corrcoef(np.column_stack([sums, counts, diagonal]).T) - np.eye(22)).max() < 0.1
    assert record.sums_noise[0] == pytest.approx(3.0 * 1.5 / np.sqrt(0.7))
    assert record.counts_noise[0] == pytest.approx(3.0 / np.sqrt(0.1))


def test_every_number_that_leaves_lies_on_one_lattice_whoever_takes_part() -> None:
    """What could be subtracted to a finer number would tell what the noise was added to (Mironov 2012)."""
    for seed in (0, 1):
        features, labels, units = _corpus(seed)
        found = release(
            lambda some, f=features: f[some], labels, units, class_names=("A", "B", "C"), projection=IDENTITY,
            blocks=Blocks(3, 6, 1.0, 0.0, 0.0), sigma=1.0, unit="patient", public_counts=(20, 20, 20),
        )  # fmt: skip
        steps = found.sums * 2**BITS - 0.5
        np.testing.assert_array_equal(steps, np.rint(steps))
        assert found.counts.tolist() == [20, 20, 20]
        assert found.record.counts_noise == (0, 0, 0)
