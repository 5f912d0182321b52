"""Arms: what networks are worth by what they learned from, the first table of the page."""

from __future__ import annotations

from collections.abc import Iterator

from medistill.evaluate.evaluation import ArmResult, Evaluation
from medistill.report.blocks import Block, Downloads, Heading, Prose
from medistill.report.caveat import Caveat
from medistill.report.named_figures import figures_of, in_words
from medistill.report.record import Report
from medistill.report.section import Section
from medistill.report.table import FIGURE, Cell, Column, Row, Table, table
from medistill.report.text import Missing
from medistill.report.view import ReportView
from medistill.report.wording import count, counted, level

SPREAD_NEEDS = "a spread over networks needs at least 2 that have the figure"
SETTLED = "a probe is fitted, and comes out alike whatever the seed"
"""Why an arm of one network, in which no random number had a part, has no spread over networks."""


def section(view: ReportView) -> Section:
    """The arms on the test images."""
    return Section(
        "arms",
        "Results by what the networks learned from",
        tuple(_blocks(view)),
        contents="Results",
        data=(
            table(
                "arms",
                (Column("arm"), *FIGURE),
                tuple(arm_rows(view.evaluation)),
                caption="Each arm on the test split.",
            ),
            table(
                "networks",
                (Column("arm"), Column("network"), Column("accuracy", "number"), Column("macro AUC", "number")),
                tuple(_networks(view.evaluation)),
                caption="Each network on the test split.",
            ),
        ),
        brief=_brief(view.evaluation),
    )


def _blocks(view: ReportView) -> Iterator[Block]:
    yield Prose(_lede(view))
    yield _table(view)
    first = next(iter(view.arms.values())).calibration_error
    if first.low is None and first.reason:
        yield Prose(f"The calibration error stands without an interval: {first.reason}.", small=True)
    yield Downloads(("arms", "networks"))


def _lede(view: ReportView) -> str:
    trained = (
        "A classifier was tested as it was received; nothing was trained to compare it with."
        if view.report.of_classifier
        else "Fresh networks were trained on each kind of image and asked about the same test images."
    )
    settled = (
        " A probe comes out alike whatever the seed, so an arm whose images are always the same has one network and no "
        "spread."
        if view.evaluation.fitted and not view.report.of_classifier
        else ""
    )
    drawn = "; each network of the random arm draws its own images" if "random" in view.arms else ""
    return (
        f"{trained} Each figure is the mean over an arm’s networks. Below it stands its {view.level}, from drawing the "
        f"test {view.groups} anew {count(view.evaluation.replicates)} times. Spread is the standard deviation over the "
        f"networks{drawn}.{settled}"
    )


def _table(view: ReportView) -> Table:
    evaluation = view.evaluation
    tested = "All of the corpus" if evaluation.tested == "all images" else "Test split"
    images = counted(evaluation.test_images, "image")
    return table(
        "Results of the arms",
        (
            Column("Trained on", "arm"),
            Column("Macro AUC", "estimate"),
            Column("Spread", "number", left=True),
            Column("Accuracy", "share"),
            Column("Spread", "percent", left=True),
            Column("Balanced accuracy", "share"),
            Column("Brier score", "estimate"),
            Column("Calibration error", "bare"),
            Column("Images", "count"),
            Column("Networks", "count"),
        ),
        tuple(_row(arm, evaluation) for arm in view.arms.values()),
        caption=f"{tested}: {images}{view.of_units(evaluation.test_patients)}. Network: {evaluation.network}.",
        style="wide",
    )


def _row(arm: ArmResult, evaluation: Evaluation) -> Row:
    area: Cell = arm.macro_auc
    if arm.macro_auc.value is None and evaluation.absent:
        area = Missing()  # the verdict says why
    return (
        arm.arm,
        area,
        Missing() if arm.macro_auc.value is None else spread(arm, arm.macro_auc_spread),
        arm.accuracy,
        spread(arm, arm.accuracy_spread),
        arm.balanced_accuracy,
        arm.brier,
        arm.calibration_error,
        arm.images,
        len(arm.network_accuracy),
    )


def spread(arm: ArmResult, value: float | None) -> Cell:
    """A spread over an arm's networks, or why there is none."""
    if value is not None:
        return value
    return Missing(SETTLED if arm.settled else "a spread needs two networks")


