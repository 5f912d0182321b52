"""Results on stdout: the table of the arms, files that were written and commands to type next, or one JSON object."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from medistill.visible import json_text
from medistill_cli.terminal import out_console, write_error

if TYPE_CHECKING:
    from rich.table import Table

    from medistill.evaluate.evaluation import Evaluation
    from medistill.evaluate.intervals import Estimate

ALIGNED = 60
"""Letters of a command up to which what it does stands in one column."""
NOT_NON_INFERIOR = 5
"""Exit code where non-inferiority was demanded and is not shown."""


def print_json(value: Mapping[str, Any]) -> None:
    """Write one JSON object; where stdout is not in UTF-8, in ASCII, with every other character as JSON's escape."""
    text = json_text(value)
    if not (sys.stdout.encoding or "").lower().startswith("utf"):
        text = re.sub(r"[^\x00-\x7f]", lambda found: json.dumps(found[0])[1:-1], text)
    sys.stdout.write(f"{text}\n")


def print_evaluation(evaluation: Evaluation, across: Sequence[Evaluation] = (), *, unit: str = "patient") -> None:
    """The arms side by side, what they cost, how the distilled one compares, and the same on other networks."""
    from medistill.pace import duration
    from medistill.report.arm_style import arm_name
    from medistill.report.verdict import verdict
    from medistill.report.wording import plural_of

    level = f"{evaluation.confidence:.0%}"
    units = f"{evaluation.test_images} test images"
    if evaluation.test_patients < evaluation.test_images:
        units += f" of {evaluation.test_patients} {plural_of(unit)}"
    headings = (f"Macro AUC ({level} interval)", "Spread", f"Accuracy ({level} interval)")
    table = _table(f"Fresh networks ({evaluation.network}), tested on {units}", "Trained on", headings)
    costs = _table("What training takes", "Trained on", ("Images", "Stored", "Seen by a network", "Time a network"))
    for arm in evaluation.arms:
        style = "bold" if arm.arm == "distilled" else ""
        spread = "-" if arm.macro_auc_spread is None else f"{arm.macro_auc_spread:.3f}"
        table.add_row(arm_name(arm.arm), estimate(arm.macro_auc), spread, estimate(arm.accuracy), style=style)
        cost = (
            str(arm.images),
            size(arm.bytes),
            str(arm.images_seen) if arm.epochs else "-",
            duration(arm.seconds_a_network),
        )
        costs.add_row(arm_name(arm.arm), *cost, style=style)
    console, told = out_console(), verdict(evaluation)
    compared = told.judgement != "not compared"
    if not compared:
        console.print(f"{told.heading}.", style="bold")
        console.print(told.against_raw)
    console.print(table)
    console.print(costs)
    if evaluation.originals == "not known":
        console.print("Whether test images were among the originals of the set is not known.", style="bold")
    elif evaluation.originals == "left out":
        console.print(f"Left out, since they had a part in making the set: {evaluation.left_out} images.", style="bold")
    if compared:
        console.print(told.against_raw)
    console.print(told.against_random)
    for said in told.lost_classes:
        console.print(said, style="bold")
    for name, value in compared * (
        ("Hard-label recovery (accuracy that is lost; DD-Ranking)", evaluation.hard_label_recovery),
        ("Improvement over random (accuracy that is gained; DD-Ranking)", evaluation.improvement_over_random),
    ):
        console.print(f"{name}: {estimate(value)}.")
    if across:
        _print_across([evaluation, *across])


