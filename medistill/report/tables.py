"""Tables: every number of a report in plain rows, for spreadsheets and programs."""

from __future__ import annotations

from collections.abc import Iterator

from medistill.evaluate.evaluation import ArmResult, Evaluation
from medistill.evaluate.intervals import Estimate
from medistill.report.evaluation_statements import this_run
from medistill.report.quantisation_tables import quantisation_tables
from medistill.report.record import Report
from medistill.report.schedules import schedules_table
from medistill.report.table import Row, Table, cell, long_rows

FIGURE = ("figure", "value", "low", "high", "reason")
"""Columns of an estimate: what it is, the number, the limits of its interval, and why one of these is missing."""


def tables(report: Report) -> dict[str, Table]:
    """Every table of a report by its name; one that would have no row is left out."""
    evaluation, course, corpus = report.evaluation, report.course, report.corpus
    wanted = [
        Table("arms", "Each arm on the test split.", ("arm", *FIGURE), tuple(_arms(evaluation))),
        Table(
            "networks",
            "Each network on the test split.",
            ("arm", "network", "accuracy", "macro AUC"),
            tuple(_networks(evaluation)),
        ),
        Table(
            "differences",
            "The distilled arm against the others, paired on the same test patients.",
            ("distilled minus", "class", *FIGURE),
            tuple(_differences(evaluation)),
        ),
        Table(
            "classes",
            "Each class against the rest.",
            ("class", "images", "patients", "prevalence", "arm", *FIGURE),
            tuple(_classes(evaluation)),
        ),
        Table(
            "operating_points",
            "Each class against the rest at thresholds chosen on the validation split.",
            ("class", "prevalence", "arm", "rule", "target specificity", *FIGURE),
            tuple(_points(evaluation)),
        ),
        Table(
            "confusion",
            "Share of the test images of each class put into each class, mean over the networks.",
            ("arm", "true class", "put into", "share"),
            tuple(_confusion(evaluation)),
        ),
        Table(
            "subgroups",
            "Test images that share a trait.",
            ("trait", "name", "images", "patients", "classes", "arm", *FIGURE),
            tuple(_subgroups(evaluation)),
        ),
        Table(
            "sites",
            "Each site, tested with networks that were and that were not trained with its images.",
            ("site", "trained", "images", "patients", "arm", *FIGURE, "note"),
            tuple(_sites(report)),
        ),
        Table(
            "across",
            "The same arms on other networks.",
            ("network", "parameters", "arm", *FIGURE),
            tuple(
                (entry.network, str(entry.parameters), *row)
                for entry in (evaluation, *report.across)
                for row in _arms(entry)
            )
            if report.across
            else (),
        ),
        Table(
            "ensembles",
            "The networks of each arm asked together, and after recalibration on the validation split.",
            ("arm", "networks", *FIGURE),
            tuple(_ensembles(evaluation)),
        ),
        schedules_table(evaluation.schedules),
        Table(
            "cost",
            "What training on each arm takes.",
            ("arm", "network", "images", "bytes", "epochs", "images seen", "networks", "seconds", "seconds a network"),
            tuple(_cost(entry, arm) for entry in (evaluation, *report.across) for arm in entry.arms),
        ),
        Table(
            "benchmark",
            "Test accuracy in percent beside published figures.",
            ("method", "labels", "accuracy", "spread", "source"),
            tuple(_benchmark(report)),
        ),
        Table(
            "roc",
            "ROC curves, mean over the networks at each false positive rate.",
            ("arm", "class", "false positive rate", "sensitivity", "low", "high"),
            tuple(
                (curve.arm, curve.class_name, *cells)
                for curve in evaluation.roc
                for cells in long_rows(curve.false_positive_rate, curve.sensitivity, curve.low, curve.high)
            ),
        ),
        Table(
            "calibration",
            "Calibration curves.",
            ("arm", "class", "predicted", "observed", "low", "high", "images"),
            tuple(
                (curve.arm, curve.class_name, *cells)
                for curve in evaluation.calibration
                for cells in long_rows(curve.predicted, curve.observed, curve.low, curve.high, curve.images)
            ),
        ),
        Table(
            "decision",
            "Decision curves.",
            ("arm", "class", "threshold", "net benefit", "low", "high", "net benefit of treating all"),
            tuple(
                (curve.arm, curve.class_name, *cells)
                for curve in evaluation.decision
                for cells in long_rows(curve.threshold, curve.net_benefit, curve.low, curve.high, curve.treat_all)
            ),
        ),
        *quantisation_tables(report.quantisation),
        Table(
            "course",
            "Loss and learning rate after each outer step.",
            ("outer step", "matching loss", "student learning rate"),
            tuple((str(step), *cells) for step, cells in enumerate(long_rows(course.loss, course.student_lr), start=1))
            if course
            else (),
        ),
        Table(
            "looks",
            "Fresh networks on the validation split at each look.",
            ("outer step", "accuracy", "macro AUC", "chosen"),
            tuple(
                (str(step), *cells, "yes" if step == course.chosen_step else "no")
                for step, cells in zip(course.looks, long_rows(course.accuracy, course.auc), strict=True)
            )
            if course
            else (),
        ),
        Table(
            "importance",
            "Importance W of each group of parameters at each look.",
            ("outer step", "group", "W"),
            tuple(
                (str(step), name, cell(weight))
                for step, row in zip(course.looks, course.importance, strict=False)
                for name, weight in zip(course.importance_names, row, strict=True)
            )
            if course
            else (),
        ),
        Table(
            "corpus",
            "Images by split, by site, and files that were refused.",
            ("by", "name", "class", "images"),
            (
                *((("split", split, name, str(n)) for split, of in corpus.counts.items() for name, n in of.items())),
                *(
                    (
                        ("site", site, name, str(n))
                        for site, of in corpus.counts_by_site.items()
                        for name, n in of.items()
                    )
                ),
                *(("refused", category, "", str(n)) for category, n in corpus.refused.items()),
            )
            if corpus
            else (),
        ),
        Table(
            "checklist",
            "Items of reporting checklists, answered where the run knows.",
            ("checklist", "item", "topic", "answer", "available"),
            tuple(
                (row.checklist, row.item, row.topic, row.answer, "yes" if row.available else "no")
                for row in report.checklist
            ),
        ),
    ]
    return {table.name: table for table in wanted if table.rows}


