"""Percentiles against numpy's, to the bit; the stretch against the same in one expression."""

import numpy as np
import pytest

from medistill.data.grey_scale import STEP, percentiles, stretched

PERCENTS = [0.0, 0.5, 1.0, 33.3, 50.0, 99.0, 99.5, 100.0]


def images() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "12 bits": rng.integers(0, 4096, 200_001).astype(np.float32),
        "signed": rng.normal(0, 1000, 70_003).astype(np.float32),
        "narrow": (1 + rng.random(65_537) / 512).astype(np.float32),
        "two values": np.array([3.0, -7.5], np.float32),
        "one value": np.array([5.0], np.float32),
        "a column that no sample sees": np.where(np.arange(122_000) % STEP == 0, 4095.0, 7.0).astype(np.float32),
        "a column that the sample sees alone": np.where(np.arange(122_000) % STEP, 4095.0, 7.0).astype(np.float32),
        "dark but for one row": np.concatenate([np.zeros(90_000), np.arange(1.0, 400.0)]).astype(np.float32),
        "both zeros": np.array([0.0, -0.0, 1.0, -1.0] * 20, np.float32),
        "wide": (rng.normal(0, 1, 1001) * 10.0 ** rng.integers(-30, 30, 1001)).astype(np.float32),
    }


@pytest.mark.parametrize("name", images())
def test_percentiles_are_numpys_to_the_bit(name: str) -> None:
    values = images()[name]
    assert percentiles(values, PERCENTS) == np.percentile(values, PERCENTS).tolist()


def test_a_hundred_lengths_and_percents() -> None:
    rng = np.random.default_rng(1)
    for _ in range(100):
        values = np.round(rng.normal(0, 50, int(rng.integers(1, 400))), 1).astype(np.float32)
        asked = rng.uniform(0, 100, 4).tolist()
        assert percentiles(values, asked) == np.percentile(values, asked).tolist()


def test_the_stretch_is_that_of_one_expression_in_double_precision() -> None:
    values = images()["signed"].reshape(1, -1)
    low, high = np.percentile(values, [1.0, 99.0])
    expected = np.clip((values - low) * (255 / (high - low)), 0, 255).astype(np.float32)
    assert (stretched(values, float(low), float(high)) == expected).all()
