"""Selection statements: which training images were left out of the distillation, and which it began as."""

from __future__ import annotations

from medistill.report.record import Report
from medistill.report.wording import count, counted, percent, were

DRAWN_BY = {
    "leverage": "drawn by their ridge leverage within each class",
    "distance": "drawn by their squared distance from the mean of their class",
}
"""Setting method.init -> how the training images were drawn that images began as, where not at random."""
UNUSUAL = "Such a draw takes unusual patients more often."


def drawn_by(report: Report) -> str:
    """How the training images were drawn that the set began as; empty where at random or where it began otherwise."""
    return DRAWN_BY.get(str(report.making.section("method").get("init", "")), "")


def pruning(report: Report) -> str:
    """What was left out before the images were made, in a sentence of a methods section."""
    distilled, known = report.distilled, report.making.section("prune")
    if distilled is None or not distilled.pruned:
        return ""
    gone = sum(distilled.pruned.values())
    share = f", {percent(known['share'])} of each class," if known else ""
    networks, epochs = known.get("networks", 1), known.get("epochs")
    by = "a network" if networks == 1 else f"{count(networks)} networks"
    while_trained = f" over {counted(epochs, 'epoch')}" if epochs else ""
    return (
        f"Before that {counted(gone, 'training image')}{share} {were(gone)} left out: those of the largest mean loss"
        f"{while_trained} of {by} trained on the whole training split (Xu et al. 2024)."
    )


def not_attacked(report: Report) -> str:
    """What attacks on membership do not ask of a set before which images were left out."""
    if report.distilled is None or not report.distilled.pruned:
        return ""
    return (
        "Nobody is asked about images that were left out for their loss: only their losses had a part in the making of "
        "the set, and what that choice gives away is not tested. The shadows were made of the images that stayed."
    )
