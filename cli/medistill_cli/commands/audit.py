"""`medistill audit`: what a distilled set gives away of the images that it was made from."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medistill_cli import options
from medistill_cli.brought import bring_again, bring_denoiser_again, bring_encoder_again
from medistill_cli.corpus import read_corpus
from medistill_cli.left_behind import nothing_left_behind
from medistill_cli.ranks import sharing
from medistill_cli.recipe_choice import overrides_of
from medistill_cli.results import estimate, print_json, print_next, print_written
from medistill_cli.source_set import load_set, recipe_of_set, refuse_built_in, run_of
from medistill_cli.terminal import out_console

if TYPE_CHECKING:
    from rich.table import Table

    from medistill.artifacts.distilled_set import DistilledSet
    from medistill.privacy.audit import Audit
    from medistill.privacy.criterion import Verdict

EXIT_CODES: dict[Verdict, int] = {"pass": 0, "fail": 4, "not enough evidence": 7}
"""Verdict -> exit code; 1, 2, 3, 6 and 130 are those of errors, and 5 is what `--require-non-inferior` ends with."""


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
            help="Folder for audit.json; kept private. Left out: audit in the folder of the run, or medistill-audit "
            "for a set outside of one.",
            show_default=False,
        ),
    ] = None,
    settings: options.Settings = None,
    decoder: options.DecoderAgain = None,
    denoiser: options.DenoiserAgain = None,
    encoder: options.EncoderAgain = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="Leave out every attack on membership for which networks or shadow distillations are trained, which "
            "take longest. Such an audit can fail a set, and cannot pass one.",
        ),
    ] = False,
    show_real: Annotated[
        bool,
        typer.Option(
            "--show-real",
            help="Write the closest pairs of distilled and real images to pairs.html too, which must not be shared.",
        ),
    ] = False,
    trust: options.Trust = None,
    allow_large_recipe: options.AllowLargeRecipe = False,
    device: options.Device = "auto",
    processes: options.Processes = None,
    rank_timeout: options.RankTimeout = 30.0,
    json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Measure what a set gives away before it leaves.

    Looks for copies of training images and for remains of the images that the set began as, and attacks networks
    trained on the set to tell who was in the training split. Random originals and held-out patients stand beside it.
    The corpus must be the one that the set was made from, and the set the one that its run made here: of a set alone
    the audit tells what its method gives away, and none passes. Ends in pass (exit code 0), fail (4) or not enough
    evidence (7), by the thresholds in the recipe (section audit); none passes by laxer ones than those that are
    shipped. A report that lies in the run is written again, with the audit in it.

    \b
    Examples:
      medistill audit medistill-run
      medistill audit medistill-run --data xray/ --labels table.csv
      medistill audit medistill-run --data xray/ --quick
      medistill audit received/set --data xray/ --out audits/first --set audit.copy_ratio=0.6
      medistill audit medistill-run --data xray/ --processes 4
    """
    with sharing("repeat", processes, rank_timeout) as (progress, ranks):
        from medistill.artifacts.cache import cache_root
        from medistill.artifacts.new_folder import refuse_unwritable
        from medistill.report.audit_statements import standing
        from medistill.studies.audit.audit import audit as audit_set
        from medistill.studies.audit.former import is_of_run, refuse_what_lies_there
        from medistill.workflow.report import tells_of
        from medistill.workflow.shared_places import refuse_unlike, refuse_unshared

        distilled, run = load_set(source, trust).distilled, run_of(source)
        folder = out or (run / "audit" if run is not None else Path("medistill-audit"))
        refuse_unwritable(folder)
        refuse_what_lies_there(folder, distilled, run=run, quick=quick)  # before anything is read
        chosen = recipe_of_set(distilled, source, None, overrides_of(settings), allow_large=allow_large_recipe)
        ranks.lead(lambda: bring_again(decoder, chosen))
        ranks.lead(lambda: bring_denoiser_again(denoiser, chosen))
        ranks.lead(lambda: bring_encoder_again(encoder, chosen))
        refuse_unlike(ranks, chosen)
        if ranks.size > 1:
            refuse_unshared(ranks, {"the cache": cache_root(), "the folder": folder})
        if data is None:
            refuse_built_in(distilled, source, "compare with")
        corpus = ranks.first(lambda: read_corpus(data, labels, chosen, progress))
        with nothing_left_behind(folder):
            found = audit_set(
                distilled,
                corpus,
                chosen,
                out=folder,
                run=run,
                quick=quick,
                show_real=show_real,
                built_in=data is None,
                device=device,
                command=_command(source, data, labels, settings, quick=quick),
                ranks=ranks,
                progress=progress,
            )
    if not ranks.leads:
        return
    if json:
        print_json({"out": str(folder), **found.as_json()})
    else:
        _print(found)
        told = run is not None and is_of_run(folder, run) and tells_of(run, found)
        print_written(
            {
                "audit": folder / "audit.json",
                "the same to read, print and sign by": folder / "audit.html",
                **({"closest pairs: DO NOT SHARE": folder / "pairs.html"} if show_real else {}),
                **({"the report, with the audit in it": run / "report.html"} if run is not None and told else {}),
                **({"what sites share: DO NOT SHARE": folder / "overlays.html"} if _shows_overlays(found) else {}),
            }
        )
        if run is not None and is_of_run(folder, run):
            _print_next(found, distilled, run, told=told)
    if code := EXIT_CODES[standing(found)]:
        raise typer.Exit(code)


