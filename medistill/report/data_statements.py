"""Data statements: what a run knows of its data and of how the distilled images were made, in full sentences.

Methods texts and checklists are made of them. Each gives "" where the run does not know.
"""

from __future__ import annotations

from collections.abc import Mapping

from medistill.methods.registry import facts_of
from medistill.report.outer_step_statements import outer_steps
from medistill.report.patch_statements import patches
from medistill.report.quantisation_statements import centroids, taught, weighting
from medistill.report.record import Report
from medistill.report.selection_statements import beginning, pruning, united
from medistill.report.target_statements import target_vectors
from medistill.report.tile_statements import tile_sentence
from medistill.report.wording import NAMED, class_label, classes_listed, count, counted, listed, sentences, short, were

SPLITS = {"train": "training", "val": "validation", "test": "test"}
SQUARED = (
    "Networks were trained on them to answer these values, by half the squared error; what is given as the probability "
    "of a class is the softmax of what such a network answers, which ranks images and is no estimate of certainty"
)
"""Of a set whose labels are values."""
FITS = {"stretch": "stretched", "pad": "padded with black", "crop": "cropped to their centre"}


def goal(report: Report) -> str:
    """What was asked, and with which margin."""
    margin, declared = report.evaluation.margin, report.making.section("evaluate").get("margin")
    if report.evaluation.difference("raw") is None:
        return ""
    source = "" if declared is None else " that the recipe declares"
    if declared not in (None, margin):
        source = f", in place of the {short(declared)} that the recipe of the run declares"
    return (
        "Networks trained on the distilled images were compared with networks trained on all training images, on the "
        f"same test images, for non-inferiority in macro AUC with a margin of {short(margin)}{source}."
    )


def technology(report: Report) -> str:
    """Which kind of machine learning."""
    encoder = None if report.distilled is None else report.distilled.encoder
    kind = "convolutional networks" if encoder is None else "linear classifiers on the features of a frozen encoder"
    return (
        f"Deep learning: {kind} for image classification "
        f"({report.evaluation.network}), and dataset distillation{by_method(report)}."
    )


def sources(report: Report) -> str:
    """Where the images are from, as far as the folders say."""
    corpus = report.corpus
    if corpus is None:
        return ""
    if corpus.synthetic:
        return f"The images are synthetic phantoms that were drawn ({counted(corpus.found, 'file')}); they show nobody."
    if report.benchmark is not None:
        return f"The images are those of the public benchmark {report.benchmark.dataset}."
    sites = [class_label(site) for site in corpus.sites]
    return f"{counted(corpus.accepted, 'image')} came from {counted(len(sites), 'site')}: {listed(sites)}."


def outcome(report: Report) -> str:
    """What is predicted."""
    joined = [
        f"{class_label(name)} unites {listed([class_label(one) for one in names])}"
        for name, names in report.making.section("data").get("class_map", {}).items()
    ]
    given = "Classes are taken as they are given with the files" + (f"; {listed(joined)}" if joined else "")
    return f"The class of an image was predicted, one of {classes_listed(report.evaluation.class_names)}. {given}."


def refusals(report: Report) -> str:
    """Which files were left out, and why."""
    corpus = report.corpus
    if corpus is None:
        return ""
    refused = sum(corpus.refused.values())
    if not refused:
        return f"All {counted(corpus.found, 'file')} could be used; nothing was imputed."
    reasons = "; ".join(f"{category}: {count(n)}" for category, n in corpus.refused.items())
    return (
        f"Of {counted(corpus.found, 'file')}, {count(corpus.accepted)} {were(corpus.accepted)} accepted and "
        f"{count(refused)} refused ({reasons}); nothing was imputed."
    )


def criteria(report: Report) -> str:
    """By which rules files were taken."""
    data = report.making.section("data")
    if not data or report.benchmark is not None:
        return refusals(report)
    views = (
        "Lateral views, and DICOM files that do not state their view, were refused."
        if data["view_policy"] == "reject"
        else "Every view was taken."
    )
    said = {
        "refuse": "DICOM files that say that they are no radiographs of the chest were refused.",
        "tell": "DICOM files that say that they are no radiographs of the chest were taken.",
    }
    return sentences(views, said.get(data.get("not_chest", ""), ""), refusals(report))


