"""Verdict: the result of a comparison in plain words, for readers who read one sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from medistill.evaluate.evaluation import Evaluation
from medistill.evaluate.intervals import Estimate
from medistill.evaluate.rare import REMEDY, often_absent_in
from medistill.report.alone import answer, compared, heading, stands_alone
from medistill.report.estimates import interval
from medistill.report.lost_classes import lost_classes
from medistill.report.wording import count, difference, level, number, short

Judgement = Literal["non-inferior", "not shown", "worse", "cannot be judged", "not compared"]
HEADINGS: dict[Judgement, str] = {
    "non-inferior": "Non-inferior to all originals",
    "not shown": "Non-inferiority not shown",
    "worse": "Worse than all originals",
    "cannot be judged": "Cannot be judged",
}
"""Judgement -> how the report opens; where nothing is compared, with the figure itself."""


@dataclass(frozen=True)
class Verdict:
    """The result in words.

    Attributes:
        judgement: against all originals, by the margin that the recipe declares.
        heading: how the report opens.
        against_raw: a sentence on it; where nothing is compared, what the networks are worth.
        against_random: a sentence on as many random originals, or on all that there are; where nothing is compared,
            why not.
        lost_classes: a sentence each on the classes that are found far less often than by networks on all originals.
    """

    judgement: Judgement
    heading: str
    against_raw: str
    against_random: str
    lost_classes: tuple[str, ...] = ()


def verdict(evaluation: Evaluation, *, declared_margin: float | None = None, classifier: bool = False) -> Verdict:
    """Say what the paired differences mean.

    "Non-inferior" needs the whole interval of distilled minus raw above the margin, "worse" the whole of it below.

    Args:
        declared_margin: margin of the run's own recipe; None where not known. Another one than was used is told.
        classifier: one was tested as it was received; nothing was trained.
    """
    mine = evaluation.arm("distilled")
    if mine is not None and stands_alone(evaluation):
        said = answer(evaluation, mine, classifier=classifier)
        return Verdict("not compared", heading(evaluation, mine), said, compared(evaluation))
    against_raw, against_random = (evaluation.difference("raw"), evaluation.difference("random"))
    judgement, sentence = _judge(evaluation, against_raw.macro_auc if against_raw else None)
    if declared_margin not in (None, evaluation.margin):
        sentence += (
            f" The recipe of the run declares a margin of {short(declared_margin)}, not {short(evaluation.margin)}: "
            "one that was chosen when figures were known shows nothing."
        )
    random = _random(evaluation, against_random.macro_auc if against_random else None)
    return Verdict(judgement, HEADINGS[judgement], sentence, random, lost_classes(evaluation))


def _judge(evaluation: Evaluation, gain: Estimate | None) -> tuple[Judgement, str]:
    margin = number(evaluation.margin, 3).rstrip("0")
    if gain is None or gain.value is None or gain.low is None or gain.high is None:
        why = gain.reason if gain is not None else "no network was trained on all originals"
        scarce = f" What to do: {REMEDY}." if why and why == often_absent_in(evaluation) else ""
        said = f"How the distilled images compare with all originals cannot be judged: {why}.{scarce}"
        return "cannot be judged", said
    limits = f"{level(evaluation.confidence)} {interval(gain, 'difference')}"
    figures = f"difference in macro AUC {difference(gain.value)}, {limits}"
    if evaluation.non_inferiority == "cannot be judged":
        said = f"How the distilled images compare with all originals cannot be judged: {evaluation.reason} ({figures})."
        return "cannot be judged", said
    judgement: Judgement
    if evaluation.non_inferiority == "shown":
        judgement, loses = "non-inferior", "lose less"
    elif gain.high < -evaluation.margin:
        judgement, loses = "worse", "lose more"
    else:
        judgement, loses = "not shown", "may lose more"
    return judgement, (
        f"Networks trained on the distilled images {loses} than the margin of {margin} against networks trained on all "
        f"originals ({figures})."
    )


def _random(evaluation: Evaluation, gain: Estimate | None) -> str:
    if gain is None or gain.value is None:
        why = gain.reason if gain is not None else "no network was trained on random originals"
        return f"How they compare with {_controls(evaluation)} cannot be judged: {why}."
    figures = f"difference {difference(gain.value)}"
    if gain.low is not None:
        figures += f", {level(evaluation.confidence)} {interval(gain, 'difference')}"
    if gain.high is not None and gain.high < 0:
        return f"They do worse than networks trained on {_controls(evaluation)} ({figures})."
    if evaluation.beats_random != "cannot be judged":
        beat = "beat" if evaluation.beats_random == "yes" else "do not beat"
        unsure = evaluation.beats_random == "yes" and gain.low is not None and gain.low <= 0
        if unsure:
            figures += "; on other test images it could be none, since the interval includes 0"
        return f"They {beat} networks trained on {_controls(evaluation)} by more than chance in training ({figures})."
    why = evaluation.reason_random or evaluation.reason
    return f"Whether they beat {_controls(evaluation)} cannot be judged: {why} ({figures})."


def _controls(evaluation: Evaluation) -> str:
    """What the random arm had: as many images as the set, or all of a class that has fewer."""
    distilled, random = evaluation.arm("distilled"), evaluation.arm("random")
    if distilled is None or random is None or random.images >= distilled.images:
        return "as many random originals"
    return f"random originals ({count(random.images)}, not {count(distilled.images)}: a class has no more)"
