"""Figures of a quantisation against the record that they draw: patients a cell, and W2 by number of centroids."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from medistill.quantisation.record import RatePoint
from medistill.report import quantisation_plots
from medistill.report.palette import CLASS_LINES, MARGIN
from medistill.report.quantisation_plots import BARS, cell_edges
from medistill.report.quantisation_statements import mean_rate, rate_slope, rate_words
from medistill.report.sections.quantisation import describe_cells
from tests.factories import report_example

KNOWN = report_example.quantisation()


def test_the_histogram_holds_every_cell_right_of_the_fewest() -> None:
    held = [n for of_class in KNOWN.classes for n in of_class.cell_patients]
    axes = quantisation_plots.cells(KNOWN).axes[0]
    assert sum(bar.get_height() for bar in axes.patches) == len(held)
    assert min(bar.get_x() for bar in axes.patches) == KNOWN.min_cluster_size
    assert [list(line.get_xdata()) for line in axes.lines if line.get_color() == MARGIN] == [[5, 5]]
    assert f"{min(held)} in the smallest" in describe_cells(KNOWN)
    assert f"{max(held)} in the largest" in describe_cells(KNOWN)


@pytest.mark.parametrize(
    ("held", "least"), [((5,), 5), ((5, 6, 7), 5), ((3, 90), 3), ((5, 3000), 5), ((2, 20), 5), ((1,), 1)]
)
def test_the_bars_cover_every_count_once(held: tuple[int, ...], least: int) -> None:
    edges = cell_edges(held, least)
    assert edges == sorted(set(edges))
    assert len(edges) - 1 <= BARS
    assert edges[0] == min(least, *held)
    assert edges[-1] > max(held)
    assert np.histogram(held, edges)[0].sum() == len(held)


def test_the_rate_is_drawn_class_by_class_with_the_chosen_number() -> None:
    axes = quantisation_plots.rate(KNOWN).axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    drawn = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines]
    for of_class in KNOWN.classes:
        assert ([point.centroids for point in of_class.rate], [point.w2 for point in of_class.rate]) in drawn
        assert ([len(of_class.cell_images)], [of_class.w2]) in drawn
    named = [text.get_text() for text in axes.texts]
    assert [name.rsplit(" ", 1)[0] for name in named] == ["COVID", "Lung Opacity", "Normal", "Viral Pneumonia"]
    heights = [text.get_position()[1] for text in axes.texts]
    assert all(above - below > 0.09 for above, below in pairwise(heights))


def test_the_slope_is_that_of_least_squares() -> None:
    numbers = np.random.default_rng(2)
    points = tuple(RatePoint(centroids=k, w2=float(3 * k**-0.2 * numbers.uniform(0.9, 1.1))) for k in (1, 2, 5, 10, 50))
    expected = np.polyfit(np.log([2, 5, 10, 50]), np.log([point.w2 for point in points[1:]]), 1)[0]
    assert rate_slope(points) == pytest.approx(expected)
    assert rate_slope(points[:2]) is None
    assert (
        rate_slope((RatePoint(centroids=2, w2=0.0), RatePoint(centroids=5, w2=0.0), RatePoint(centroids=10, w2=1.0)))
        is None
    )
    assert "-0.11: twice as many images make it 7.3 % smaller" in rate_words(KNOWN).replace("\u2212", "-").replace(
        "\u202f", " "
    ).replace("\u00a0", " ")


def test_many_classes_have_one_line_and_a_rate_that_was_not_measured_none() -> None:
    many = tuple(
        KNOWN.classes[k % 4].replaced(class_name=f"class {k}", rate=KNOWN.classes[k % 4].rate[: 8 - k % 2])
        for k in range(len(CLASS_LINES) + 1)
    )
    known = KNOWN.replaced(classes=many)
    (name, points, chosen), *others = quantisation_plots.rate_lines(known)
    assert (name, others) == ("Mean", [])
    assert [point.centroids for point in points] == [1, 2, 5, 10, 20, 50, 100]
    assert points[2].w2 == pytest.approx(np.sqrt(np.mean([of_class.rate[2].w2 ** 2 for of_class in many])))
    assert chosen.w2 == pytest.approx(np.sqrt(np.mean([of_class.w2**2 for of_class in many])))
    untold = KNOWN.replaced(classes=tuple(of_class.replaced(rate=()) for of_class in KNOWN.classes))
    assert mean_rate(untold.classes) == ()
    assert rate_words(untold) == ""
    assert quantisation_plots.rate_lines(untold) == []
