"""`medistill verify`: is a bundle whole, who signed it, and what does its sender declare?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medistill_cli import options
from medistill_cli.clock import today
from medistill_cli.results import print_json, print_next
from medistill_cli.terminal import out_console

if TYPE_CHECKING:
    from rich.table import Table

    from medistill.privacy.findings import AttackFindings
    from medistill.workflow.verify import Check, Verification

STYLES = {"passed": "green", "declared": "", "missing": "yellow"}
MOST_TOLD = 240
"""Letters of a check in the summary; whoever made the bundle chose some of them."""
MOST_OPEN = 6
"""Figures of an audit in the summary that it does not pass."""
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
    details: Annotated[
        bool, typer.Option("--details", help="Print every check, and every figure of the sender's audit.")
    ] = False,
    json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Check a bundle, and tell what its sender declares. Nothing is written.

    A bundle that was altered, cut off or zipped again is refused (exit code 3), and so is one whose signature is wrong
    or by a key that is unknown or has expired. One without a signature passes unless --trust is given.

    \b
    Examples:
      medistill verify bundle.zip
      medistill verify bundle.zip --details
      medistill verify bundle.zip --trust st-example
      medistill verify bundle.zip --trust st-example.key.json --json
    """
    from rich.text import Text

    from medistill.report.attack_words import counted_words, verdict_text
    from medistill.visible import visible
    from medistill.workflow.verify import NOT_SHOWN
    from medistill.workflow.verify import verify as verify_bundle

    found = verify_bundle(bundle, trust=trust, today=today())
    if json:
        print_json({"bundle": str(bundle), **found.as_json()})
        return
    console = out_console()
    if details:
        console.print(_checks(str(bundle), found.checks))
        if found.findings:
            console.print(_attacks(found.findings))
        for attack in found.findings:
            for finding in attack.findings:
                if finding.not_looked_for:
                    asked = f"{attack.plain_words}: {counted_words(finding.asked)} ({verdict_text(finding)})"
                    console.print(Text(visible(f"{asked}: {finding.reason}.")), soft_wrap=True)
    else:
        _print_summary(str(bundle), found)
    console.print("\nThis does not show", style="bold")
    for one in NOT_SHOWN:
        console.print(f"  {one}.")
    figures = [one for attack in found.findings for one in attack.findings]
    if failed := sum(one.verdict == "fail" for one in figures):
        console.print(f"\nThe sender's own audit fails this set: {failed} of {len(figures)} figures.", style="bold red")
    trusted = [] if trust is None else ["--trust", trust]
    print_next(
        [
            *(
                []
                if details
                else [(["medistill", "verify", str(bundle), *trusted, "--details"], "every check, every figure")]
            ),
            (["medistill", "evaluate", str(bundle), *trusted, "--data", "OWN/"], "what it is worth for your patients"),
            (["medistill", "train", str(bundle), *trusted, "--out", "model"], "train a classifier on it"),
        ]
    )


def _print_summary(name: str, found: Verification) -> None:
    """What was checked here in a line, what is declared or missing in one each, and the audit by its verdicts."""
    from rich.table import Table
    from rich.text import Text

    from medistill.visible import visible

    console = out_console()
    console.print(visible(name), style="bold")
    right = [check.name for check in found.checks if check.state == "passed"]
    console.print(f"Checked here, and right: {', '.join(right)}.")
    console.print("\nWhat nothing here can tell the truth of, and what is missing", style="bold")
    table = Table.grid(padding=(0, 2))
    for check in found.checks:
        told = visible(check.told)
        if check.state != "passed":
            cut = told if len(told) <= MOST_TOLD else f"{told[:MOST_TOLD].rstrip()} ... (--details)"
            table.add_row(Text(check.name), Text(check.state, STYLES[check.state]), Text(cut))
    console.print(table)
    if found.findings:
        _print_audit(found.findings)


def _print_audit(found: tuple[AttackFindings, ...]) -> None:
    """How many figures of the declared audit passed, and the first of those that did not."""
    from medistill.report.attack_words import counted_words, figure_text, limit_text, verdict_text
    from medistill.visible import visible

    console, figures = out_console(), [(attack, one) for attack in found for one in attack.findings]
    asked = [one.verdict for _, one in figures if not one.not_looked_for]
    count = f"{asked.count('pass')} pass, {asked.count('fail')} fail"
    console.print("\nWhat the sender's audit says", style="bold")
    console.print(
        f"{len(found)} attacks with {len(figures)} figures: {count}, "
        f"{asked.count('not enough evidence')} could not be judged"
        f"{f', {len(figures) - len(asked)} not asked' if len(asked) < len(figures) else ''}."
    )
    open_ = sorted((one for one in figures if one[1].verdict != "pass"), key=lambda one: one[1].verdict != "fail")
    for attack, one in open_[:MOST_OPEN]:
        value = one.figures.of_set.value
        seen = "no figure" if value is None else figure_text(value, one.asked.reads_as)
        words = f"{attack.plain_words}: {counted_words(one.asked)} {seen}, {limit_text(one.asked, one.threshold)}"
        console.print(visible(f"  {verdict_text(one)}: {words}."))
    if len(open_) > MOST_OPEN:
        console.print(f"  and {len(open_) - MOST_OPEN} more (--details)")
    for reason in dict.fromkeys(one.reason for _, one in figures if one.not_looked_for):
        console.print(visible(f"  not asked: {reason}."), soft_wrap=True)


def _checks(name: str, checks: tuple[Check, ...]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=name, title_justify="left", title_style="bold")
    for heading in ("Check", "Result", "Found"):
        table.add_column(heading)
    for check in checks:
        table.add_row(check.name, Text(check.state, STYLES[check.state]), Text(check.told))
    return table


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
