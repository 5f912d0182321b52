"""Penalty: how a probe is fitted. There is nothing else to choose, since the fit is convex and goes to its end."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Penalty:
    """The way to fit a probe, in place of a schedule.

    Attributes:
        penalty: factor of the L2 penalty, half of which times the squared weights is added to the mean loss.
    """

    penalty: float

    @property
    def words(self) -> str:
        """The same in a sentence."""
        return f"an L2 penalty of {self.penalty:.3g}"

    @property
    def epochs(self) -> int:
        """Passes over the images: none, since a fit has no order of images."""
        return 0
