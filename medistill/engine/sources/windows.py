"""Windows: which of a student's steps are differentiated. A rule draws them, and each family member may have its own.

The loss is taken at a window's end, and its derivative goes back to where it begins. A rule may fix the window before
the walk, or draw a number, and let the norms of the gradients decide once the walk is known (Li, Gou et al. 2025).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from medistill.engine.sources.walks import WalkSettings


@dataclass(frozen=True)
class NormWindow:
    """A window that hangs on the norms n[t] of the student's gradients at its T steps.

    Its step s is drawn with probability softmax(n)[s]. It is window - spread + 2 spread r / T steps long, rounded down,
    r the number of steps whose norm changed less than that of s did, |n[t] - n[t-1]|, and 0 for the first. It begins
    with s, or earlier where it would end after T.

    Mirrored it is window - spread steps long and begins as many steps before the last place for it as s lies behind
    the first, but not before the first: where the gradients are flat, that is, if they fall along the walk.

    Attributes:
        pick: a number of 0 .. 1 that draws s.
        window: length about which others vary, M.
        spread: steps by which it varies, d.
        mirrored: whether it is drawn mirrored.
    """

    pick: float
    window: int
    spread: int
    mirrored: bool

    def of(self, norms: Float[Tensor, " T"]) -> range:
        """Return the steps of the window."""
        norms, steps = norms.double().cpu(), len(norms)
        reached = torch.softmax(norms, dim=0).cumsum(dim=0)
        drawn = min(int(torch.searchsorted(reached, self.pick)), steps - 1)
        if self.mirrored:
            size = self.window - self.spread
            begins = max(0, steps - drawn - size)
        else:
            changes = torch.cat([norms.new_zeros(1), norms.diff().abs()])
            below = int((changes < changes[drawn]).sum())
            size = self.window - self.spread + 2 * self.spread * below // steps
            begins = min(drawn, steps - size)
        return range(begins, begins + size)


class WindowRule(Protocol):
    """How the window of an outer step is drawn."""

    def draw(self, settings: WalkSettings, iteration: int, rng: torch.Generator) -> range | NormWindow:
        """Draw the steps of a window, or what decides on them once the walk is known.

        Args:
            settings: of the walk.
            iteration: finished outer steps.
            rng: of this walk; what is drawn later depends on how often it was asked.
        """
        ...


@dataclass(frozen=True)
class RandomWindows:
    """Windows of one length that end anywhere from step M to step T (Feng, Vedantam, Kempe 2024).

    Where M is T that is the whole walk. Of a pool it is the window with which a member begins, should it have to: those
    that follow lie one behind the other, so the first may begin anywhere within the length of one. The members that
    a run begins with begin anywhere, or all would be young at once, and old at once.

    Attributes:
        first: outer step from which windows are asked for.
    """

    first: int = 0

    def draw(self, settings: WalkSettings, iteration: int, rng: torch.Generator) -> range:
        """Draw the steps of a window."""
        last = settings.steps - settings.window
        if settings.pool and iteration >= self.first + settings.pool:
            last = min(last, settings.window - 1)
        begins = int(torch.randint(last + 1, (), generator=rng))
        return range(begins, begins + settings.window)


@dataclass(frozen=True)
class StagedWindows:
    """Windows that follow the norms of the student's gradients, in three stages (AT-BPTT; Li, Gou et al. 2025).

    First they lie where gradients are steep, their length by how much these change; then anywhere, longer by the
    spread; at last mirrored, shorter by the spread (`NormWindow`). In the published code a stage ends when the training
    accuracy has stopped to rise; here each has its share of the outer steps, so that nothing has to be remembered.

    Attributes:
        spread: steps by which windows are longer or shorter, d.
        iterations: outer steps of the run.
        steep_until: share of them at which the first stage ends.
        uniform_until: share at which the second ends.
    """

    spread: int
    iterations: int
    steep_until: float
    uniform_until: float

    def draw(self, settings: WalkSettings, iteration: int, rng: torch.Generator) -> range | NormWindow:
        """Draw the steps of a window, or what decides on them once the walk is known."""
        done = iteration / self.iterations
        if self.steep_until <= done < self.uniform_until:
            size = settings.window + self.spread
            begins = int(torch.randint(settings.steps - size + 1, (), generator=rng))
            return range(begins, begins + size)
        pick = float(torch.rand((), generator=rng, dtype=torch.float64))
        return NormWindow(pick, settings.window, self.spread, mirrored=done >= self.uniform_until)
