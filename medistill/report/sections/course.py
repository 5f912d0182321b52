"""Course: how loss, looks, learning rate and importance went over the outer steps of a distillation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from matplotlib.figure import Figure as Drawn

from medistill.methods.base import Facts
from medistill.report import course_plots
from medistill.report.blocks import Beside, Block, Downloads, Drawing, Figure, Prose
from medistill.report.course_plots import importance_row
from medistill.report.record import Course
from medistill.report.section import Section
from medistill.report.table import Column, Table, long_rows, table
from medistill.report.text import Absent, Link
from medistill.report.view import ReportView
from medistill.report.wording import count, counted, listed, number, were


@dataclass(frozen=True)
class Followed:
    """What is followed over the outer steps.

    Attributes:
        field: of the course; nothing is drawn where it is empty.
        name: of its figure.
        title: what it is.
        text: how to read it.
        draw: draws it.
        describe: says in words what is drawn.
        there: whether a method has it at all.
    """

    field: str
    name: str
    title: str
    text: str
    draw: Callable[[Course], Drawn]
    describe: Callable[[Course], str]
    there: Callable[[Facts], bool] = lambda facts: True


def section(view: ReportView) -> Section:
    """The course, or why there is none."""
    course = view.report.course
    return Section(
        "course",
        "How the images were made",
        tuple(_blocks(view)),
        contents="Distillation",
        data=tuple(_data(course, view.report.facts)) if course is not None else (),
    )


def _blocks(view: ReportView) -> Iterator[Block]:
    course = view.report.course
    if course is None:
        yield Prose(_without(view))
        return
    private = view.report.distilled is not None and view.report.distilled.guarantee is not None
    unseen = private and not course.looks
    yield Prose(_lede(course, unseen=unseen))
    absent = Prose(Absent("the validation split was not looked at" if unseen else "the run did not keep it"))
    yield Beside(
        tuple(
            Figure(
                of.title,
                (
                    Drawing(of.name, partial(of.draw, course), of.describe(course))
                    if getattr(course, of.field)
                    else absent,
                ),
                f"{view.report.facts.loss} {of.text}".lstrip() if of.field == "loss" else of.text,
            )
            for of in FOLLOWED
            if of.there(view.report.facts)
        )
    )
    yield Downloads(("course", "looks", "importance"))


def _without(view: ReportView) -> Absent | tuple[str | Link, ...]:
    distilled = view.report.distilled
    if distilled is None or view.report.facts.outer_steps:
        return Absent(view.missing("course"))
    above: tuple[str | Link, ...] = ("By quantising the corpus, as told ", Link("above", "quantisation"), ". ")
    return (
        *(above if view.report.quantisation is not None else ()),
        f"Method {distilled.method} has no outer steps, and so there is no course of a distillation, and no look to "
        "choose.",
    )


def _lede(course: Course, *, unseen: bool) -> str:
    skipped = len(course.skipped)
    said = f"The images were changed in {counted(len(course.loss) - skipped, 'outer step')}"
    if skipped:
        said += f"; {counted(skipped, 'outer step')} {were(skipped)} skipped since a student left the finite numbers"
    said += "."
    if unseen:
        return (
            f"{said} Those after the last one were kept: none was chosen on data, since that would have to be paid for "
            "from the privacy budget."
        )
    return (
        f"{said} Now and then fresh networks were trained on them and tried on the validation split; the images of the "
        f"best look, step {count(course.chosen_step)}, were kept. The dashed line marks it. Test images played no part."
    )


def _data(course: Course, facts: Facts) -> Iterator[Table]:
    rate = [course.student_lr] if course.student_lr and facts.learned_lr else []
    yield table(
        "course",
        (
            Column("outer step"),
            Column("loss of the outer step", "number"),
            *([Column("student learning rate", "number")] if rate else []),
        ),
        tuple((str(step), *cells) for step, cells in enumerate(long_rows(course.loss, *rate), start=1)),
        caption=f"Loss{' and learning rate' if rate else ''} after each outer step.",
    )
    yield table(
        "looks",
        (Column("outer step"), Column("accuracy", "number"), Column("macro AUC", "number"), Column("chosen")),
        tuple(
            (str(step), *cells, "yes" if step == course.chosen_step else "no")
            for step, cells in zip(course.looks, long_rows(course.accuracy, course.auc), strict=True)
        ),
        caption="Fresh networks on the validation split at each look.",
    )
    yield table(
        "importance",
        (Column("outer step"), Column("group"), Column("W", "number")),
        tuple(
            (str(step), name, weight)
            for step, row in zip(course.looks, course.importance, strict=False)
            for name, weight in zip(course.importance_names, row, strict=True)
        ),
        caption="Importance W of each group of parameters at each look.",
    )


def describe_loss(course: Course) -> str:
    """Of the plot of the loss."""
    return (
        f"Loss of the outer steps, {count(len(course.loss))} in all: {course.loss[0]:.4g} at the start, "
        f"{min(course.loss):.4g} at its least, {course.loss[-1]:.4g} at the end; {_chosen(course)}."
    )


def describe_looks(course: Course) -> str:
    """Of the plot of the looks at the validation split."""
    points = listed([f"{number(value)} at step {count(step)}" for step, value in _few(course.looks, course.auc)])
    return f"Macro AUC on the validation split: {points}; {_chosen(course)}."


def describe_student_lr(course: Course) -> str:
    """Of the plot of the student's learning rate."""
    first, last = course.student_lr[0], course.student_lr[-1]
    return f"Learning rate of the student: {first:.4g} after the first outer step, {last:.4g} after the last."


def describe_importance(course: Course) -> str:
    """Of the plot of the importance of groups of parameters."""
    at_choice = course.importance[importance_row(course)]
    groups = "; ".join(f"{name} {value:.2f}" for name, value in zip(course.importance_names, at_choice, strict=True))
    return f"Importance W of each group of parameters, 1 at the start, at the chosen look: {groups}."


def _chosen(course: Course) -> str:
    return f"chosen step {count(course.chosen_step)}"


def _few(looks: Sequence[int], values: Sequence[float]) -> list[tuple[int, float]]:
    """First, best and last look, each once."""
    best = max(range(len(values)), key=values.__getitem__)
    return [(looks[k], values[k]) for k in sorted({0, best, len(values) - 1})]


FOLLOWED = (
    Followed(
        "loss",
        "loss",
        "Loss of the outer steps",
        "Thin: each step. Thick: running mean.",
        course_plots.loss,
        describe_loss,
    ),
    Followed(
        "auc",
        "looks",
        "Looks at the validation split",
        "Macro AUC of fresh networks trained on the images as they were then.",
        course_plots.looks,
        describe_looks,
    ),
    Followed(
        "student_lr",
        "student-lr",
        "Student learning rate",
        "Learned with the images. A recipient trains with it.",
        course_plots.student_lr,
        describe_student_lr,
        lambda facts: facts.learned_lr,
    ),
    Followed(
        "importance",
        "importance",
        "Importance of the network’s parts",
        "How much each part counted in the matching, a row a part, all on one scale: above its line more than at the "
        "start, below it less. On the right W at the chosen step.",
        course_plots.importance,
        describe_importance,
        lambda facts: facts.experts,
    ),
)
"""Everything that is followed, in the order of the page."""
