"""Divergence: what left its range first in an outer step, and which setting to lower for it."""

from __future__ import annotations

import math
from collections.abc import Mapping

from medistill.engine.coordinates import Coordinate, Values
from medistill.errors import DivergedError

SECTION = "method"
"""The section of a recipe that the settings of a distillation stand in."""
SKIPPED_SHARE = 0.1
"""Share of the outer steps that may be skipped."""
SKIPPED_FROM = 20
"""The outer step from which that share is asked for; in a shorter run it is the last."""


def refuse_loss(loss: float, values: Values, coordinates: Mapping[str, Coordinate], unstable: str, step: int) -> None:
    """Stop where the loss at coordinates in their range left the finite numbers.

    What grew most since the start is to blame, the learned rate of a student or the images. Where nothing doubled, it
    is ``unstable``: a student's loss, for one, is finite for a small enough first rate.

    Args:
        loss: of the step.
        values: the coordinates.
        coordinates: what is known of them.
        unstable: the setting to lower where nothing grew.
        step: number of the outer step, from 1.

    Raises:
        DivergedError: the loss is not finite.
    """
    if math.isfinite(loss):
        return
    grown = {
        one.range.setting: one.range.growth(values[name])
        for name, one in coordinates.items()
        if one.range is not None and one.range.growth is not None
    }
    setting = max(grown, key=lambda name: grown[name], default=unstable)
    raise _diverged(f"the loss is {loss}", setting if grown.get(setting, 0.0) > 2 else unstable, step)


def refuse_skipped(skipped: int, step: int, iterations: int, unstable: str) -> None:
    """Stop where too many outer steps so far gave nothing that could be taken.

    Args:
        skipped: how many, this step among them.
        step: number of the outer step, from 1.
        iterations: of the run.
        unstable: the setting to lower.

    Raises:
        DivergedError: they are more than `SKIPPED_SHARE`.
    """
    if step >= min(SKIPPED_FROM, iterations) and skipped > SKIPPED_SHARE * step:
        seen = f"{skipped} of the steps so far had a loss or a gradient that is not finite, and were skipped"
        raise _diverged(seen, unstable, step, f"at most {SKIPPED_SHARE:.0%} of them")


def refuse_shifted_loss(loss: float, step: int) -> None:
    """Stop where only the images that the sharpness-aware step shifted gave no finite loss.

    Raises:
        DivergedError: the loss is not finite.
    """
    if not math.isfinite(loss):
        raise _diverged(f"the loss at the shifted images is {loss}", "sharpness", step)


def refuse_update(values: Values, coordinates: Mapping[str, Coordinate], step: int) -> None:
    """Stop before an update that takes a coordinate out of its range.

    Raises:
        DivergedError: one of them is not finite, or beyond its limit.
    """
    for name, coordinate in coordinates.items():
        reach = coordinate.range
        if reach is not None and not (measured := reach.measure(values[name])) <= reach.limit:
            raise _diverged(reach.sentence.format(measured), reach.setting, step)


def _diverged(seen: str, setting: str, step: int, expected: str = "finite numbers within their range") -> DivergedError:
    return DivergedError(
        f"the distillation diverged at outer step {step}: {seen}",
        expected=expected,
        do=f"lower {SECTION}.{setting} by a factor of 3 and start again in another --out; the state before that step "
        "was saved",
    )
