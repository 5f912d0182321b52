"""Around: an objective that another one is part of, and that learns and tells what that one does."""

from __future__ import annotations

from typing import Any, TypeVar

from medistill.engine.coordinates import Coordinate, Values
from medistill.engine.objectives.base import Objective

Drawn = TypeVar("Drawn")


class Around(Objective[Drawn]):
    """An objective of pixels with another inside; it writes `draw`, `evaluate` and `check`.

    Args:
        inner: the objective inside.
    """

    def __init__(self, inner: Objective[Any]) -> None:
        self.inner, self.sees_pixels = inner, True
        self.unstable, self.unstable_students, self.memory = inner.unstable, inner.unstable_students, inner.memory

    def coordinates(self) -> dict[str, Coordinate]:
        """Return what the objective inside learns itself."""
        return self.inner.coordinates()

    def batch_size(self, shown: int) -> int:
        """Return what the objective inside does."""
        return self.inner.batch_size(shown)

    def step_figures(self, learned: Values) -> dict[str, float]:
        """Return what the objective inside tells."""
        return self.inner.step_figures(learned)

    def validation_figures(self, learned: Values) -> dict[str, list[float]]:
        """Return what the objective inside tells."""
        return self.inner.validation_figures(learned)

    def progress_figures(self, learned: Values) -> str:
        """Return what the objective inside tells."""
        return self.inner.progress_figures(learned)
