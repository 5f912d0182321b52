"""Attack words: what attacks need, count and may find, for a reader who knows nothing of networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from medistill.evaluate.intervals import Estimate
from medistill.privacy.attack import NOT_MADE, Knowledge
from medistill.privacy.attack_registry import all_attacks
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
    "making": "how many",
    "laxer settings": "how many",
    "held out": "how many",
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
UNASKED = "not asked"
"""In place of a verdict, where there was nothing to look for, and of the figure of a control that there cannot be."""
NOT_LOOKED_FOR = "not looked for"
"""In place of a figure, likewise."""


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


def verdict_word(told: Criterion | Finding) -> str:
    """The verdict as every table and list shows it. What passes without a look is not shown as a pass."""
    if told.not_looked_for:
        return UNASKED
    return "not judged" if told.verdict == "not enough evidence" else told.verdict


def verdict_text(finding: Finding) -> str:
    """The verdict of a row, with the classes and sites that fail it too."""
    if not finding.groups:
        return verdict_word(finding)
    return f"{verdict_word(finding)}, with {counted(finding.groups, 'class or site', 'classes or sites')}"


def name_of(criterion: Criterion) -> str:
    """What a criterion asks, in the words of the page: "The same picture, point by point: images that are copies"."""
    attack = next((one for one in all_attacks() if one.name == criterion.attack), None)
    if attack is None:
        return criterion.name
    group = criterion.name.partition(" attack, ")[2].removesuffix(")")  # as a score attack ends the name of a cell
    what = counted_words(criterion.asked)
    return f"{attack.plain_words or attack.display_name}: {what}{f', {group}' if group else ''}"


def found_text(criterion: Criterion) -> str:
    """What was found, as the page has it."""
    if criterion.not_looked_for:
        return NOT_LOOKED_FOR
    return "not known" if criterion.figure is None else figure_text(criterion.figure, criterion.asked.reads_as)


def asked_text(criterion: Criterion) -> str:
    """What was asked for: "at most 5 %"."""
    return limit_text(criterion.asked, criterion.threshold)
