"""Inline SVG and inline PNG: readable by a parser, the same on every run, without addresses."""

from __future__ import annotations

import base64
import io
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
from matplotlib import rcParams
from matplotlib.figure import Figure
from PIL import Image

from medistill.evaluate.evaluation import Difference
from medistill.evaluate.intervals import Estimate
from medistill.report import plots
from medistill.report.palette import INK_NAMES
from medistill.report.pictures import MOST_PER_CLASS, class_pictures
from medistill.report.record import Course, Curve
from medistill.report.svg import inline_svg

COURSE = Course(
    loss=tuple(1 / (k + 1) for k in range(50)),
    student_lr=tuple(0.01 + k / 1e4 for k in range(50)),
    importance_names=("first.weight", "second.weight"),
    importance=((1.1, 0.9), (1.2, 0.8)),
    looks=(25, 50),
    accuracy=(0.5, 0.6),
    auc=(0.7, 0.75),
    chosen_step=25,
)


def figures() -> dict[str, Figure]:
    grid = (0.0, 0.5, 1.0)
    curves = [Curve(arm, "a", grid, (0.1, 0.7, 1.0)) for arm in ("raw", "random", "distilled")]
    some, none = Estimate(-0.04, -0.06, -0.02), Estimate.impossible("it is not there")
    difference = Difference("raw", none, some, (some, none, Estimate(0.1, reason="one patient")))
    return {
        "roc": plots.roc(curves),
        "forest": plots.forest(difference, ('<b>&"x', "cost $5$ $", "肺炎"), 0.05),
        "loss": plots.loss(COURSE),
        "looks": plots.looks(COURSE),
        "lr": plots.student_lr(COURSE),
        "importance": plots.importance(COURSE),
    }


def test_svg_is_well_formed_and_refers_to_itself_alone() -> None:
    for name, figure in figures().items():
        text = inline_svg(figure, name, 'said "so" & more')
        root = ElementTree.fromstring(text)
        assert root.get("aria-label") == 'said "so" & more'
        assert root.get("role") == "img"
        ids = [element.get("id") for element in root.iter() if element.get("id")]
        assert len(ids) == len(set(ids))
        targets = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text)
        assert {one or other for one, other in targets} <= set(ids)
        assert "http" not in text
        assert "<style" not in text


def test_svg_takes_every_colour_from_the_page() -> None:
    for name, figure in figures().items():
        text = inline_svg(figure, name, "d")
        assert not re.findall(r"#[0-9a-f]{6}\b", text), name
        assert set(re.findall(r"var\(--(\w+)\)", text)) <= {*INK_NAMES.values(), "sans"}


def test_svg_is_the_same_on_every_run_and_leaves_settings_alone() -> None:
    before = dict(rcParams)
    first, second = figures(), figures()
    for name in first:
        assert inline_svg(first[name], name, "d") == inline_svg(second[name], name, "d")
    assert dict(rcParams) == before


def test_labels_are_text_and_escaped() -> None:
    root = ElementTree.fromstring(inline_svg(figures()["forest"], "forest", "d"))
    texts = {"".join(element.itertext()).strip() for element in root.iter() if element.tag.endswith("text")}
    assert {'<b>&"x', "cost $5$ $", "肺炎", "Macro"} <= texts


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


def test_pictures_in_colour() -> None:
    image = np.random.default_rng(1).integers(0, 256, (1, 3, 5, 6), dtype=np.uint8)
    (found,) = class_pictures(image, np.zeros(1, np.int64), ("a",))
    data = base64.b64decode(found.sources[0].removeprefix("data:image/png;base64,"))
    assert (np.asarray(Image.open(io.BytesIO(data))) == np.moveaxis(image[0], 0, 2)).all()
