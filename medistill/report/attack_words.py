"""Attack words: what attacks need, count and may find, for a reader who knows nothing of networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from medistill.evaluate.intervals import Estimate
from medistill.privacy.attack import NOT_MADE, Knowledge
from medistill.privacy.copy_search import ITSELF
from medistill.privacy.criterion import Asked, Criterion, Reading
from medistill.privacy.findings import Finding
from medistill.report.estimates import interval
from medistill.report.wording import NARROW, NO_BREAK, count, counted, listed, number, percent, short

KNOWLEDGE: Mapping[Knowledge, str] = {
    "set": "the set",
    "recipe": "its recipe",
    "person": "a picture of the person",
    "others": "pictures of other people",
    "encoder": "the encoder that the set is for",
    "teacher": "the teacher of its target vectors",
    "insertion": "a hand in the originals",
}
"""What an attacker has -> its name in a sentence."""
COUNTED: Mapping[str, str] = {
    "copies": "images that are copies",
    "pasted": "images made of them",
    "recovered": "images that give it away",
    "traced": "images traceable to it",
    "smallest mean": "fewest people in a mean",
    "found": "people found",
    "auc": "pairs told apart",
    "repeated canaries": "chance that it is luck",
    "followed labels": "chance that it is luck",
    "one run epsilon": "epsilon, at the least",
    "originals read": "originals checked",
    "letters": "images with letters",
    "overlays": "sites whose mark shows",
}
"""Key of a criterion -> what its figure is a share or number of."""
NOT_ASKED = (NOT_MADE.reason, ITSELF.reason)
"""Why a control has no figure, where that is no fault."""


def who(knows: Sequence[Knowledge]) -> str:
    """The attacker by what he has."""
    if not knows:
        return "Attacks that this version does not know"
    return f"Whoever has {listed([KNOWLEDGE[one] for one in knows])}"


def counted_words(asked: Asked) -> str:
    """What the figure of a criterion counts."""
    return COUNTED.get(asked.key, asked.key)


def figure_text(value: float, reads_as: Reading) -> str:
    """A figure as the page has it: a share in percent, a number as it is."""
    if reads_as == "number":
        return number(value)
    return count(round(value)) if reads_as == "count" else percent(value)


def limits_text(estimate: Estimate, reads_as: Reading) -> str:
    """The interval behind a figure, in brackets; empty where there is none."""
    limits = "" if reads_as == "count" else interval(estimate, "share" if reads_as == "share" else "number")
    return f"({limits})" if limits else ""


def limit_text(asked: Asked, threshold: float) -> str:
    """What a figure is held against: "at most 5 %"."""
    value = f"{short(100 * threshold)}{NARROW}%" if asked.reads_as == "share" else short(threshold)
    return f"{asked.bound}{NO_BREAK}{value}"


def verdict_text(finding: Finding) -> str:
    """The verdict of a row, with the classes and sites that fail it too."""
    word = "not judged" if finding.verdict == "not enough evidence" else finding.verdict
    if not finding.groups:
        return word
    return f"{word}, with {counted(finding.groups, 'class or site', 'classes or sites')}"


def self_asked_text(criterion: Criterion) -> str:
    """Something that the audit asks of itself, in a sentence's part."""
    found = "not known" if criterion.figure is None else figure_text(criterion.figure, criterion.asked.reads_as)
    return f"{criterion.name}: {found}, {limit_text(criterion.asked, criterion.threshold)} ({criterion.verdict})"
