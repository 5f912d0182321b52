"""Caveats: what a report does not promise, and what to know before using a figure or passing the set on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medistill.evaluate.evaluation import Evaluation
from medistill.report.summaries import CorpusSummary, SetSummary
from medistill.report.wording import class_label, counted, listed


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
    evaluation: Evaluation,
    distilled: SetSummary | None,
    corpus: CorpusSummary | None,
    *,
    synthetic: bool | None,
    held_out: bool = False,
    benchmark: bool = False,
) -> tuple[Caveat, ...]:
    """What holds for every run in this mode, and what this run adds.

    Args:
        held_out: it is known what sets that were distilled without a site are worth there.
        benchmark: the corpus is a public benchmark of the field.
    """
    unit = corpus.split_unit if corpus is not None else distilled.split_unit if distilled is not None else ""
    one = "a patient" if unit == "patient" else "a person"
    found = [
        Caveat(
            "No formal privacy guarantee",
            "The set was made without differential privacy and no audit was run: nothing here measures what could be "
            f"found out about {one} from it.",
        ),
        Caveat(
            "Not clinical evidence",
            "Networks are compared on one test split of one corpus. That says nothing about their use on patients.",
        ),
    ]
    if distilled is not None and distilled.starts_from == "real" and not synthetic and not benchmark:
        found.append(
            Caveat(
                "Images may resemble real ones",
                "The distilled images began as real training images and were changed from there. Look at every one of "
                "them before it leaves the house.",
            )
        )
    if unit == "image":
        found.append(_split_by_image(benchmark=benchmark))
    if corpus is not None and corpus.classes_of_one_site:
        found.append(_class_and_site(corpus.classes_of_one_site, held_out=held_out))
    if suppressed := [group for group in evaluation.subgroups if group.images is None]:
        found.append(
            Caveat(
                "Small subgroups are not shown",
                f"{counted(len(suppressed), 'subgroup')} of the test split {'is' if len(suppressed) == 1 else 'are'} "
                f"left out: figures of a few could point at {one}, and would be little more than chance.",
            )
        )
    if synthetic:
        found.append(
            Caveat(
                "Nothing about patients",
                "The source images are drawn. The figures show how the tool works, not how it does on radiographs.",
            )
        )
    elif not benchmark:
        found.append(
            Caveat(
                "Counts can be telling",
                f"The figures describe the {'patients' if unit == 'patient' else 'people'} of the test split as a "
                "group, and small counts may point at somebody where a class is rare. Read them before passing this "
                "report on.",
            )
        )
    return tuple(found)


def _split_by_image(*, benchmark: bool) -> Caveat:
    if benchmark:
        return Caveat(
            "Split by image",
            "The split is the benchmark's own. Where images belong together, as those of one person, they may be on "
            "both sides.",
        )
    return Caveat(
        "Split by image, not by patient",
        "No patient was known for these files. The same person may be in training and in test, so the figures may be "
        "too good.",
    )


def _class_and_site(names: Sequence[str], *, held_out: bool) -> Caveat:
    come = "comes" if len(names) == 1 else "come"
    measured = (
        "What sets made without a site are worth there stands with the figures by site."
        if held_out
        else "The command medistill leave-site-out measures what is left without that."
    )
    return Caveat(
        "Class and site go together",
        f"{listed(tuple(map(class_label, names)))} {come} from one site only. A network may tell "
        f"{'it' if len(names) == 1 else 'them'} by the site instead of by the disease, in every arm alike. {measured}",
    )
