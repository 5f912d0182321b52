"""`medistill verify`: is a bundle whole, who signed it, and what does its sender declare?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medistill_cli import options
from medistill_cli.clock import today
from medistill_cli.results import print_json
from medistill_cli.terminal import out_console

STYLES = {"passed": "green", "declared": "", "missing": "yellow"}


def verify(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle that was received.")],
    trust: Annotated[
        str | None,
        typer.Option(
            "--trust",
            metavar="NAME|FILE",
            help="Refuse it unless this key signed it: a name of `medistill keys list`, or the file of a public key.",
            show_default=False,
        ),
    ] = None,
    json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Check a bundle, and tell what its sender declares. Nothing is written.

    A bundle that was altered, cut off or zipped again is refused (exit code 3), and so is one whose signature is wrong
    or by a key that is unknown or has expired. One without a signature passes unless --trust is given.

    \b
    Examples:
      medistill verify bundle.zip
      medistill verify bundle.zip --trust st-example
      medistill verify bundle.zip --trust st-example.key.json --json
    """
    from medistill.workflow.verify import NOT_SHOWN
    from medistill.workflow.verify import verify as verify_bundle

    found = verify_bundle(bundle, trust=trust, today=today())
    if json:
        print_json({"bundle": str(bundle), **found.as_json()})
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(title=str(bundle), title_justify="left", title_style="bold")
    for heading in ("Check", "Result", "Found"):
        table.add_column(heading)
    for check in found.checks:
        table.add_row(check.name, Text(check.state, STYLES[check.state]), Text(check.told))
    console = out_console()
    console.print(table)
    console.print("\nThis does not show", style="bold")
    for one in NOT_SHOWN:
        console.print(f"  {one}.")