def _figure(name: str, estimate: Estimate) -> Row:
    return (name, cell(estimate.value), cell(estimate.low), cell(estimate.high), estimate.reason)


def _arms(evaluation: Evaluation) -> Iterator[Row]:
    for arm in evaluation.arms:
        for name in ("accuracy", "balanced_accuracy", "macro_auc", "brier", "calibration_error"):
            yield (arm.arm, *_figure(_words(name), getattr(arm, name)))
        for name in ("accuracy_spread", "macro_auc_spread"):
            value = getattr(arm, name)
            why = "" if value is not None else "a spread over networks needs at least 2 that have the figure"
            yield (arm.arm, _words(name), cell(value), "", "", why)


def _ensembles(evaluation: Evaluation) -> Iterator[Row]:
    for told in evaluation.ensembles:
        first = (told.arm, str(told.networks))
        for name in ("macro_auc", "minus_raw", "accuracy", "calibration_error"):
            yield (*first, *_figure(_words(name), getattr(told, name)))
        if not evaluation.validation_images:  # no temperature was fitted
            yield (*first, "brier", cell(told.brier), "", "", "")
            continue
        yield (*first, *_figure("tempered calibration error", told.tempered_calibration_error))
        yield (*first, *_figure("calibration error of single networks, tempered", told.single_calibration_error))
        for name in ("brier", "tempered_brier", "temperature"):
            yield (*first, _words(name), cell(getattr(told, name)), "", "", "")
        yield (*first, "brier of single networks, tempered", cell(told.single_brier), "", "", "")
        for k, temperature in enumerate(told.single_temperatures, start=1):
            yield (*first, f"temperature of network {k}", cell(temperature), "", "", "")


def _networks(evaluation: Evaluation) -> Iterator[Row]:
    for arm in evaluation.arms:
        areas = arm.network_macro_auc or (None,) * len(arm.network_accuracy)
        for k, (accuracy, area) in enumerate(zip(arm.network_accuracy, areas, strict=True), start=1):
            yield (arm.arm, str(k), cell(accuracy), cell(area))


def _differences(evaluation: Evaluation) -> Iterator[Row]:
    for difference in evaluation.differences:
        yield (difference.minus, "", *_figure("accuracy", difference.accuracy))
        yield (difference.minus, "", *_figure("macro AUC", difference.macro_auc))
        by_class = zip(evaluation.class_names, difference.class_auc, difference.class_auc_delong, strict=True)
        for name, bootstrap, delong in by_class:
            yield (difference.minus, name, *_figure("AUC", bootstrap))
            yield (difference.minus, name, *_figure("AUC (DeLong)", delong))
    for name in ("gap_closed", "hard_label_recovery", "improvement_over_random"):
        yield ("", "", *_figure(_words(name), getattr(evaluation, name)))