def _print_next(found: Audit, distilled: DistilledSet, run: Path, *, told: bool) -> None:
    """What to do next: share the set, or what would help; and the report, unless it has ``told`` of the audit."""
    from medistill.report.audit_statements import standing
    from medistill.workflow.share import remedy

    commands, passed = [], standing(found) == "pass"
    if passed:
        wanted = ["--licence", "LICENCE", "--intended-use", "WHAT FOR"]
        commands.append((["medistill", "share", str(run), *wanted], "put the set into a bundle that may leave"))
    if not told and (run / "evaluation" / "evaluation.json").is_file():
        commands.append((["medistill", "report", str(run)], "write the report, with the audit in it"))
    print_next(commands, advice="" if passed else remedy(found, distilled))


def _shows_overlays(found: Audit) -> bool:
    return found.text is not None and any(one.likeness is not None for one in found.text.overlays)


def _command(source: Path, data: Path | None, labels: Path | None, settings: list[str] | None, *, quick: bool) -> str:
    """The command that makes the audit again; folders by their last name alone, since paths can name people."""
    words = ["medistill", "audit", source.name or "."]
    words += ["--data", data.name or "."] if data is not None else []
    words += ["--labels", labels.name] if labels is not None else []
    words += ["--quick"] if quick else []
    return shlex.join([*words, *(word for setting in settings or () for word in ("--set", setting))])


def _print(found: Audit) -> None:
    """What was asked, the search for copies and the attacks beside their controls, the time, and the verdict."""
    from rich.table import Table

    from medistill.pace import duration
    from medistill.privacy.attack_registry import space_name
    from medistill.privacy.gate import LAXER
    from medistill.report.attack_words import asked_text, found_text, name_of, verdict_word
    from medistill.report.audit_statements import SUBJECT_NAMES, verdict_sentence
    from medistill.report.one_run_statements import one_run_sentences
    from medistill.report.text_statements import text_sentences

    console = out_console()
    asked = Table(title="What the gate asks", title_justify="left", title_style="bold")
    for heading in ("Criterion", "Found", "Asked for", "Verdict"):
        asked.add_column(heading, justify="left" if heading in ("Criterion", "Verdict") else "right")
    for one in found.criteria:
        asked.add_row(name_of(one), found_text(one), asked_text(one), verdict_word(one))
    copies = Table(title="Search for copies", title_justify="left", title_style="bold")
    copies.add_column("Compared in")
    for subject in SUBJECT_NAMES.values():
        copies.add_column(subject, justify="right")
    for rule in found.rules:
        by_subject = {one.subject: one for one in found.copies if one.space == rule.space}
        told = [f"{by_subject[subject].copies} of {by_subject[subject].images}" for subject in SUBJECT_NAMES]
        copies.add_row(space_name(rule.space), *told)
    console.print(asked)
    if found.rules:
        console.print(copies)
    if found.membership is not None:
        console.print(_attacks(found))
        if found.membership.one_run is not None:
            for said in one_run_sentences(found.membership.one_run, found.split_unit):
                console.print(said, soft_wrap=True)
    for one in found.criteria:
        if one.reason and one.asked != LAXER:  # the last sentence tells these
            console.print(f"{name_of(one)} ({verdict_word(one)}): {one.reason}.", soft_wrap=True)
    for said in text_sentences(found.text):
        if said:
            console.print(said, soft_wrap=True)
    attacks = f"; all calls together spent {duration(found.membership.seconds)} on attacks" if found.membership else ""
    console.print(f"It took {duration(found.seconds)}{attacks}.", soft_wrap=True)
    console.print(verdict_sentence(found), soft_wrap=True, style="bold")


def _attacks(found: Audit) -> Table:
    """How well each attack tells patients of the training split from others, beside the same on the originals."""
    from rich.table import Table

    from medistill.privacy.score_attack import ATTACKED_AT
    from medistill.report.audit_statements import SOURCE_NAMES, figures_by_attack

    table = Table(
        title=f"Attacks on membership (found: where 1 in {ATTACKED_AT} others is wrong)",
        title_justify="left",
        title_style="bold",
    )
    table.add_column("Attack")
    for name in SOURCE_NAMES.values():
        table.add_column(name, justify="right")
    areas, shares = figures_by_attack(found, "auc"), figures_by_attack(found, "found")
    for attack in areas:
        for name, told in (("AUC", areas[attack]), ("found", shares[attack])):
            figures = (estimate(told[source]) if source in told else "not known" for source in SOURCE_NAMES)
            table.add_row(f"{attack}: {name}", *figures)
    return table
