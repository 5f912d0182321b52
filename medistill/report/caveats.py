"""Caveats: what a report does not promise, and what to know before using a figure or passing the set on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medistill.evaluate.evaluation import Evaluation
from medistill.evaluate.rare import REMEDY, without_interval
from medistill.privacy.audit import Audit
from medistill.report.summaries import CorpusSummary, SetSummary
from medistill.report.wording import NAMED, class_label, count, counted, listed, plural_of


@dataclass(frozen=True)
class Caveat:
    """One thing that is not promised.

    Attributes:
        title: in a few words.
        text: in one or two sentences.
    """

    title: str
    text: str


FEW_PATIENTS = 20
"""Test patients of a class below which the intervals are told to be too narrow (see decision 17)."""


def caveats(
    evaluation: Evaluation,
    distilled: SetSummary | None,
    corpus: CorpusSummary | None,
    *,
    synthetic: bool | None,
    held_out: bool = False,
    benchmark: bool = False,
    departs: bool = False,
    audit: Audit | None = None,
    classifier: bool = False,
) -> tuple[Caveat, ...]:
    """What holds for every run in this mode, and what this run adds.

    Args:
        held_out: it is known what sets that were distilled without a site are worth there.
        benchmark: the corpus is a public benchmark of the field.
        departs: the run departs from the published setting of that benchmark.
        audit: of the set, if there was one.
        classifier: a classifier was tested as it was received; nothing was trained.
    """
    unit = corpus.split_unit if corpus is not None else distilled.split_unit if distilled is not None else ""
    one = "a patient" if unit == "patient" else "a person"
    found = [
        *(_of_classifier(one, evaluation) if classifier else [_privacy(distilled, one, audited=audit is not None)]),
        Caveat(
            "Not clinical evidence",
            f"Networks are {'tested on images' if evaluation.tested == 'all images' else 'compared on one test split'} "
            "of one corpus. That says nothing about their use on patients.",
        ),
    ]
    if evaluation.originals != "apart":
        found.append(_of_originals(evaluation, one))
    if evaluation.unmasked:
        found.append(
            Caveat(
                "Tested on images in which text was not masked",
                "Text was looked for in the originals of the set, and not in the images of this test: they were read "
                "as they are. Figures on images from which text is taken away may be others.",
            )
        )
    found += _of_few_originals(evaluation)
    if departs:
        found.append(
            Caveat(
                "Not the published setting",
                "This run departs from the published setting of the benchmark, so its figures do not compare with "
                "published ones. The report lists in what.",
            )
        )
    if distilled is not None and distilled.starts_from == "real" and not synthetic and not benchmark:
        found.append(
            Caveat(
                "Images may resemble real ones",
                "The distilled images began as real training images and were changed from there. Look at every one of "
                "them before it leaves the house.",
            )
        )
    if distilled is not None and distilled.starts_from == "quantised" and not synthetic and not benchmark:
        found += _of_means(distilled, unit, audit)
    if unit in ("study", "image"):
        alone = evaluation.tested == "all images"
        found.append(_counted_by(unit) if alone else _split_by(unit, benchmark=benchmark))
    if corpus is not None and (corpus.classes_of_one_site or corpus.sites_of_one_class):
        found.append(_class_and_site(corpus, held_out=held_out))
    if suppressed := [group for group in evaluation.subgroups if group.images is None]:
        found.append(
            Caveat(
                "Small subgroups are not shown",
                f"{counted(len(suppressed), 'subgroup')} of the test split {'is' if len(suppressed) == 1 else 'are'} "
                f"left out: figures of a few could point at {one}, and would be little more than chance.",
            )
        )
    one_of = unit or "image"
    if few := [
        (class_label(name), patients)
        for name, patients in zip(evaluation.class_names, evaluation.class_patients, strict=True)
        if 0 < patients < FEW_PATIENTS
    ]:
        found.append(
            Caveat(
                "Few test patients",
                f"The test split has {_few_listed(few, one_of)}."
                f"{_no_intervals(evaluation)} With fewer than {FEW_PATIENTS} an interval is too narrow: in a "
                "simulation, 95 % intervals held the true value in 79 % of test sets with 4 patients of a class and in "
                f"93 % with 20. What to do: {REMEDY}.",
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
        if corpus is not None and not corpus.text_by and evaluation.tested != "all images":
            found.append(
                Caveat(
                    "Burnt-in text was not looked for",
                    "Names or numbers may be drawn into the pixels of the originals. Nothing looked for them, and the "
                    "distilled images may have kept parts of them.",
                )
            )
        found.append(
            Caveat(
                "Counts can be telling",
                f"The report describes {'patients' if unit == 'patient' else 'people'} as groups. Counts of images, as "
                "of a class at a site, are shown however small they are and may point at somebody. Read them before "
                "passing this report on.",
            )
        )
    return tuple(found)


def _few_listed(few: Sequence[tuple[str, int]], unit: str) -> str:
    """The rarest classes with their patients; the others are counted."""
    rarest = sorted(few, key=lambda entry: entry[1])
    told = [f"{counted(patients, unit)} of {name}" for name, patients in rarest[:NAMED]]
    more = len(few) - NAMED
    return listed([*told, *([f"few of {counted(more, 'more class', 'more classes')}"] if more > 0 else [])])


def _no_intervals(evaluation: Evaluation) -> str:
    """Which classes have no interval for that."""
    rare = [class_label(name) for name in without_interval(evaluation)]
    of = listed(rare) if len(rare) <= NAMED else counted(len(rare), "class", "classes")
    return f" That is too few for any interval of the figures of {of}." if rare else ""


def _of_originals(evaluation: Evaluation, one: str) -> Caveat:
    """Whether test images may be among those that the set was made from."""
    if evaluation.originals == "left out":
        return Caveat(
            "Tested on another corpus than the set's own",
            "Test and validation images that had a part in making the set, and others of the same "
            f"{'patient' if one == 'a patient' else 'person'}, were left out: {count(evaluation.left_out)}. "
            f"{one.capitalize()} who had a part by images that are not in this corpus could not be recognised.",
        )
    return Caveat(
        "Test patients may not be new",
        "Whether test images were among the originals of the set is not known: it was tested on another corpus than "
        "its own, or on another split. Where it was made from some of the test patients, its figures are too good.",
    )


def _of_few_originals(evaluation: Evaluation) -> list[Caveat]:
    """Whether the control arms had fewer images than the set, because a class has no more."""
    distilled = evaluation.arm("distilled")
    controls = [arm for arm in (evaluation.arm("random"), evaluation.arm("kmeans")) if arm is not None]
    if distilled is None or not controls or controls[0].images >= distilled.images:
        return []
    return [
        Caveat(
            "Fewer chosen originals than distilled images",
            f"The set has {counted(distilled.images, 'image')}, more of some class than there are training images. "
            f"Arms of chosen originals took all images of such a class, {count(controls[0].images)} together, and are "
            "not of equal size.",
        )
    ]


def _of_classifier(one: str, evaluation: Evaluation) -> list[Caveat]:
    return [
        Caveat(
            "No threshold",
            "Every image was tested, and no threshold was chosen. Whoever uses the classifier needs one, and what it "
            "finds there is another share than that of the most probable class.",
        )
        if not evaluation.validation_images
        else Caveat(
            "Thresholds of this corpus",
            "The classifier was tested as it was received, but the thresholds were chosen on the validation split of "
            "this corpus, not of the sender's. Elsewhere another threshold would be chosen, with other figures.",
        ),
        Caveat(
            "One network",
            "The classifier is one network. How much another one would differ that was trained alike, with other "
            "random numbers, is not in the intervals.",
        ),
        Caveat(
            "Privacy is not judged here",
            f"What the set that the classifier was trained on gives away of {one} stands with that set: in its "
            "bundle, or in the report of its run. Nothing here measures it.",
        ),
    ]


def _privacy(distilled: SetSummary | None, one: str, *, audited: bool) -> Caveat:
    guarantee = distilled.guarantee if distilled is not None else None
    spent = distilled.spent if distilled is not None else None
    if guarantee is None:
        made = (
            "How the set was made is not known here, and"
            if distilled is None
            else "The set was made without differential privacy, and"
        )
        return Caveat(
            "No formal privacy guarantee",
            "The set was made without differential privacy. The audit below tells what was tried to find out about "
            f"{one} from it; other attacks may find more."
            if audited
            else f"{made} no audit of it was run: nothing here measures what could be found out about {one} from it.",
        )
    return Caveat(
        "What the privacy guarantee covers",
        f"The distilled images are differentially private for one {guarantee.unit} of the training split "
        f"(epsilon {guarantee.epsilon_text}, delta {guarantee.delta:.3g}), if no setting of the recipe was found by "
        "trials on the same patients. That covers the images, labels and learning rate alone. This report, its counts, "
        "and the networks trained on originals are not covered; the figures also say something of the test patients."
        + ("" if spent is None else f" {spent.sentence}"),
    )


def _of_means(distilled: SetSummary, unit: str, audit: Audit | None) -> list[Caveat]:
    known = distilled.quantised
    of = plural_of(unit or "image")
    means = "several images" if of == "images" else f"images of several {of}"
    verb = "are" if distilled.quantising else "began as"
    fewest = (
        f" Each is of {counted(known.smallest_cluster, unit or 'image')} or more; what would have been of fewer "
        f"than {count(known.min_cluster_size)} was given up."
        if known is not None
        else ""
    )
    one_of_several = "" if unit == "patient" else f" One person may have several {of}."
    measured = "The audit measures" if audit is not None else "No audit was run, so nothing here measures"
    found = [
        Caveat(
            "A mean can resemble a patient",
            f"The distilled images {verb} means of {means}.{fewest}{one_of_several} A mean of few can still resemble "
            f"one of them, most of all one who is unlike the others. {measured} how far these do.",
        )
    ]
    if distilled.quantising and known is not None and known.labels == "soft":
        tried = (
            "The attacks on membership below had these labels to work with."
            if audit is not None and audit.membership is not None
            else "Nothing here tried to find that out."
        )
        found.append(
            Caveat(
                "Labels come from a network that saw patients",
                "The soft labels are the answers of a teacher, a network that was trained on the training split. What "
                f"it remembers of single {of} may show in them. {tried}",
            )
        )
    return found


def _split_by(unit: str, *, benchmark: bool) -> Caveat:
    if benchmark:
        return Caveat(
            "Split by image",
            "The split is the benchmark's own. Where images belong together, as those of one person, they may be on "
            "both sides.",
        )
    return Caveat(
        f"Split by {unit}, not by patient",
        f"The patient is not known of every file{', only the study' if unit == 'study' else ''}. The same person may "
        "be in training and in test, so the figures may be too good.",
    )


def _counted_by(unit: str) -> Caveat:
    return Caveat(
        "Intervals may be too narrow",
        f"The patient is not known of every file{', only the study' if unit == 'study' else ''}. Where one person has "
        f"several {plural_of(unit)}, they are counted as if each was of another.",
    )


def _class_and_site(corpus: CorpusSummary, *, held_out: bool) -> Caveat:
    classes, sites = (
        [class_label(name) for name in names] for names in (corpus.classes_of_one_site, corpus.sites_of_one_class)
    )
    facts = [f"{listed(classes)} {'comes' if len(classes) == 1 else 'come'} from one site only."] if classes else []
    facts += [f"{listed(sites)} {'has' if len(sites) == 1 else 'have'} images of one class only."] if sites else []
    measured = (
        "What sets made without a site are worth there, as far as it can be told, stands with the figures by site."
        if held_out
        else "The command medistill leave-site-out measures what is left without that."
    )
    return Caveat(
        "Class and site go together",
        f"{' '.join(facts)} A network may tell classes by the site instead of by the disease, in every arm alike. "
        f"{measured}",
    )
