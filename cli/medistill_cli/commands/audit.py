"""`medistill audit`: what a distilled set gives away of the images that it was made from."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medistill_cli import options
from medistill_cli.corpus import read_corpus
from medistill_cli.recipe_choice import overrides_of
from medistill_cli.results import out_console, print_json, print_next, print_written
from medistill_cli.source_set import load_set, recipe_of_set, refuse_built_in
from medistill_cli.working import working

if TYPE_CHECKING:
    from medistill.privacy.audit import Audit

GATE_FAILED = 4
"""Exit code where the set fails the audit."""


def audit(
    source: Annotated[
        Path, typer.Argument(metavar="SET|RUN", help="A distilled set, its bundle, or the folder of a run.")
    ],
    data: options.Data = None,
    labels: options.Labels = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FOLDER",
            help="Folder for audit.json; kept private. Left out: audit in the folder of the run, or medistill-audit.",
            show_default=False,
        ),
    ] = None,
    settings: options.Settings = None,
    no_membership: Annotated[
        bool,
        typer.Option(
            "--no-membership",
            help="Leave out the attacks on membership, which take longest. Without them no set passes.",
        ),
    ] = False,
    show_real: Annotated[
        bool,
        typer.Option(
            "--show-real",
            help="Write the closest pairs of distilled and real images to pairs.html too, which must not be shared.",
        ),
    ] = False,
    device: options.Device = "auto",
    json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Measure what a set gives away before it leaves.

    Looks for copies of training images and for remains of the images that the set began as, and attacks networks
    trained on the set to tell who was in the training split. Random originals and held-out patients stand beside it.
    The corpus must be the one that the set was made from. Ends in pass, fail (exit code 4) or not enough evidence, by
    the thresholds in the recipe (section audit).

    \b
    Examples:
      medistill audit medistill-run
      medistill audit medistill-run --data xray/ --labels table.csv
      medistill audit received/set --data xray/ --out audits/first --set audit.copy_ratio=0.6
    """
    with working("repeat") as progress:
        from medistill.workflow.audit import audit as audit_set

        distilled = load_set(source)
        chosen = recipe_of_set(distilled, source, None, overrides_of(settings))
        if data is None:
            refuse_built_in(distilled, source, "compare with")
        corpus = read_corpus(data, labels, chosen, progress)
        a_run = (source / "set" / "manifest.json").is_file()
        folder = out or (source / "audit" if a_run else Path("medistill-audit"))
        found = audit_set(
            distilled,
            corpus,
            chosen,
            out=folder,
            attack=not no_membership,
            show_real=show_real,
            device=device,
            command=_command(source, data, labels, settings),
            progress=progress,
        )
    if json:
        print_json({"out": str(folder), **found.as_json()})
    else:
        _print(found)
        print_written(
            {
                "audit": folder / "audit.json",
                **({"closest pairs: DO NOT SHARE": folder / "pairs.html"} if show_real else {}),
            }
        )
        if a_run and out is None:
            print_next([(["medistill", "report", str(source)], "write the report again, with the audit in it")])
    if found.verdict == "fail":
        raise typer.Exit(GATE_FAILED)


def _command(source: Path, data: Path | None, labels: Path | None, settings: list[str] | None) -> str:
    """The command that makes the audit again; folders by their last name alone, since paths can name people."""
    words = ["medistill", "audit", source.name or "."]
    words += ["--data", data.name or "."] if data is not None else []
    words += ["--labels", labels.name] if labels is not None else []
    return shlex.join([*words, *(word for setting in settings or () for word in ("--set", setting))])


def _print(found: Audit) -> None:
    """The verdict, what was asked, and the search for copies beside its controls."""
    from rich.table import Table

    from medistill.privacy.gate import SPACE_NAMES
    from medistill.report.audit_statements import SUBJECT_NAMES, figure_text, verdict_sentence

    console = out_console()
    asked = Table(title="What the gate asks", title_justify="left", title_style="bold")
    for heading in ("Criterion", "Found", "Threshold", "Verdict"):
        asked.add_column(heading, justify="left" if heading in ("Criterion", "Verdict") else "right")
    for one in found.criteria:
        asked.add_row(one.name, figure_text(one.figure), figure_text(one.threshold), one.verdict)
    copies = Table(title="Search for copies", title_justify="left", title_style="bold")
    copies.add_column("Compared in")
    for subject in SUBJECT_NAMES.values():
        copies.add_column(subject, justify="right")
    for rule in found.rules:
        by_subject = {one.subject: one for one in found.copies if one.space == rule.space}
        told = [f"{by_subject[subject].copies} of {by_subject[subject].images}" for subject in SUBJECT_NAMES]
        copies.add_row(SPACE_NAMES[rule.space], *told)
    console.print(asked)
    if found.rules:
        console.print(copies)
    for one in found.criteria:
        if one.reason:
            console.print(f"{one.name}: {one.reason}.", markup=False, soft_wrap=True)
    console.print(verdict_sentence(found), markup=False, soft_wrap=True, style="bold")
