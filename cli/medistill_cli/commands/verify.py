"""`medistill verify`: is a bundle whole, who signed it, and what does its sender declare?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medistill_cli import options
from medistill_cli.clock import today
from medistill_cli.results import print_json
from medistill_cli.terminal import out_console

if TYPE_CHECKING:
    from rich.table import Table

    from medistill.privacy.findings import AttackFindings

STYLES = {"passed": "green", "declared": "", "missing": "yellow"}
HEADINGS = ("Whoever", "What was tried", "Counted", "In the set", "Limit", "In real ones", "In all", "Verdict")


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
    from medistill.report.attack_words import counted_words, verdict_text
    from medistill.visible import visible
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
    if found.findings:
        console.print(_attacks(found.findings))
        for attack in found.findings:
            for finding in attack.findings:
                if finding.not_looked_for:
                    asked = f"{attack.plain_words}: {counted_words(finding.asked)} ({verdict_text(finding)})"
                    console.print(Text(visible(f"{asked}: {finding.reason}.")), soft_wrap=True)
    console.print("\nThis does not show", style="bold")
    for one in NOT_SHOWN:
        console.print(f"  {one}.")
    figures = [one for attack in found.findings for one in attack.findings]
    if failed := sum(one.verdict == "fail" for one in figures):
        console.print(f"\nThe sender's own audit fails this set: {failed} of {len(figures)} figures.", style="bold red")


def _attacks(found: tuple[AttackFindings, ...]) -> Table:
    """What every attack of the declared audit found, beside its controls, by what its attacker has."""
    from rich.table import Table
    from rich.text import Text

    from medistill.report.attack_words import counted_words, figure_text, limit_text, verdict_text, who
    from medistill.visible import visible

    table = Table(title="What the sender's audit tried", title_justify="left", title_style="bold")
    for heading in HEADINGS:
        table.add_column(heading)
    for attack in found:
        for one in attack.findings:
            figures = (one.figures.of_set, one.figures.control, one.figures.originals)
            told = ("" if of.value is None else figure_text(of.value, one.asked.reads_as) for of in figures)
            in_set, control, originals = told
            limit, verdict = limit_text(one.asked, one.threshold), verdict_text(one)
            row = (who(attack.knows), attack.plain_words, counted_words(one.asked), in_set, limit, control, originals)
            table.add_row(*(Text(visible(cell)) for cell in (*row, verdict)))
    return table
