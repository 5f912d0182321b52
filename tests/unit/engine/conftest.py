"""What tests of the engine share."""

from __future__ import annotations

from pathlib import Path

import pytest

from medistill.artifacts.trajectories import Trajectories
from tests.factories.outer_problem import random_walks


@pytest.fixture
def trajectories(tmp_path: Path) -> Trajectories:
    """Two experts that are random walks of four epochs."""
    return random_walks(tmp_path / "experts")
