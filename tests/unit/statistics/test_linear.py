"""The linear classifier of class statistics from outside, whose numbers may be anything that a file can hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medistill.artifacts.projection import Projection, ProjectionRecord
from medistill.errors import ArtifactError
from medistill.statistics.linear import linear_classifier
from tests.factories.released import FEATURES, released_set, statistics_of


@pytest.mark.parametrize("second", [0.0, 0.3])
def test_numbers_of_which_no_finite_classifier_follows_are_refused(second: float) -> None:
    found = statistics_of(released_set(second=second))
    weights, biases = linear_classifier(found)
    assert np.isfinite(weights).all()
    assert biases.shape == (2,)
    record = ProjectionRecord(kind="public", encoder="0" * 64)
    centre = np.full(FEATURES, 3e38, np.float32)
    huge = Projection(centre, np.full((FEATURES, FEATURES), 3e38, np.float32), record)
    with pytest.raises(ArtifactError, match="no finite classifier follows"):
        linear_classifier(replace(found, projection=huge, record=found.record.replaced(projection=record)))


@pytest.mark.parametrize("size", [1e15, -1e15])
def test_second_moments_as_large_as_can_be_are_no_traceback(size: float) -> None:
    found = statistics_of(released_set(second=0.3))
    extreme = replace(found, second=np.full((FEATURES, FEATURES), size), sums=np.full((2, FEATURES), size))
    assert np.isfinite(linear_classifier(extreme)[0]).all()


def test_a_metric_that_cannot_be_solved_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def singular(*_: object) -> None:
        raise np.linalg.LinAlgError("Singular matrix")

    monkeypatch.setattr(np.linalg, "solve", singular)
    with pytest.raises(ArtifactError, match="no finite classifier follows"):
        linear_classifier(statistics_of(released_set(second=0.3)))
