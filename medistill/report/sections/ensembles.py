"""Ensembles: the networks of an arm asked together, and after recalibration."""

from __future__ import annotations

from collections.abc import Iterator

from medistill.evaluate.evaluation import Ensemble, Evaluation
from medistill.report.blocks import Block, Downloads, Prose
from medistill.report.named_figures import figures_of, in_words
from medistill.report.section import Section
from medistill.report.table import FIGURE, Column, Row, Table, table
from medistill.report.text import Missing
from medistill.report.view import ReportView


def section(view: ReportView) -> Section:
    """Ensembles, where there is more than one network, or a validation split to recalibrate on."""
    evaluation = view.evaluation
    distilled = evaluation.arm("distilled")
    several = distilled is not None and len(distilled.network_accuracy) > 1
    recalibrated = ", and their doubt put right" if evaluation.validation_images else ""
    return Section(
        "ensembles",
        f"Networks asked together{recalibrated}",
        tuple(_blocks(view)) if evaluation.ensembles and (evaluation.validation_images or several) else (),
        data=(
            table(
                "ensembles",
                (Column("arm"), Column("networks", "count"), *FIGURE),
                tuple(_rows(evaluation)),
                caption="The networks of each arm asked together, and after recalibration on the validation split.",
            ),
        ),
    )


def _blocks(view: ReportView) -> Iterator[Block]:
    fitted = (
        ", and may recalibrate them on patients of his own. Here a temperature was fitted on the validation split: it "
        "changes how sure a network says it is, and hardly how it ranks"
        if view.evaluation.validation_images
        else ". No temperature was fitted, since every image was tested"
    )
    yield Prose(
        f"Somebody who uses such a network may train several and take the mean of their probabilities{fitted}. "
        "Calibration errors are those of the largest probability: 0 is as sure as it is right."
    )
    yield _table(view)
    yield Downloads(("ensembles",))


def _table(view: ReportView) -> Table:
    together, errors = "Networks together", "Calibration error"
    recalibrated = bool(view.evaluation.validation_images)
    columns = (
        Column("Trained on", "arm"),
        Column("Macro AUC", "estimate", under=together),
        Column("Minus all originals", "difference", under=together),
        Column("Accuracy", "share", under=together),
        Column("Single", "bare", under=errors),
        *([Column("Single, recalibrated", "bare", under=errors)] if recalibrated else []),
        Column("Together", "bare", under=errors),
        *([Column("Together, recalibrated", "bare", under=errors)] if recalibrated else []),
    )
    by_arm = {entry.arm: entry for entry in view.evaluation.ensembles}
    rows = tuple(_row(view, by_arm[arm], recalibrated=recalibrated) for arm in view.arms if arm in by_arm)
    return table("Ensembles and recalibration", columns, rows, style="wide")


def _row(view: ReportView, entry: Ensemble, *, recalibrated: bool) -> Row:
    return (
        entry.arm,
        entry.macro_auc,
        Missing() if entry.arm == "raw" else entry.minus_raw,
        entry.accuracy,
        view.arms[entry.arm].calibration_error,
        *([entry.single_calibration_error] if recalibrated else []),
        entry.calibration_error,
        *([entry.tempered_calibration_error] if recalibrated else []),
    )


def _rows(evaluation: Evaluation) -> Iterator[Row]:
    for entry in evaluation.ensembles:
        first = (entry.arm, entry.networks)
        for name, estimate in figures_of(entry, "macro_auc", "minus_raw", "accuracy", "calibration_error"):
            yield (*first, name, estimate)
        if not evaluation.validation_images:  # no temperature was fitted
            yield (*first, "brier", entry.brier)
            continue
        yield (*first, "tempered calibration error", entry.tempered_calibration_error)
        yield (*first, "calibration error of single networks, tempered", entry.single_calibration_error)
        for name in ("brier", "tempered_brier", "temperature"):
            yield (*first, in_words(name), getattr(entry, name))
        yield (*first, "brier of single networks, tempered", entry.single_brier)
        for k, temperature in enumerate(entry.single_temperatures, start=1):
            yield (*first, f"temperature of network {k}", temperature)
