"""Small hospital: the section of the exchange page on a site with few of its patients."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from matplotlib.figure import Figure as Drawn
from matplotlib.ticker import FixedLocator, NullLocator

from medistill.evaluate.hospital_curve import AsGoodAs, CurvePoint, HospitalCurve
from medistill.evaluate.intervals import Estimate
from medistill.recipe.arms import ArmName
from medistill.report.arm_style import ARM_STYLES
from medistill.report.axes import framed, named
from medistill.report.blocks import Beside, Block, Bullets, Drawing, Figure, Heading, Legend, Prose
from medistill.report.estimates import with_interval
from medistill.report.exchange import ExchangeStudy, SmallHospital
from medistill.report.section import Section
from medistill.report.table import Column, Row, Table, table
from medistill.report.text import Point, Text
from medistill.report.wording import NO_BREAK, class_label, counted, counted_as, level

ALONE: tuple[ArmName, bool] = ("raw", True)
TOGETHER: tuple[ArmName, bool] = ("distilled", True)
WIDTH, HEIGHT = 3.4, 2.4
"""Of a figure, in inches."""


def hospital_section(study: ExchangeStudy) -> Section:
    """The curve, and how many of its own patients the others' sets are worth; nothing where none was asked for."""
    hospital = study.hospital
    if hospital is None:
        return Section("hospital", "A small hospital")
    draws = f"{counted(hospital.draws, 'draw')} of its training {counted_as(study.split_unit)}"
    lede = (
        f"{class_label(hospital.site)} with few of its patients, alone and beside the sets of the other sites: means "
        f"over {draws}, with {level(study.confidence)}s over test patients and draws. “As good as” is how many of its "
        "patients alone reach the same area, read off the curve alone, which is first made monotone. Weight and "
        f"penalty were chosen within these few patients by leaving parts of them out. {_guard(hospital)}"
    )
    figures = tuple(filter(None, (_figure(curve) for curve in hospital.curves)))
    tables = tuple(_table(curve, hospital) for curve in hospital.curves)
    said = (
        "The draws are of one pool of patients and overlap where they are large, and each site made its set once: the "
        "intervals do not hold what other sets would change.",
        *(f"{_place(curve)}: not available, because {curve.reason}." for curve in hospital.curves if curve.reason),
        *hospital.notes,
    )
    legend = Legend(((Point(*ALONE), "Own patients alone"), (Point(*TOGETHER), "Own patients and the others' sets")))
    body: tuple[Block, ...] = (Prose(lede), legend, Beside(figures), *tables, Bullets(said))
    brief: tuple[Block, ...] = (Heading("A small hospital"), Prose(lede), *tables, Bullets(said))
    return Section("hospital", "A small hospital", body, brief=brief)


def hospital_headline(hospital: SmallHospital) -> str:
    """What the others' sets bring or cost at the smallest number of patients at each place, and how many own patients
    alone would be as good where that is more."""
    size = next((curve.points[0].patients for curve in hospital.curves if curve.points), None)
    if size is None:
        return ""
    parts = [_at_first(curve) for curve in hospital.curves if curve.points]
    return (
        f"With {size} patients of {class_label(hospital.site)}, the sets of the others change the macro AUC of its own "
        f"originals by {'; '.join(parts)}."
    )


def _at_first(curve: HospitalCurve) -> str:
    """Such as "+0.081 (+0.038 to +0.128) tested at all sites, as good as >200 of its own patients alone"."""
    point = curve.points[0]
    told = f"{with_interval(point.gain, 'difference')} {_place(curve)}"
    if point.as_good_as.patients is not None and point.as_good_as.patients <= point.patients:
        return told
    return f"{told}, as good as {_patients(point.as_good_as, curve)} of its own patients alone"


def _place(curve: HospitalCurve) -> str:
    return f"tested at {class_label(curve.tested_at)}" if curve.tested_at else "tested at all sites"


