"""Cost: what training on the distilled images takes beside training on all originals, in words."""

from __future__ import annotations

from medistill.evaluate.evaluation import Evaluation
from medistill.report.wording import NARROW, number

_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def size(value: int) -> str:
    """A number of bytes as people write it, in powers of 1,000."""
    scaled, unit = float(value), 0
    while scaled >= 999.5 and unit < len(_UNITS) - 1:
        scaled, unit = scaled / 1000, unit + 1
    return f"{number(scaled, 1 if unit and scaled < 99.95 else 0)}{NARROW}{_UNITS[unit]}"


def fraction(part: float, whole: float) -> str:
    """How much ``part`` is of a positive ``whole``: "1/57 of", "0.83 times", "1.4 times"."""
    if part <= 0:
        return "next to nothing of"
    ratio = whole / part
    return f"1/{ratio:.0f} of" if ratio >= 1.5 else f"{1 / ratio:.2g} times"


def savings(evaluation: Evaluation) -> tuple[str, ...]:
    """What a recipient of the distilled images saves, one sentence; none where an arm is missing or took no time."""
    distilled, raw = evaluation.arm("distilled"), evaluation.arm("raw")
    if distilled is None or raw is None or min(raw.bytes, raw.images_seen) <= 0 or raw.seconds <= 0:
        return ()
    return (
        f"Beside all originals, the distilled images take {fraction(distilled.bytes, raw.bytes)} the bytes, and a "
        f"network that trains on them {fraction(distilled.images_seen, raw.images_seen)} the images seen and "
        f"{fraction(distilled.seconds_a_network, raw.seconds_a_network)} the time.",
    )
