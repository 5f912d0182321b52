"""Figures: what is drawn is what the record says; as SVG they parse, take the page's colours and fetch nothing."""

from __future__ import annotations

import base64
import io
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from matplotlib import rcParams
from matplotlib.figure import Figure
from PIL import Image

from medistill.evaluate.curve import CalibrationCurve, DecisionCurve, RocCurve
from medistill.evaluate.intervals import Estimate
from medistill.recipe.arms import ARMS
from medistill.report import course_plots, curve_plots
from medistill.report.arm_style import ARM_STYLES
from medistill.report.comparison_page import comparison_page
from medistill.report.estimates import with_interval
from medistill.report.palette import INK_NAMES, MARGIN
from medistill.report.pictures import MOST, MOST_PER_CLASS, class_pictures
from medistill.report.sections import course as course_section
from medistill.report.sections import curves as curves_section
from medistill.report.sections.differences import forest
from medistill.report.sections.sites import describe, held_out, pooled_and_held_out
from medistill.report.sections.subgroups import subgroup_forest
from medistill.report.svg import inline_svg
from tests.factories import report_example
from tests.factories.drawn import drawings, svgs

SOME, NONE = Estimate(-0.04, -0.06, -0.02), Estimate.impossible("it is not there")
ALONE = Estimate(0.1, reason="an interval needs at least 2 patients, and there is only 1")
GRID = (0.0, 0.5, 1.0)


def curves() -> list[RocCurve]:
    return [RocCurve(arm, "a", GRID, (0.1, 0.7, 1.0), (0.0, 0.6, 0.9), (0.2, 0.8, 1.0)) for arm in ARMS]


@cache
def all_svg() -> dict[str, str]:
    found = drawings(report_example.whole())
    named = {f"{section}/{what}": svg for section, of in found.items() for what, svg in of.items()}
    (of_runs,) = (of for of in comparison_page(report_example.comparison()).sections if of.anchor == "figures")
    return {**named, **dict(svgs(of_runs.blocks))}


def test_every_section_is_drawn_well_formed_and_refers_to_itself_alone() -> None:
    found = all_svg()
    assert len(found) == 4 + 3 * 4 + 1 + 1 + 1 + 1 + 4 + 2 + 1
    seen: set[str] = set()
    for name, text in found.items():
        root = ElementTree.fromstring(text)
        assert root.get("role") == "img", name
        assert re.search(r"\d", root.get("aria-label") or ""), name
        ids = [element.get("id", "") for element in root.iter() if element.get("id")]
        assert len(ids) == len(set(ids))
        assert not seen & set(ids)
        seen |= set(ids)
        targets = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text)
        assert {one or other for one, other in targets} <= set(ids)
        assert "http" not in text
        assert "<style" not in text


def test_every_colour_is_the_pages() -> None:
    for name, text in all_svg().items():
        assert not re.findall(r"#[0-9a-f]{6}\b", text), name
        assert set(re.findall(r"var\(--(\w+)\)", text)) <= {*INK_NAMES.values(), "sans"}


def test_a_description_is_escaped() -> None:
    root = ElementTree.fromstring(inline_svg(curve_plots.roc(curves()), "x", 'said "so" & <more>'))
    assert root.get("aria-label") == 'said "so" & <more>'


def test_drawing_leaves_the_settings_of_matplotlib_alone() -> None:
    before = dict(rcParams)
    inline_svg(curve_plots.roc(curves()), "x", "d")
    assert dict(rcParams) == before


def lines(figure: Figure) -> list[tuple[str, list[float], list[float]]]:
    """Colour, x and y of every line, in the order in which they were drawn."""
    return [(line.get_color(), list(line.get_xdata()), list(line.get_ydata())) for line in figure.axes[0].lines]


def test_roc_draws_each_arm_and_the_bands_of_two() -> None:
    figure = curve_plots.roc(curves())
    drawn = {colour: (x, y) for colour, x, y in lines(figure)}
    for arm in ARMS:
        assert drawn[ARM_STYLES[arm].mark] == ([0.0, *GRID], [0.0, 0.1, 0.7, 1.0])
    assert len(figure.axes[0].collections) == 2
    styles = {str(line.get_linestyle()) + str(line._dash_pattern) for line in figure.axes[0].lines[1:]}
    assert len(styles) == len(ARMS)
    bare = [replace(curve, low=(), high=()) for curve in curves()]
    assert not curve_plots.roc(bare).axes[0].collections


