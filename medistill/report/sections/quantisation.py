"""Quantisation: how the corpus was divided into cells, how near their means are to it, and what more would gain."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from medistill.quantisation.record import ClassQuantisation, Quantisation
from medistill.report import quantisation_plots
from medistill.report.blocks import Beside, Block, Downloads, Drawing, Figure, Heading, Prose, facts, folded
from medistill.report.caveat import Caveat
from medistill.report.quantisation_statements import (
    bound,
    given_up,
    images_of,
    labels,
    rate_slope,
    rate_words,
    weighting,
)
from medistill.report.record import Report
from medistill.report.section import Section
from medistill.report.table import Column, Row, Table, long_rows, table
from medistill.report.text import Absent, Link, SoftHyphen
from medistill.report.view import ReportView
from medistill.report.wording import count, counted, listed, number, percent, plural_of


def section(view: ReportView) -> Section | None:
    """The quantisation; None where the set is none and began as none."""
    record = view.report.quantisation
    if record is None and "quantisation" not in view.report.missing:
        return None
    return Section(
        "quantisation",
        "How the corpus was quantised",
        tuple(_blocks(view, record)) if record is not None else (Prose(Absent(view.missing("quantisation"))),),
        contents="Quantisation",
        data=tuple(_data(record)) if record is not None else (),
    )


def _blocks(view: ReportView, record: Quantisation) -> Iterator[Block]:
    yield Prose(_lede(view.report, record))
    each = "tile" if _tiled(view.report) else "image"
    yield Prose(
        (
            f"{given_up(record, each)} A mean of few can still resemble one of them; what an audit tried stands under ",
            Link("Privacy", "privacy"),
            ".",
        )
    )
    yield Beside((_cells_figure(record), _rate_figure(record)))
    yield Heading("How near the distilled images are to the originals")
    yield Prose(
        f"{bound(record)} Smaller is nearer. Equal weights show what weighing by the masses gains, random originals "
        "what choosing the centroids gains."
    )
    yield folded("Each class", _table(record), long=not view.few_classes)
    yield Downloads(("quantisation", "cells", "rate"))
    yield facts(
        ("Encoder", record.words),
        ("Variance that it keeps", percent(record.explained) if record.explained is not None else ""),
        ("SHA-256 of the encoder-decoder", record.decoder),
        ("Its licence", record.licence),
        ("Labels", labels(view.report)),
        ("Weights in the loss", weighting(view.report)),
        ("Nested", _nested(record)),
    )


def _lede(report: Report, record: Quantisation) -> str:
    became = (
        f"their mean, as {record.words} can show it"
        if record.grey_codes
        else f"what the mean of their codes decodes to ({record.words})"
    )
    are = (
        "These means are the distilled images"
        if report.facts.centroids
        else "The distilled images began as these means and were changed from there"
    )
    if _tiled(report):
        are = (
            "Made smaller, these means are what the tiles of the distilled images began as, and were changed from there"
        )
    if record.encoder == "features":
        became = f"the mean of {record.words}"
        are = "The distilled images began as noise and were changed until the encoder saw these means in them"
    return (
        "The training images of each class were divided into cells of images that are alike, and each cell became one "
        f"image: {became}. {are}. Each is the mean of {images_of(record.min_cluster_size, record.patient_unit)} or "
        f"more; the smallest cell has {count(record.smallest)}."
    )


def _tiled(report: Report) -> bool:
    """Whether each of the means became a tile of an image, and not a whole one."""
    return report.distilled is not None and report.distilled.tiles > 1


def _nested(record: Quantisation) -> str:
    if not record.nested:
        return ""
    return (
        f"The images of each class begin with those of smaller sets, of {listed([count(n) for n in record.nested])} "
        "images a class (fewer where centroids were given up). Each is the mean of its cell in the smallest set that "
        "has it; images that came later took some of that cell."
    )


def _cells_figure(record: Quantisation) -> Figure:
    return Figure(
        f"{plural_of(record.patient_unit).capitalize()} in a cell",
        (Drawing("cells", partial(quantisation_plots.cells, record), describe_cells(record)),),
        "Over all classes. The dashed line is the fewest that were asked for; nothing may lie left of it.",
    )


def _rate_figure(record: Quantisation) -> Figure:
    drawn = (
        Drawing("rate", partial(quantisation_plots.rate, record), describe_rate(record))
        if quantisation_plots.rate_lines(record)
        else Prose(Absent("it was not measured, or the distance is 0"))
    )
    return Figure(
        "What more images would gain",
        (drawn,),
        "Distance W2 of a class to its centroids; both scales are logarithmic. Lines: any number of centroids, with no "
        f"lower bound on the cells, on at most {counted(record.sampled, 'image')} a class; beside a name the slope "
        f"that fits. Diamonds and dashed line: this set. {rate_words(record)}",
    )


def describe_cells(record: Quantisation) -> str:
    """Of the histogram of patients in a cell."""
    held = sorted(patients for of_class in record.classes for patients in of_class.cell_patients)
    unit = record.patient_unit
    return (
        f"Histogram of the {plural_of(unit)} in the cells of {counted(len(held), 'distilled image')}: "
        f"{count(held[0])} in the smallest, {count(held[len(held) // 2])} in the middle one, {count(held[-1])} in the "
        f"largest. Asked for were at least {counted(record.min_cluster_size, unit)}."
    )


def describe_rate(record: Quantisation) -> str:
    """Of the plot of W2 over the number of centroids."""
    each = []
    for name, points, chosen in quantisation_plots.rate_lines(record):
        slope = rate_slope(points)
        steepness = "" if slope is None else f", slope {number(slope, 2)}"
        ends = listed([f"{number(point.w2, 2)} with {count(point.centroids)}" for point in (points[0], points[-1])])
        each.append(f"{name} {ends}{steepness}; this set {number(chosen.w2, 2)} with {count(chosen.centroids)}")
    return f"W2 by number of centroids, both scales logarithmic. {'. '.join(each)}."


def _table(record: Quantisation) -> Table:
    units = plural_of(record.patient_unit)
    of_units = record.patient_unit != "image"
    decoded = record.encoder != "features"
    code = "" if record.grey_codes else "; W2 in units of the code"
    return table(
        "The quantisation of each class",
        (
            Column("Class", "class"),
            Column("Images", "count"),
            *([Column(units.capitalize(), "count")] if of_units else []),
            Column("Distilled images", "count"),
            Column(f"Fewest {units} in a cell", "count"),
            Column("Given up", "count"),
            *(
                Column(heading, "number", digits=2)
                for heading in (
                    *((("Recon", SoftHyphen(), "struction error"), "Error") if decoded else ()),
                    "W2",
                    "W2, equal weights",
                    "W2, random originals",
                )
            ),
        ),
        tuple(_row(of_class, of_units=of_units, decoded=decoded) for of_class in record.classes),
        caption=f"Root mean squared differences of a pixel in grey levels, of 255{code}."
        if decoded
        else "W2 in the features, each divided by how far its layer spreads over the training images.",
        style="wide",
    )


def _row(of_class: ClassQuantisation, *, of_units: bool, decoded: bool = True) -> Row:
    return (
        of_class.class_name,
        of_class.images,
        *([of_class.patients] if of_units else []),
        len(of_class.cell_images),
        min(of_class.cell_patients),
        of_class.given_up,
        *([of_class.reconstruction, of_class.error] if decoded else []),
        of_class.w2,
        of_class.w2_uniform,
        of_class.w2_random,
    )


def _data(record: Quantisation) -> Iterator[Table]:
    counts = ("images", "patients", "distilled images", "fewest patients in a cell", "given up", "set aside")
    distances = ("reconstruction error", "error", "W2", "W2 with equal weights", "W2 of random originals")
    yield table(
        "quantisation",
        (
            Column("class"),
            *(Column(name, "count") for name in counts),
            *(Column(name, "number") for name in distances),
        ),
        tuple(
            (*row[:6], of_class.set_aside, *row[6:])
            for of_class in record.classes
            for row in (_row(of_class, of_units=True),)
        ),
        caption="How each class was quantised; distances in grey levels, W2 of another encoder than PCA in units of "
        "its code.",
    )
    yield table(
        "cells",
        (Column("class"), Column("distilled image"), Column("images", "count"), Column("patients", "count")),
        tuple(
            (of_class.class_name, str(k), *cells)
            for of_class in record.classes
            for k, cells in enumerate(long_rows(of_class.cell_images, of_class.cell_patients), start=1)
        ),
        caption="How many training images and patients each distilled image is, or began as, the mean of.",
    )
    yield table(
        "rate",
        (Column("class"), Column("centroids", "count"), Column("W2", "number")),
        tuple(
            (of_class.class_name, point.centroids, point.w2) for of_class in record.classes for point in of_class.rate
        ),
        caption="W2 by number of centroids, without a lower bound on the cells.",
    )


def means(report: Report) -> Iterator[Caveat]:
    """What a mean of several patients' images, and a teacher's labels, can give away."""
    distilled, audit = report.distilled, report.audit
    if distilled is None or distilled.starts_from != "quantised" or not report.shows_people:
        return
    unit = report.split_unit
    quantised, of = distilled.quantised, plural_of(unit or "image")
    means_of = "several images" if of == "images" else f"images of several {of}"
    fewest = (
        f" Each is of {counted(quantised.smallest_cluster, unit or 'image')} or more; what would have been of fewer "
        f"than {count(quantised.min_cluster_size)} was given up."
        if quantised is not None
        else ""
    )
    rendered = quantised is not None and quantised.encoder == "features"
    verb = "are" if report.facts.centroids else "were rendered from" if rendered else "began as"
    one_of_several = "" if unit == "patient" else f" One person may have several {of}."
    measured = "The audit measures" if audit is not None else "No audit was run, so nothing here measures"
    yield Caveat(
        "A mean can resemble a patient",
        f"The distilled images {verb} means of {means_of}.{fewest}"
        f"{one_of_several} A mean of few can still resemble one of them, most of all one who is unlike the others. "
        f"{measured} how far these do.",
    )
    if report.facts.centroids and quantised is not None and quantised.labels == "soft":
        attacked = audit is not None and audit.trained
        tried = (
            "The attacks on membership below had these labels to work with."
            if attacked
            else "Nothing here tried to find that out."
        )
        yield Caveat(
            "Labels come from a network that saw patients",
            "The soft labels are the answers of a teacher, a network that was trained on the training split. What "
            f"it remembers of single {of} may show in them. {tried}",
        )