def selection(report: Report) -> str:
    """Which part of the data was taken."""
    data = report.making.section("data")
    if not data or report.corpus is None:
        return ""
    preferred = set(data["prefer_sites"]) == set(report.corpus.sites)
    taken = {"classes": data["classes"], "sites": report.corpus.sites if preferred else data["sites"]}
    parts = [f"the {noun} {listed([class_label(name) for name in names])}" for noun, names in taken.items() if names]
    return f"Only {listed(parts)} were taken." if parts else "No class and no site was left out by choice."


def preparation(report: Report) -> str:
    """What was done to the images before a network saw them."""
    data, shape = report.making.section("data"), report.distilled.shape if report.distilled is not None else None
    if not data or shape is None:
        return ""
    size = f"{shape[1]} by {shape[2]} pixels with {counted(shape[0], 'channel')} of 8 bits"
    if report.benchmark is not None:
        made = f"Images were used at {size}."
    else:
        made = (
            f"Images were brought to {size}; oblong ones were {FITS[data['fit']]}. Grey values of files deeper than 8 "
            f"bits were cut at percentiles {data['low_percentile']:g} and {data['high_percentile']:g}."
        )
    equalised = "The histogram of each image was then equalised, by itself." if data.get("equalise") else ""
    scaled = (
        "They were whitened (ZCA, fitted on the training split)."
        if data["zca"]
        else "They were normalised with constants that the recipe declares, not measured on the images."
        if distilled_privately(report)
        else "They were normalised with the mean and standard deviation of each channel on the training split."
    )
    operations = report.making.section("augmentation").get("operations", ())
    drawn = f"(differentiable siamese augmentation, Zhao and Bilen 2021: {listed(operations)})"
    text = burnt_in_text(report) if report.benchmark is None else ""
    probe = report.distilled is not None and report.distilled.encoder is not None
    augmented = (
        "Distilled images were augmented before the encoder saw them, originals were not"
        if probe
        else "Training images were augmented"
    )
    return sentences(made, equalised, text, scaled, f"{augmented} {drawn}." if operations else "")


def burnt_in_text(report: Report) -> str:
    """Whether text in the pixels was looked for, by what, what was done about it, and what is not seen so."""
    corpus = report.corpus
    if corpus is None:
        return ""
    if not corpus.text_by:
        return "Text burnt into the pixels was not looked for."
    if corpus.text_policy == "mask":
        done = f"masked before the images were resized, in {counted(corpus.text_masked, 'image')}"
    else:
        done = f"a reason to refuse the file, which befell {counted(corpus.refused.get('burnt-in text', 0), 'file')}"
    return (
        f"Text burnt into the pixels was looked for ({corpus.text_by}); text other than side markers was {done}. Such "
        "a reader overlooks text: on drawn images it found all names whose capitals become 3 pixels high in the set "
        "and are 30 of 255 grey levels brighter than what lies behind them, but hardly any of them at 15 grey levels. "
        "What becomes smaller is not looked for. It is not made for handwriting, and single letters pass. That no text "
        "is left cannot be concluded."
    )


def inputs(report: Report) -> str:
    """What a network is shown."""
    shape = report.distilled.shape if report.distilled is not None else None
    if shape is None:
        return ""
    return (
        f"A network is shown the image alone: {shape[1]} by {shape[2]} pixels, {counted(shape[0], 'channel')}. No "
        "other predictor is used, and none needs judgement."
    )


def partition(report: Report) -> str:
    """How images were assigned to the splits."""
    corpus = report.corpus
    if corpus is None:
        return ""
    if report.evaluation.tested == "all images":
        return "Every image of the corpus was tested; none was trained on."
    if corpus.split_source == "given":
        drawn = (
            "The split into training, validation and test was given with the data; a part that was not given was drawn "
            "at random from the training images"
        )
    else:
        drawn = "The split into training, validation and test was drawn at random by the software"
    return f"{drawn}. {disjoint(report)}"


def disjoint(report: Report) -> str:
    """At which level the splits are apart."""
    unit = report.split_unit
    if unit == "patient" and report.evaluation.originals == "not known":
        return (
            "No patient of this corpus is in more than one of its splits; whether test images were among the originals "
            "of the set is not known."
        )
    if unit == "patient":
        return "No patient is in more than one split."
    if unit == "image" and report.benchmark is not None:
        return "No image is in more than one split; images that belong together, as those of one person, may be."
    if unit == "image":
        return "The split is by image: not every file's patient is known, so one person may be in more than one split."
    if unit == "study":
        return (
            "The split is by study: no study is in more than one split, but not every file's patient is known, so one "
            "person may be."
        )
    return ""


