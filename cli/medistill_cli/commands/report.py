"""`medistill report`: write the report of a run again, or set several runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medistill_cli import options
from medistill_cli.results import estimate, print_classifier, print_evaluation, print_json, print_next, print_written
from medistill_cli.terminal import out_console

if TYPE_CHECKING:
    from medistill.report.comparison import Comparison


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs that have been evaluated.")],
    compare: Annotated[
        bool, typer.Option("--compare", help="Set the runs side by side instead, the first as the one to compare with.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FOLDER",
            help="Where --compare writes comparison.html, .json and .md. Left out: medistill-comparison.",
            show_default=False,
        ),
    ] = None,
    show_real: options.ShowReal = False,
    json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Write the report of a run again, or compare runs.

    Makes report.html, report.json and report.md from what lies in each run; nothing is trained. With --show-real the
    report shows real images: it is then as confidential as they are.

    \b
    Examples:
      medistill report medistill-run
      medistill report runs/first runs/second --compare --out runs/both
    """
    from medistill.errors import UsageError

    if compare and show_real:
        raise UsageError("--show-real was given with --compare", expected="one of them", do="leave one of them out")
    if out is not None and not compare:
        raise UsageError(
            "--out was given without --compare",
            expected="--out for a comparison alone: a report is written into its run",
            do="add --compare, or leave out --out",
        )
    if compare:
        _compare(runs, out or Path("medistill-comparison"), json=json)
    else:
        _write(runs, show_real=show_real, json=json)


def _write(runs: list[Path], *, show_real: bool, json: bool) -> None:
    from medistill.workflow.report import write_report

    told = []
    for run in runs:
        result = write_report(run, show_real=show_real)
        if json:
            places = {"run": str(run), "report": str(run / "report.html"), "set": str(run / "set")}
            told.append({**places, "evaluation": result.evaluation.as_json()})
            continue
        if "training" in result.missing:
            print_classifier(result.evaluation)
        else:
            print_evaluation(result.evaluation, result.across, unit=result.split_unit or "patient")
        print_written(
            {
                "report": run / "report.html",
                "same, for programs": run / "report.json",
                "same, for pull requests": run / "report.md",
            }
        )
    if json:
        print_json(told[0] if len(told) == 1 else {"runs": told})
    elif len(runs) > 1:
        print_next([(["medistill", "report", *map(str, runs), "--compare"], "set them side by side")])


def _compare(runs: list[Path], out: Path, *, json: bool) -> None:
    from medistill.workflow.compare import compare_runs

    comparison = compare_runs(runs, out=out)
    if json:
        print_json({"comparison": str(out / "comparison.html"), **comparison.as_json()})
        return
    _print(comparison)
    print_written(
        {
            "comparison": out / "comparison.html",
            "same, for programs": out / "comparison.json",
            "same, for pull requests": out / "comparison.md",
        }
    )


def _print(comparison: Comparison) -> None:
    """The runs side by side, and each but the first against it."""
    from rich.table import Table

    level = f"{comparison.confidence:.0%}"
    table = Table(title=f"{len(comparison.runs)} runs side by side", title_justify="left", title_style="bold")
    table.add_column("Run", no_wrap=True)
    headings = ("Distilled images", f"Macro AUC ({level} interval)", "Distilled minus all originals")
    for heading in (*headings, f"Minus {comparison.runs[0].name}"):
        table.add_column(heading, justify="right")
    between = {entry.name: estimate(entry.macro_auc) for entry in comparison.differences}
    for run in comparison.runs:
        arm = run.arm("distilled")
        own = ("-", "-") if arm is None else (str(arm.images), estimate(arm.macro_auc))
        table.add_row(run.name, *own, estimate(run.difference), between.get(run.name, "-"))
    console = out_console()
    console.print(table)
    console.print(comparison.comparable)
