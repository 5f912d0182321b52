"""Selection statements: which training images were left out of the distillation, and which it began as."""

from __future__ import annotations

from collections.abc import Sequence

from medistill.report.record import Report
from medistill.report.summaries import PartSummary
from medistill.report.wording import count, counted, listed, percent, sentences, were

DRAWN_BY = {
    "leverage": "drawn by their ridge leverage within each class",
    "distance": "drawn by their squared distance from the mean of their class",
}
"""Setting method.init -> how the training images were drawn that images began as, where not at random."""
DRAWN_OTHERWISE = "drawn at random or in a way that is not told"
HARDEST = "those of the largest mean loss of networks that had begun to learn (Xu et al. 2024)"
UNLIKE = (
    "those whose effect on the gradient of synthetic images was farthest from the mean of their class, of the images "
    "that were still there (after Xu et al. 2024)"
)
UNUSUAL = "Such a draw takes unusual patients more often."
BEGINNINGS = {
    "real": "training images",
    "noise": "Gaussian noise",
    "quantised": "the centroids of an optimal quantisation (Tan and Slade 2026)",
    "patches": "patches of training images, which they still are",
}
"""What images began as -> the words of a methods section."""


def drawn_by(report: Report) -> str:
    """How the training images were drawn that the set began as; empty where at random, where it began otherwise, or
    where the sets that it was united from differ in it."""
    ways = _ways(report)
    return DRAWN_BY.get(ways[0], "") if len(set(ways)) == 1 else ""


def unusual(report: Report) -> bool:
    """Whether some of the training images that the set began as were drawn so that unusual patients came more often."""
    return any(way in DRAWN_BY for way in _ways(report))


def beginning(report: Report) -> str:
    """What the images of a set started from, after "They started from"; of a united set what is so of all its parts."""
    distilled = report.distilled
    if distilled is None or not distilled.parts:
        init = str(report.making.section("method").get("init", ""))
        return f"{BEGINNINGS['real']}, {DRAWN_BY[init]}" if init in DRAWN_BY else BEGINNINGS[init]
    known, ways = distilled.starts_from, {part.drawn for part in distilled.parts}
    begun = BEGINNINGS[known] if known else "what is not the same for all of them, or not told of all"
    if len(ways) == 1:
        return f"{begun}, {drawn_by(report)}" if drawn_by(report) else begun
    some = "some" if known else BEGINNINGS["real"]
    told = listed([f"{_of(part)} from {some} {DRAWN_BY[part.drawn]}" for part in distilled.parts if part.drawn])
    return f"{begun}: {told}, the others from some {DRAWN_OTHERWISE}" if known else f"{begun}: {told}"


def united(report: Report) -> str:
    """That a set is united from several, and what was left out before each was made, in sentences of a methods
    section; empty of a set that is not."""
    parts = () if report.distilled is None else report.distilled.parts
    if not parts:
        return ""
    return sentences(
        f"The set unites those of {count(len(parts))} sources. They started from {beginning(report)}.",
        _left_out(parts, [part.pruned for part in parts], HARDEST),
        _left_out(parts, [part.thinned for part in parts], UNLIKE),
    )


def _left_out(parts: Sequence[PartSummary], shares: Sequence[float], which: str) -> str:
    """Which shares were left out before the parts were made, in a sentence; empty where none were."""
    if not any(shares):
        return ""
    if len(set(shares)) == 1:
        return f"Before each of them was made, {percent(shares[0])} of each class were left out: {which}."
    each = [
        f"{percent(share)} before {_of(part)} were made" for part, share in zip(parts, shares, strict=True) if share
    ]
    return f"Of each class were left out {listed(each)}: {which}."


def _of(part: PartSummary) -> str:
    return f"images {part.first} to {part.first + part.images - 1}"


def _ways(report: Report) -> tuple[str, ...]:
    """How the originals were drawn that each part began as, of a set that is not united in one; by `DRAWN_BY`, or
    otherwise."""
    if report.distilled is not None and report.distilled.parts:
        return tuple(part.drawn for part in report.distilled.parts)
    return (str(report.making.section("method").get("init", "")),)


def pruning(report: Report) -> str:
    """What was left out before the images were made, in a sentence of a methods section."""
    distilled, known = report.distilled, report.making.section("prune")
    if distilled is None or not distilled.pruned:
        return ""
    gone, networks = sum(distilled.pruned.values()), _networks(known.get("networks", 1))
    share, effect_share = known.get("share", 0), known.get("effect_share", 0)
    shares = [f"{percent(share)} of each class"] if share else []
    shares += [f"{percent(effect_share)} of {'the others' if share else 'each class'}"] if effect_share else []
    ways = []
    if share or not effect_share:
        over = f" over {counted(known['epochs'], 'epoch')}" if known else ""
        ways.append(f"those of the largest mean loss{over} of {networks} trained on the whole training split")
    if effect_share:
        shown = counted(known["effect_images"], "image")
        ways.append(
            f"those whose effect on the gradient of {shown} of their class, in {networks} with fresh random "
            "parameters, was farthest from the mean of the class on either side, measured once for the whole training "
            "split"
        )
    of_class = f", {listed(shares)}," if shares else ""
    told = f"Before that {counted(gone, 'training image')}{of_class} {were(gone)} left out"
    return f"{told}: {', then '.join(ways)} (Xu et al. 2024)."


def _networks(networks: int) -> str:
    return "a network" if networks == 1 else f"{count(networks)} networks"


def not_attacked(report: Report) -> str:
    """What attacks on membership do not ask of a set before which images were left out."""
    if report.distilled is None or not report.distilled.pruned:
        return ""
    return (
        "Nobody is asked about images that were left out before: only their losses or effects had a part in the making "
        "of the set, and what that choice gives away is not tested. The shadows were made of the images that stayed."
    )