def _classes(evaluation: Evaluation) -> Iterator[Row]:
    for c, name in enumerate(evaluation.class_names):
        about = (name, str(evaluation.class_images[c]), str(evaluation.class_patients[c]))
        for arm in evaluation.arms:
            result, first = arm.classes[c], (*about, cell(evaluation.prevalence(name)), arm.arm)
            yield (*first, *_figure("AUC", result.auc))
            yield (*first, *_figure("AUC (DeLong)", result.auc_delong))
            yield (*first, *_figure("put into it", result.recall))
            yield (*first, *_figure("brier", result.brier))
            yield (*first, *_figure("calibration error", result.calibration_error))


def _points(evaluation: Evaluation) -> Iterator[Row]:
    for c, name in enumerate(evaluation.class_names):
        for arm in evaluation.arms:
            for point in arm.classes[c].points:
                first = (name, cell(evaluation.prevalence(name)), arm.arm, point.rule, cell(point.target))
                for k, threshold in enumerate(point.thresholds, start=1):
                    yield (*first, f"threshold of network {k}", cell(threshold), "", "", "")
                for figure in ("sensitivity", "specificity", "ppv", "npv", "f1", "balanced_accuracy"):
                    yield (*first, *_figure(_words(figure), getattr(point, figure)))


def _confusion(evaluation: Evaluation) -> Iterator[Row]:
    names = evaluation.class_names
    for arm in evaluation.arms:
        for true, row in zip(names, arm.confusion, strict=True):
            for put, share in zip(names, row or (None,) * len(names), strict=True):
                yield (arm.arm, true, put, cell(share))


def _subgroups(evaluation: Evaluation) -> Iterator[Row]:
    for group in evaluation.subgroups:
        first = (group.trait, group.name, cell(group.images), cell(group.patients), "; ".join(group.classes))
        for arm in group.arms:
            yield (*first, arm.arm, *_figure("accuracy", arm.accuracy))
            yield (*first, arm.arm, *_figure("macro AUC", arm.macro_auc))
        yield (*first, "distilled minus raw", *_figure("macro AUC", group.difference))
    for trait, reason in evaluation.untold.items():
        yield (trait, "", "", "", "", "", "", "", "", "", reason)


def _sites(report: Report) -> Iterator[Row]:
    for held_out in report.sites:
        pooled = next(
            (group for group in report.evaluation.subgroups if (group.trait, group.name) == ("site", held_out.site)),
            None,
        )
        if pooled is not None:
            first = (held_out.site, "with the site", cell(pooled.images), cell(pooled.patients))
            classes = f"macro AUC over the classes {'; '.join(pooled.classes)}"
            for arm in pooled.arms:
                yield (*first, arm.arm, *_figure("macro AUC", arm.macro_auc), classes)
                yield (*first, arm.arm, *_figure("accuracy", arm.accuracy), "")
            if not pooled.arms:
                yield (*first, "", "", "", "", "", pooled.reason, "")
        alone = held_out.evaluation
        if alone is None:
            yield (held_out.site, "without the site", "", "", "", "", "", "", "", held_out.reason, held_out.note)
            continue
        first = (held_out.site, "without the site", str(alone.test_images), str(alone.test_patients))
        for result in alone.arms:
            yield (*first, result.arm, *_figure("macro AUC", result.macro_auc), held_out.note)
            yield (*first, result.arm, *_figure("accuracy", result.accuracy), held_out.note)


def _cost(evaluation: Evaluation, arm: ArmResult) -> Row:
    return (
        arm.arm,
        evaluation.network,
        str(arm.images),
        str(arm.bytes),
        str(arm.epochs),
        str(arm.images_seen),
        str(len(arm.network_accuracy)),
        cell(arm.seconds),
        cell(arm.seconds_a_network),
    )


def _benchmark(report: Report) -> Iterator[Row]:
    if report.benchmark is None:
        return
    ours = report.benchmark
    yield (this_run(report).lower(), "", cell(ours.chosen_accuracy), cell(ours.chosen_spread), "this report")
    if ours.maximum_accuracy is not None:
        yield ("this run, best over all looks", "", cell(ours.maximum_accuracy), "", "this report")
    for figure in ours.published:
        yield (figure.method, figure.labels, cell(figure.accuracy), "", figure.source)


def _words(name: str) -> str:
    return name.replace("_", " ").replace("auc", "AUC").replace("ppv", "PPV").replace("npv", "NPV").replace("f1", "F1")
