"""Caveats: what a report does not promise, and what to know before using a figure or passing the set on."""

from __future__ import annotations

from dataclasses import dataclass

from medistill.report.summaries import CorpusSummary, SetSummary
from medistill.report.wording import class_label, listed


@dataclass(frozen=True)
class Caveat:
    """One thing that is not promised.

    Attributes:
        title: in a few words.
        text: in one or two sentences.
    """

    title: str
    text: str


def caveats(
    distilled: SetSummary | None, corpus: CorpusSummary | None, *, synthetic: bool | None
) -> tuple[Caveat, ...]:
    """What holds for every run in this mode, and what this run adds."""
    found = [
        Caveat(
            "No formal privacy guarantee",
            "The set was made without differential privacy and no audit was run: nothing here measures what could be "
            "found out about a patient from it.",
        ),
        Caveat(
            "Not clinical evidence",
            "Networks are compared on one test split of one corpus. That says nothing about their use on patients.",
        ),
    ]
    if distilled is not None and distilled.starts_from == "real" and not synthetic:
        found.append(
            Caveat(
                "Images may resemble real ones",
                "The distilled images began as real training images and were changed from there. Look at every one of "
                "them before it leaves the house.",
            )
        )
    unit = corpus.split_unit if corpus is not None else distilled.split_unit if distilled is not None else ""
    if unit == "image":
        found.append(
            Caveat(
                "Split by image, not by patient",
                "No patient was known for these files. The same person may be in training and in test, so the figures "
                "may be too good.",
            )
        )
    if corpus is not None and corpus.classes_of_one_site:
        found.append(
            Caveat(
                "Class and site go together",
                f"{listed(tuple(map(class_label, corpus.classes_of_one_site)))} come from one site only. A network may "
                "tell them by the site instead of by the disease, in every arm alike.",
            )
        )
    if synthetic:
        found.append(
            Caveat(
                "Nothing about patients",
                "The source images are drawn. The figures show how the tool works, not how it does on radiographs.",
            )
        )
    else:
        found.append(
            Caveat(
                "Counts can be telling",
                "The figures describe the test patients as a group, and small counts may point at somebody where a "
                "class is rare. Read them before passing this report on.",
            )
        )
    return tuple(found)
