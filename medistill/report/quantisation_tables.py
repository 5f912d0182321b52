"""Quantisation tables: every class, every cell and every point of the rate of a quantisation, as tables."""

from __future__ import annotations

from medistill.quantisation.record import ClassQuantisation, Quantisation
from medistill.report.table import Row, Table, cell, long_rows

COLUMNS = (
    *("class", "images", "patients", "distilled images", "fewest patients in a cell", "given up", "set aside"),
    *("reconstruction error", "error", "W2", "W2 with equal weights", "W2 of random originals"),
)
"""Of the quantisation of each class."""


def quantisation_tables(known: Quantisation | None) -> tuple[Table, ...]:
    """The tables of a quantisation; none where there is no such record."""
    if known is None:
        return ()
    return (
        Table(
            "quantisation",
            "How each class was quantised; distances in grey levels, W2 of another encoder than PCA in units of its "
            "code.",
            COLUMNS,
            tuple(_row(of_class) for of_class in known.classes),
        ),
        Table(
            "cells",
            "How many training images and patients each distilled image is, or began as, the mean of.",
            ("class", "distilled image", "images", "patients"),
            tuple(
                (of_class.class_name, str(number), *cells)
                for of_class in known.classes
                for number, cells in enumerate(long_rows(of_class.cell_images, of_class.cell_patients), start=1)
            ),
        ),
        Table(
            "rate",
            "W2 by number of centroids, without a lower bound on the cells.",
            ("class", "centroids", "W2"),
            tuple(
                (of_class.class_name, str(point.centroids), cell(point.w2))
                for of_class in known.classes
                for point in of_class.rate
            ),
        ),
    )


def _row(of_class: ClassQuantisation) -> Row:
    return (
        of_class.class_name,
        str(of_class.images),
        str(of_class.patients),
        str(len(of_class.cell_images)),
        str(min(of_class.cell_patients)),
        str(of_class.given_up),
        str(of_class.set_aside),
        cell(of_class.reconstruction),
        cell(of_class.error),
        cell(of_class.w2),
        cell(of_class.w2_uniform),
        cell(of_class.w2_random),
    )