def numbers(report: Report) -> str:
    """Images and patients of each split."""
    corpus = report.corpus
    if corpus is None:
        return ""
    parts = []
    for split, of_class in corpus.counts.items():
        part = f"{SPLITS[split]}: {counted(sum(of_class.values()), 'image')}"
        if corpus.split_unit != "image":
            part += f" of {counted(corpus.patients[split], corpus.split_unit)}"
        parts.append(part)
    return f"{'; '.join(parts).capitalize()}."


def composition(report: Report) -> str:
    """Images of each class in each split."""
    corpus = report.corpus
    if corpus is None:
        return ""
    parts = [f"{SPLITS[split]}: {_of_classes(of_class)}" for split, of_class in corpus.counts.items()]
    return f"Images of each class: {'; '.join(parts)}."


def made(report: Report) -> str:
    """How many images were distilled from how many, and by what."""
    distilled = report.distilled
    if distilled is None:
        return ""
    source = sum(distilled.training_images.values())
    a_class = f"{'up to ' if distilled.uneven else ''}{count(distilled.ipc)} a class"
    text = f"{counted(distilled.images, 'image')} ({a_class}) {were(distilled.images)} distilled"
    text += f" from {counted(source, 'training image')}" if source else ""
    return sentences(f"{text}{by_method(report)}.", tile_sentence(distilled.tiles, distilled.shown))


def distillation(report: Report) -> str:
    """How the images were made."""
    distill = report.making.section("method")
    if report.distilled is not None and report.distilled.parts:
        return sentences(made(report), united(report), "How each of them was made, its own report tells.")
    if report.distilled is None or not distill:
        return made(report)
    if report.distilled.starts_from == "patches":
        return sentences(made(report), pruning(report), patches(report))
    if report.facts.centroids:
        return sentences(made(report), pruning(report), centroids(report), taught(report))
    kinds = {"hard": "one class each", "soft": "class probabilities, learned with the images"}
    if "init" not in distill:  # rendered from features
        return sentences(
            made(report), pruning(report), "Labels are one class each.", centroids(report), outer_steps(report)
        )
    labels, stages = kinds[distill.get("labels", "hard")], distill.get("stages", 1)
    if report.facts.label_values:
        labels = f"values, learned with the images. {SQUARED}"
    if report.facts.target_vectors:
        labels = target_vectors(report)
    grown = f" They were made in {counted(stages, 'stage')}." if stages > 1 else ""
    started = f"They started from {beginning(report)}; their labels are {labels}.{grown}"
    return sentences(made(report), pruning(report), started, centroids(report), outer_steps(report))


def distilled_privately(report: Report) -> bool:
    """Whether the set is differentially private."""
    return report.distilled is not None and report.distilled.guarantee is not None


def choice(report: Report) -> str:
    """How one of the looks was chosen."""
    course, distill = report.course, report.making.section("method")
    if not report.facts.outer_steps:
        return f"No set was chosen among several: a {report.facts.family} gives one. The test split took no part in it."
    if course is None:
        return ""
    if distilled_privately(report) and not course.looks:
        return (
            f"The images after the last outer step, {count(course.chosen_step)}, were taken; none was chosen on data."
        )
    looks = counted(len(course.looks), "look") + " at the validation split"
    if distill.get("stages", 1) > 1:
        looks = "the looks at the validation split in the last stage"
    fresh = f", at each with {counted(distill['validate_networks'], 'fresh network')}" if distill else ""
    return (
        f"Of {looks}{fresh}, the one with the largest macro AUC "
        f"was taken: the images after outer step {count(course.chosen_step)}. The test split took no part in choosing."
    )


def balance(report: Report) -> str:
    """What was done about classes of unequal size."""
    if report.distilled is None:
        return ""
    most = f"{'up to ' if report.distilled.uneven else ''}{counted(report.distilled.ipc, 'image')}"
    return sentences(
        f"The distilled set has {most} of every class.",
        weighting(report),
        "The training split was used with its classes as common as they are, without resampling; predictions were not "
        "recalibrated.",
    )


def by_method(report: Report) -> str:
    """ " by" and the method; empty where not known."""
    method = report.distilled.method if report.distilled is not None else ""
    return f" by {facts_of(method).phrase or method}" if method else ""


def _of_classes(counts: Mapping[str, int]) -> str:
    if len(counts) > NAMED:
        return f"{count(min(counts.values()))} to {count(max(counts.values()))}"
    return ", ".join(f"{class_label(name)} {count(n)}" for name, n in counts.items())
