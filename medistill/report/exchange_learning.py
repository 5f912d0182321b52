"""Learning: what the exchange page says of how own originals and what was sent were weighed, and by whom."""

from __future__ import annotations

from collections.abc import Sequence

from medistill.evaluate.site_matrix import MatrixRow
from medistill.report.wording import listed


def learning_statements(rows: Sequence[MatrixRow], weights: Sequence[float], guard: str) -> list[str]:
    """How much an image that was sent counts at each site, why, and who could not choose.

    Args:
        rows: of the matrix.
        weights: that could be chosen.
        guard: of own patients, "home" or "off".
    """
    found = []
    joined = [row for row in rows if row.source == "own_and_others" and row.weight is not None]
    chosen = [row for row in joined if not row.not_chosen]
    lost = [row for row in joined if row.not_chosen]
    if chosen:
        tried = listed([f"{weight:g}" for weight in weights])
        at_each = listed([f"{row.weight:g} at {row.site}" for row in chosen])
        found.append(
            f"How much an image that was sent counts beside an own original was chosen among {tried} by the site's own "
            f"validation patients: {at_each}."
        )
    if seen := " ".join(f"{row.site}: {why}." for row in chosen if (why := guard_words(row))):
        obeyed = "is obeyed" if guard == "home" else "is told of and not obeyed"
        found.append(
            "The guard for home takes the least weight that own patients do not show to be worse than the best one, by "
            "one standard error; 0 leaves aside all that was sent. It looks after the patients of the site itself: "
            "whether what was sent would help at other places it neither knows nor asks, so a 0 does not say that it "
            f"would not. Here it {obeyed} (exchange.guard = {guard}). {seen}"
        )
    if lost:
        found.append(
            f"At {listed([row.site for row in lost])} it could not be chosen, because {lost[0].not_chosen}: the weight "
            f"is {lost[0].weight:g}."
        )
    if any(row.penalty is not None for row in rows):
        found.append(
            "The penalty of each probe was chosen likewise, of what belongs to no site by the validation patients of "
            "all, which real sites could not pool. A probe is fitted, without random numbers: of most sources there "
            "is one."
        )
    return found


def guard_words(row: MatrixRow) -> str:
    """What the guard for home saw, and which weight it takes; empty where it had no part."""
    seen = row.guard
    if seen is None:
        return ""
    if seen.best == 0:
        return "own patients do best with nothing that was sent, which the guard takes"
    if seen.gain is None:
        return f"own originals alone could not be learnt from, and the guard takes {seen.taken:g}"
    error = "without bound" if seen.error is None else f"{seen.error:.3f}"
    return (
        f"the loss is smallest with weight {seen.best:g}, {seen.gain:.3f} below that of own originals alone (standard "
        f"error {error}), and the guard takes {seen.taken:g}"
    )