def _guard(hospital: SmallHospital) -> str:
    """What the guard for home is, and whether it is obeyed."""
    rule = (
        "least weight that these patients do not show to be worse than the best one, by one standard error, 0 among "
        "them, whatever would be gained at other sites"
    )
    if hospital.guard == "home":
        return f"The guard for home is obeyed: it takes the {rule}."
    return f"The guard for home (exchange.guard) is not obeyed; it would take the {rule}."


def _weight(point: CurvePoint, hospital: SmallHospital) -> str:
    """Such as "0 (nothing used in 4 of 5)"."""
    words = "nothing used in" if hospital.guard == "home" else "the guard would use nothing in"
    aside = f" ({words} {point.aside} of {hospital.draws})" if point.aside else ""
    return f"{point.weight:g}{aside}"


def _table(curve: HospitalCurve, hospital: SmallHospital) -> Table:
    columns = (
        Column("Own patients", "count"),
        Column("Alone", "estimate"),
        Column("With the others' sets", "estimate"),
        Column("Difference", "difference"),
        Column("As good as so many alone"),
        Column("Weight"),
    )
    name = f"Macro AUC, {_place(curve)}"
    return table(name, columns, tuple(_row(point, curve, hospital) for point in curve.points))


def _row(point: CurvePoint, curve: HospitalCurve, hospital: SmallHospital) -> Row:
    as_good: Text = _patients(point.as_good_as, curve)
    return (point.patients, point.alone, point.together, point.gain, as_good, _weight(point, hospital))


def _patients(found: AsGoodAs, curve: HospitalCurve) -> str:
    """Such as "57 (31 to >200)"."""
    most, least = curve.points[-1].patients, curve.points[0].patients

    def written(value: float | None) -> str:
        if value is None:
            return f">{most}"
        return f"≤{least}" if value <= least else f"{value:.0f}"

    return f"{written(found.patients)} ({written(found.low)}{NO_BREAK}to{NO_BREAK}{written(found.high)})"


def _figure(curve: HospitalCurve) -> Figure | None:
    if not curve.points:
        return None
    place = _place(curve)
    name = "few-patients-home" if curve.tested_at else "few-patients-all"
    drawing = Drawing(name, partial(draw, curve.points), describe(curve.points, place))
    return Figure(f"Macro AUC, {place}", (drawing,), "Own patients on a logarithmic axis")


def draw(points: Sequence[CurvePoint]) -> Drawn:
    """Both curves over the number of patients, with their intervals."""
    figure, axes = framed(WIDTH, HEIGHT)
    sizes = [point.patients for point in points]
    for shift, (arm, _), of in (
        (0.985, ALONE, [point.alone for point in points]),
        (1.015, TOGETHER, [point.together for point in points]),
    ):
        style = ARM_STYLES[arm]
        shown = [(size * shift, one.value) for size, one in zip(sizes, of, strict=True) if one.value is not None]
        for size, one in zip(sizes, of, strict=True):
            if one.low is not None and one.high is not None:
                ends = [one.low, one.high]
                axes.plot([size * shift] * 2, ends, color=style.mark, linewidth=1.1, alpha=0.55)
        axes.plot(
            [x for x, _ in shown],
            [value for _, value in shown],
            color=style.mark,
            linestyle=style.line,
            linewidth=1.6,
            marker=style.marker,
            markersize=4,
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(sizes))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(sizes, labels=[str(size) for size in sizes])
    named(axes, "Own patients", "Macro AUC")
    return figure


def describe(points: Sequence[CurvePoint], place: str) -> str:
    """Of the plot of both curves."""

    def told(of: Estimate) -> str:
        return with_interval(of, without="")

    each = "; ".join(
        f"{point.patients} patients: alone {told(point.alone)}, with the others' sets {told(point.together)}"
        for point in points
    )
    return f"Macro AUC over the number of own patients, {place}. {each}."
