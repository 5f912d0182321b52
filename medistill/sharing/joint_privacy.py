"""Joint privacy: what the guarantees of several sets promise of all of them together."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_CEILING, Decimal, localcontext

from medistill.artifacts.provenance import MergedPart


def joint_privacy(sources: Sequence[MergedPart]) -> str:
    """Return what is promised of sets that are given away together, in words.

    Where nobody is in two of the sources, the largest epsilon and the largest delta hold for everybody (parallel
    composition: McSherry 2009, Theorem 4). Where somebody may be, epsilons and deltas add up (sequential composition:
    Dwork and Roth 2014, Theorem 3.16).

    Args:
        sources: the sets, each with what was promised for it.
    """
    without = [number for number, source in enumerate(sources, 1) if source.epsilon is None]
    if len(without) == len(sources):
        return "No formal privacy guarantee was sought for any of the united sets."
    if without:
        named = ", ".join(map(str, without))
        return (
            f"The united set has no formal privacy guarantee: of its {len(sources)} sources, number {named} has none. "
            "What was promised of another holds for that one alone."
        )
    units = sorted({str(source.unit) for source in sources})
    if len(units) > 1:
        return (
            f"Each of the {len(sources)} sources is differentially private for its own unit ({' or '.join(units)}); "
            "of all together nothing is stated, since the units differ."
        )
    epsilons, deltas = ([float(getattr(source, key)) for source in sources] for key in ("epsilon", "delta"))
    return (
        f"Each of the {len(sources)} sources is differentially private for one {units[0]}. Together they have "
        f"epsilon = {_up(max(epsilons))}, delta = {_up(max(deltas))} if no {units[0]} is in two of the sources, which "
        f"nobody has checked here; else epsilon = {_up(*epsilons)}, delta = {_up(*deltas)}."
    )


def _up(*bounds: float) -> str:
    """Their sum to three digits, rounded up: a smaller number would promise too much."""
    whole = sum((Decimal(repr(bound)) for bound in bounds), Decimal())
    with localcontext(prec=3, rounding=ROUND_CEILING):
        return f"{float(+whole):g}"