def arm_rows(evaluation: Evaluation) -> Iterator[Row]:
    """Every figure of every arm."""
    for arm in evaluation.arms:
        for name, estimate in figures_of(
            arm, "accuracy", "balanced_accuracy", "macro_auc", "brier", "calibration_error"
        ):
            yield (arm.arm, name, estimate)
        for name in ("accuracy_spread", "macro_auc_spread"):
            value = getattr(arm, name)
            yield (
                arm.arm,
                in_words(name),
                Missing(SETTLED if arm.settled else SPREAD_NEEDS) if value is None else value,
            )


def _networks(evaluation: Evaluation) -> Iterator[Row]:
    for arm in evaluation.arms:
        areas = arm.network_macro_auc or (None,) * len(arm.network_accuracy)
        for k, (accuracy, area) in enumerate(zip(arm.network_accuracy, areas, strict=True), start=1):
            yield (arm.arm, str(k), accuracy, area)


def _brief(evaluation: Evaluation) -> tuple[Block, ...]:
    confidence = level(evaluation.confidence)
    return (
        Heading(f"Results on {evaluation.network}"),
        table(
            "",
            (
                Column("Trained on", "arm"),
                Column("Images", "count"),
                Column(f"Macro AUC ({confidence})", "estimate"),
                Column("Spread", "number"),
                Column(f"Accuracy ({confidence})", "estimate"),
                Column("Time a network", "seconds"),
            ),
            tuple(
                (
                    arm.arm,
                    arm.images,
                    arm.macro_auc,
                    "none" if arm.macro_auc_spread is None else arm.macro_auc_spread,
                    arm.accuracy,
                    arm.seconds_a_network,
                )
                for arm in evaluation.arms
            ),
        ),
    )


def few_originals(report: Report) -> Iterator[Caveat]:
    """Whether the control arms had fewer images than the set, because a class has no more."""
    distilled, random = report.evaluation.arm("distilled"), report.evaluation.arm("random")
    controls = random or report.evaluation.arm("kmeans") or report.evaluation.arm("leverage")
    if distilled is not None and controls is not None and controls.images < distilled.images:
        yield Caveat(
            "Fewer chosen originals than distilled images",
            f"The set has {counted(distilled.images, 'image')}, more of some class than there are training images. "
            f"Arms of chosen originals took all images of such a class, {count(controls.images)} together, and are "
            "not of equal size.",
        )


def clinical_evidence(report: Report) -> Iterator[Caveat]:
    """What figures on one corpus say of patients."""
    tested = report.evaluation.tested == "all images"
    yield Caveat(
        "Not clinical evidence",
        f"Networks are {'tested on images' if tested else 'compared on one test split'} "
        "of one corpus. That says nothing about their use on patients.",
    )


def originals_in_test(report: Report) -> Iterator[Caveat]:
    """Whether test images may be among those that the set was made from."""
    evaluation, unit = report.evaluation, report.split_unit
    if evaluation.originals == "left out":
        yield Caveat(
            "Tested on another corpus than the set's own",
            "Test and validation images that had a part in making the set, and others of the same "
            f"{'patient' if unit == 'patient' else 'person'}, were left out: {count(evaluation.left_out)}. "
            f"{report.somebody.capitalize()} who had a part by images that are not in this corpus could not be "
            "recognised.",
        )
    elif evaluation.originals == "not known":
        yield Caveat(
            "Test patients may not be new",
            "Whether test images were among the originals of the set is not known: it was tested on another corpus "
            "than its own, or on another split. Where it was made from some of the test patients, its figures are "
            "too good.",
        )


def unmasked_text(report: Report) -> Iterator[Caveat]:
    """Whether the set was tested on images that were read in another way than its originals."""
    if report.evaluation.unmasked:
        yield Caveat(
            "Tested on images in which text was not masked",
            "Text was looked for in the originals of the set, and not in the images of this test: they were read "
            "as they are. Figures on images from which text is taken away may be others.",
        )


def one_classifier(report: Report) -> Iterator[Caveat]:
    """What is not known of a classifier that was tested as it was received."""
    if not report.of_classifier:
        return
    if report.evaluation.validation_images:
        yield Caveat(
            "Thresholds of this corpus",
            "The classifier was tested as it was received, but the thresholds were chosen on the validation split of "
            "this corpus, not of the sender's. Elsewhere another threshold would be chosen, with other figures.",
        )
    else:
        yield Caveat(
            "No threshold",
            "Every image was tested, and no threshold was chosen. Whoever uses the classifier needs one, and what it "
            "finds there is another share than that of the most probable class.",
        )
    if report.evaluation.fitted:
        return
    yield Caveat(
        "One network",
        "The classifier is one network. How much another one would differ that was trained alike, with other "
        "random numbers, is not in the intervals.",
    )