def test_calibration_and_decision_draw_without_intervals_too() -> None:
    points = CalibrationCurve("distilled", "a", (0.2, 0.8), (0.3, 0.9), (0.1, 0.7), (0.5, 1.0), (20.0, 22.0))
    whole, bare = (lines(curve_plots.calibration([entry])) for entry in (points, replace(points, low=(), high=())))
    assert (ARM_STYLES["distilled"].mark, [0.2, 0.2], [0.1, 0.5]) in whole
    assert (ARM_STYLES["distilled"].mark, [0.2, 0.8], [0.3, 0.9]) in bare
    assert len(whole) - len(bare) == 2
    benefit = DecisionCurve("raw", "a", (0.1, 0.5), (0.2, -0.1), (), (), (0.2, -0.4))
    figure = curve_plots.decision([benefit])
    assert (ARM_STYLES["raw"].mark, [0.1, 0.5], [0.2, -0.1]) in lines(figure)
    assert any((x, y) == ([0.1, 0.5], [0.2, -0.4]) for _, x, y in lines(figure))
    assert not figure.axes[0].collections


def test_forest_puts_intervals_where_they_are_and_leaves_out_what_is_not_known() -> None:
    names = ('<b>&"x', "cost $5$ $", "肺炎")
    figure = forest(SOME, names, (Estimate(0.2, 0.1, 0.3), NONE, ALONE), 0.05)
    horizontal = [x for _, x, y in lines(figure) if len(x) == 2 and y[0] == y[1]]
    assert horizontal == [[-0.06, -0.02], [0.1, 0.3]]
    assert [x for _, x, _ in lines(figure) if len(x) == 1] == [[-0.04], [0.2], [0.1]]
    assert [x for colour, x, _ in lines(figure) if colour == MARGIN] == [[-0.05, -0.05]]
    low, high = figure.axes[0].get_xlim()
    assert low == -high < -0.3
    assert not [x for colour, x, _ in lines(forest(SOME, (), (), None)) if colour == MARGIN]
    root = ElementTree.fromstring(inline_svg(figure, "forest", "d"))
    texts = {"".join(element.itertext()).strip() for element in root.iter() if element.tag.endswith("text")}
    assert {*names, "Macro"} <= texts


def test_subgroups_stand_under_their_trait_and_small_ones_are_named() -> None:
    evaluation = report_example.whole().evaluation
    figure = subgroup_forest(evaluation.subgroups, SOME)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels[:2] == ["All test images", "Site"]
    assert labels.index("Site") < labels.index("bimcv") < labels.index("View") < labels.index("PA")
    assert "radiopaedia *" in labels
    points = [x for _, x, _ in lines(figure) if len(x) == 1]
    assert len(points) == 1 + sum(group.difference.value is not None for group in evaluation.subgroups)


def test_a_site_shows_the_pooled_and_the_held_out_figure() -> None:
    report = report_example.whole()
    other = pooled_and_held_out(report)[0][1][0][1]
    assert "over other classes (COVID, Lung Opacity and Normal), so it does not compare" in other.reason
    nothing = Estimate.impossible("every test image here is of class 'COVID'")
    one_class = tuple(
        replace(group, classes=(), arms=tuple(replace(arm, macro_auc=nothing) for arm in group.arms))
        for group in report.evaluation.subgroups
    )
    alone = replace(report, evaluation=replace(report.evaluation, subgroups=one_class))
    assert pooled_and_held_out(alone)[0][1][0][1] == nothing
    groups = tuple(replace(group, classes=report_example.NAMES) for group in report.evaluation.subgroups)
    report = replace(report, evaluation=replace(report.evaluation, subgroups=groups))
    (site, arms), *_ = pooled_and_held_out(report)
    held = report.sites[0].evaluation
    assert held is not None
    pooled = next(group for group in report.evaluation.subgroups if group.name == site)
    for arm, with_site, without in arms:
        assert with_site == next(entry.macro_auc for entry in pooled.arms if entry.arm == arm)
        assert without == next(entry.macro_auc for entry in held.arms if entry.arm == arm)
    figure = held_out([(site, arms)])
    faces = [
        line.get_markerfacecolor() == line.get_color() for line in figure.axes[0].lines if len(line.get_xdata()) == 1
    ]
    assert faces == [True, False] * len(arms)
    said = describe([(site, arms)])
    for _, with_site, without in arms:
        assert f"{with_site.value:.3f}" in said
        assert f"{without.value:.3f}" in said
    unknown = replace(report, evaluation=replace(report.evaluation, subgroups=()))
    assert "does not show this site" in pooled_and_held_out(unknown)[0][1][0][1].reason


