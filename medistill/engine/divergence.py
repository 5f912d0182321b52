"""Divergence: what left its range first in an outer step, and which setting to lower for it."""

from __future__ import annotations

import math
from collections.abc import Mapping

from medistill.engine.coordinates import Coordinate, Values
from medistill.errors import DivergedError

SECTION = "method"
"""The section of a recipe that the settings of a distillation stand in."""


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


def _diverged(seen: str, setting: str, step: int) -> DivergedError:
    return DivergedError(
        f"the distillation diverged at outer step {step}: {seen}",
        expected="finite numbers within their range",
        do=f"lower {SECTION}.{setting} by a factor of 3 and start again in another --out; the state before that step "
        "was saved",
    )
