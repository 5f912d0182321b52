"""Images: the distilled images, beside real ones where these may be shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from medistill.report.blocks import Beside, Block, Facts, Heading, Picture, Pictures, Prose, facts
from medistill.report.caveat import Caveat
from medistill.report.pictures import ClassPictures
from medistill.report.record import Report
from medistill.report.section import Section
from medistill.report.selection_statements import UNUSUAL, drawn_by, unusual
from medistill.report.summaries import SetSummary
from medistill.report.text import Absent, Small
from medistill.report.tile_statements import tile_sentence
from medistill.report.view import ReportView
from medistill.report.wording import class_label, count, counted, plural_of


def section(view: ReportView) -> Section:
    """The pictures, and what is known of the set."""
    return Section("images", "The distilled images", tuple(_blocks(view)), contents="Images")


def _blocks(view: ReportView) -> Iterator[Block]:
    distilled = view.report.distilled
    if distilled is None:
        yield Prose(Absent(view.missing("distilled")))
        return
    yield Prose(
        f"{counted(distilled.images, 'image')}, {'up to ' if distilled.uneven else ''}{distilled.ipc} for each class, "
        f"{distilled.shape[1]} × {distilled.shape[2]} pixels. They are made for networks: to the eye they need not "
        f"look like {'photographs' if view.report.benchmark is not None else 'radiographs'}. Shown clipped to the "
        "visible range."
    )
    if distilled.tiles > 1:
        yield Prose(tile_sentence(distilled.tiles, distilled.shown))
    if view.distilled and not view.few_classes and not view.real:
        yield from _in_one_strip(view, distilled)
    else:
        for of_class in view.distilled:
            yield from _of_class(view, of_class)
    yield _facts(view, distilled)


def _in_one_strip(view: ReportView, distilled: SetSummary) -> Iterator[Block]:
    """Of many classes, each picture under its class."""
    shown = [
        Picture(source, f"{class_label(of_class.class_name)}, distilled image {k}", class_label(of_class.class_name))
        for of_class in view.distilled
        for k, source in enumerate(of_class.sources, start=1)
    ]
    yield Pictures(tuple(shown))
    if len(shown) < distilled.images:
        yield Prose(f"{count(len(shown))} of {count(distilled.images)} images.", small=True)


def _of_class(view: ReportView, of_class: ClassPictures) -> Iterator[Block]:
    name = class_label(of_class.class_name)
    left = len(of_class.sources) < of_class.images
    first = Small(f"the first {len(of_class.sources)} of {count(of_class.images)}")
    mine = (Heading((f"{name} ", first) if left else name), _strip(of_class, "distilled image"))
    if not view.real:
        yield from mine
        return
    beside = [
        block
        for real in view.real
        if real.class_name == of_class.class_name
        for block in (Heading(f"{name}, real training images"), _strip(real, "real image"))
    ]
    yield Beside((Beside(mine, "stack"), Beside(tuple(beside), "stack")), "sheets")


def _strip(of_class: ClassPictures, what: str) -> Pictures:
    name = class_label(of_class.class_name)
    return Pictures(tuple(Picture(source, f"{name}, {what} {k}") for k, source in enumerate(of_class.sources, start=1)))


def _facts(view: ReportView, distilled: SetSummary) -> Facts:
    of = plural_of(view.unit)
    means = "means of several images" if view.unit == "image" else f"means of several {of}’ images"
    if distilled.quantised is not None and distilled.quantised.encoder == "features":
        means = f"noise, and rendered from {means}"
    drawn = drawn_by(view.report) or ("not all drawn alike" if unusual(view.report) else "")
    real = f"original training images, {drawn}" if drawn else "original training images"
    patches = "patches of original training images, unchanged"
    begun = {"real": real, "noise": "noise", "quantised": means, "patches": patches}
    return facts(
        ("Method", distilled.method),
        ("Started from", begun[distilled.starts_from] if distilled.starts_from else ""),
        ("Learning rate to train with", f"{distilled.student_lr:.4g}"),
        ("Distilled from", _originals(view, distilled)),
        (_why_left_out(view.report), _images(view, distilled.pruned)),
    )


def _why_left_out(report: Report) -> str:
    by_effect = report.making.section("prune").get("effect_share", 0)
    return "Left out before, for their loss or effect" if by_effect else "Left out before, for their loss"


def _originals(view: ReportView, distilled: SetSummary) -> str:
    images = _images(view, distilled.training_images)
    if not images:
        return ""
    if distilled.training_groups is None or view.unit == "image":
        return images
    return f"{images}; {counted(distilled.training_groups, view.unit)}"


def _images(view: ReportView, of_class: Mapping[str, int]) -> str:
    """How many there are of each class, of many classes together; empty where there are none."""
    if view.few_classes:
        return ", ".join(f"{count(n)} {class_label(name)}" for name, n in of_class.items())
    return counted(sum(of_class.values()), "image") if of_class else ""


def began_as_real(report: Report) -> Iterator[Caveat]:
    """Whether distilled images may show what real ones show."""
    distilled = report.distilled
    if distilled is not None and report.shows_people and distilled.starts_from == "patches":
        yield Caveat(
            "Images are parts of real ones",
            "The distilled images are pasted together from regions of real training images, none of whose pixels was "
            "changed. They are as confidential as the originals. No audit passes such a set.",
        )
    if distilled is None or not report.shows_people or not (distilled.starts_from == "real" or unusual(report)):
        return
    which = "The distilled images" if distilled.starts_from == "real" else "Some of the distilled images"
    yield Caveat(
        "Images may resemble real ones",
        f"{which} began as real training images and were changed from there. "
        f"{f'{UNUSUAL} ' if unusual(report) else ''}Look at every one of them before it leaves the house.",
    )
