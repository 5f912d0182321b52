"""`medistill report`: write the report of a run again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medistill_cli import options
from medistill_cli.results import print_evaluation, print_json, print_written


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run that has been evaluated.")],
    show_real: options.ShowReal = False,
    json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Write the report of a run again, and print its table.

    Makes report.html and report.json from what lies in the run; nothing is trained. With --show-real the report shows
    real images: it is then as confidential as they are.

    \b
    Examples:
      medistill report medistill-run
      medistill report medistill-run --json
    """
    from medistill.workflow.report import write_report

    result = write_report(run, show_real=show_real)
    if json:
        told = {"run": str(run), "report": str(run / "report.html"), "set": str(run / "set")}
        print_json({**told, "evaluation": result.evaluation.as_json()})
        return
    print_evaluation(result.evaluation)
    print_written({"report": run / "report.html", "same, for programs": run / "report.json"})