def test_importance_shows_every_look_of_every_group_from_1_on() -> None:
    course = report_example.course()
    figure = course_plots.importance(course)
    reach = max(abs(value - 1) for row in course.importance for value in row)
    drawn = [y for _, x, y in lines(figure) if x == [0, *course.looks]]
    assert len(drawn) == len(course.importance_names)
    for k, y in enumerate(drawn):
        worth = [1 + (k - height) / 0.46 * reach for height in y]
        assert worth == pytest.approx([1, *(row[k] for row in course.importance)])
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == [f"{value:.2f}" for value in course.importance[course.looks.index(300)]]


def test_importance_without_the_chosen_look_takes_the_last() -> None:
    course = replace(report_example.course(), chosen_step=0)
    texts = [text.get_text() for text in course_plots.importance(course).axes[0].texts]
    assert texts == [f"{value:.2f}" for value in course.importance[-1]]


def test_descriptions_say_the_finding_in_numbers() -> None:
    evaluation = report_example.whole().evaluation
    of_class = [curve for curve in evaluation.roc if curve.class_name == "COVID"]
    said = curves_section.describe_roc(evaluation, of_class).replace("\u00a0", " ")
    for arm in evaluation.arms:
        area = arm.classes[0].auc
        assert f"{area.value:.3f} ({area.low:.3f} to {area.high:.3f})" in said
    benefit = curves_section.describe_decision(
        evaluation, [curve for curve in evaluation.decision if curve.class_name == "COVID"]
    )
    assert "from a probability of 0.25" in benefit
    of_loss = course_section.describe_loss(report_example.course())
    assert of_loss.startswith("Loss of the outer steps, 400 in all: 0.9 at the start")
    assert "chosen step 300" in of_loss
    assert course_plots.loss(report_example.course()).axes[0].get_ylabel() == "Loss of the outer steps"
    assert "0.870 at step 300" in course_section.describe_looks(report_example.course()).replace("\u202f", " ")
    assert with_interval(NONE, without="") == "not available"
    assert with_interval(ALONE, "difference", without="") == "+0.100"


def test_pictures_hold_the_pixels_class_by_class() -> None:
    images = np.random.default_rng(0).integers(0, 256, (MOST_PER_CLASS + 5, 1, 8, 8), dtype=np.uint8)
    labels = np.zeros(len(images), np.int64)
    labels[:2] = 2
    found = class_pictures(images, labels, ("a", "none of these", "c"))
    assert [(entry.class_name, entry.images, len(entry.sources)) for entry in found] == [
        ("a", MOST_PER_CLASS + 3, MOST_PER_CLASS),
        ("c", 2, 2),
    ]
    data = base64.b64decode(found[1].sources[1].removeprefix("data:image/png;base64,"))
    assert (np.asarray(Image.open(io.BytesIO(data))) == images[1, 0]).all()


def test_pictures_of_many_classes_are_fewer() -> None:
    classes = MOST // 4
    images = np.zeros((classes * 6, 1, 2, 2), np.uint8)
    found = class_pictures(images, np.arange(len(images)) % classes, [str(c) for c in range(classes)])
    assert {len(entry.sources) for entry in found} == {4}
    many = class_pictures(images, np.arange(len(images)), [str(c) for c in range(len(images))])
    assert {len(entry.sources) for entry in many} == {1}


def test_pictures_in_colour() -> None:
    image = np.random.default_rng(1).integers(0, 256, (1, 3, 5, 6), dtype=np.uint8)
    (found,) = class_pictures(image, np.zeros(1, np.int64), ("a",))
    data = base64.b64decode(found.sources[0].removeprefix("data:image/png;base64,"))
    assert (np.asarray(Image.open(io.BytesIO(data))) == np.moveaxis(image[0], 0, 2)).all()
