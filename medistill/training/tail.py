"""The tail of a training: the mean of the parameters over its last part.

SGD at a constant rate circles around what it looks for; the mean of its last steps lies nearer (Polyak, Juditsky 1992).
It stands for lowering the rate, and unlike that it can be had at several lengths of one training: the tails of
lengths of which each is at least 4/3 of the one before do not overlap.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

SHARE = 0.25
"""Part of the epochs that is averaged; measured, see docs/decisions/0035."""


class Tail:
    """The mean over the last epochs of a training of so many.

    Attributes:
        first: the first epoch whose end is averaged, counted from 1.
    """

    def __init__(self, epochs: int) -> None:
        self.epochs, self.first = epochs, epochs - max(1, round(SHARE * epochs)) + 1
        self._sum: Tensor | None = None
        self._count = 0

    def add(self, epoch: int, values: Float[Tensor, " P"]) -> None:
        """Take the parameters at the end of an epoch, counted from 1; those outside of the tail are not taken."""
        if self.first <= epoch <= self.epochs:
            self._sum = values.clone() if self._sum is None else self._sum.add_(values)
            self._count += 1

    @property
    def mean(self) -> Float[Tensor, " P"]:
        """What was taken, averaged.

        Raises:
            ValueError: nothing was.
        """
        if self._sum is None:
            raise ValueError("no epoch of the tail was taken")
        return self._sum / self._count