def print_classifier(evaluation: Evaluation) -> None:
    """What a classifier is worth on one's own images: the answer, then each class against the rest."""
    from medistill.report.verdict import verdict

    level, [arm] = f"{evaluation.confidence:.0%}", evaluation.arms
    chosen = bool(evaluation.validation_images)
    at_threshold = ("Sensitivity", "Specificity") if chosen else ()
    headings = ("Test images", f"AUC ({level} interval)", "Put into it", *at_threshold)
    units = f"{evaluation.test_images} images"
    if evaluation.test_patients < evaluation.test_images:
        units += f" of {evaluation.test_patients} patients"
    table = _table(f"{evaluation.network}, tested on {units}", "Class", headings)
    for of_class, images in zip(arm.classes, evaluation.class_images, strict=True):
        point = of_class.point("youden")
        figures = (of_class.auc, of_class.recall, *((point.sensitivity, point.specificity) if chosen else ()))
        table.add_row(of_class.name, str(images), *map(estimate, figures))
    console, told = out_console(), verdict(evaluation, classifier=True)
    console.print(f"{told.heading}.", style="bold")
    console.print(told.against_raw)
    console.print(table)
    if not chosen:
        return
    console.print(
        "Sensitivity and specificity stand at thresholds chosen (Youden) on the "
        f"{evaluation.validation_images} validation images of this corpus, not of the sender's.",
    )


def _print_across(evaluations: Sequence[Evaluation]) -> None:
    """Macro AUC of every arm on every network, and what the distilled one loses against all originals."""
    from medistill.report.arm_style import arm_name
    from medistill.report.wording import number

    headings = [*(arm_name(arm.arm) for arm in evaluations[0].arms), "Distilled minus all"]
    table = _table("Macro AUC on each network", "Network", headings)
    for evaluation in evaluations:
        found = [arm.macro_auc.value for arm in evaluation.arms]
        values = ["none" if value is None else number(value) for value in found]
        difference = evaluation.difference("raw")
        table.add_row(evaluation.network, *values, "-" if difference is None else estimate(difference.macro_auc))
    out_console().print(table)


def _table(title: str, first: str, headings: Sequence[str]) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column(first, no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def demand_non_inferiority(evaluation: Evaluation) -> None:
    """End the program with exit code 5, and say why on stderr, unless non-inferiority is shown."""
    if evaluation.non_inferiority != "shown":
        because = f" ({evaluation.reason})" if evaluation.reason else ""
        write_error(
            f"Non-inferiority to all originals by the margin of {evaluation.margin:g}: {evaluation.non_inferiority}"
            f"{because}. --require-non-inferior was given, so this command ends with exit code {NOT_NON_INFERIOR}."
        )
        raise typer.Exit(NOT_NON_INFERIOR)


def estimate(value: Estimate) -> str:
    """``0.912 (0.874 to 0.941)``, or that it is not known."""
    from medistill.report.estimates import with_interval
    from medistill.report.wording import sentences

    return "not known" if value.value is None else sentences(with_interval(value))


def print_written(paths: Mapping[str, Path]) -> None:
    """Files that were written, each with what it is."""
    console = out_console()
    console.print("\nWritten:", style="bold")
    width = max(len(name) for name in paths)
    for name, path in paths.items():
        console.print(f"  {name:{width}}  {path}", soft_wrap=True)


def print_next(commands: Iterable[tuple[Sequence[str], str]], *, advice: str = "") -> None:
    """What to do first, where that is no command, and commands to type next, each with what it does."""
    console = out_console()
    console.print("\nNext:", style="bold")
    if advice:
        console.print(f"  {advice}.", soft_wrap=True)
    told = [(shlex.join(words), what) for words, what in commands]
    width = max((len(command) for command, _ in told if len(command) <= ALIGNED), default=0)
    for command, what in told:
        console.print(f"  {command:{width}}  # {what}", soft_wrap=True)


def print_facts(rows: Iterable[tuple[str, str]]) -> None:
    """Two columns: what, and its value, which is never cut: it may be a path to copy."""
    from rich.text import Text

    facts = list(rows)
    width = max(len(name) for name, _ in facts)
    console = out_console()
    for name, value in facts:
        console.print(Text.assemble((f"{name:{width}}", "bold"), f"  {value}"), soft_wrap=True)


def size(count: int) -> str:
    """Bytes as a person would say them."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
