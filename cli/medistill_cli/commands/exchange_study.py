"""`medistill exchange-study`: what sites would gain by exchanging distilled sets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medistill_cli import options
from medistill_cli.brought import drawn_space, named_encoder, with_space
from medistill_cli.corpus import on_disk
from medistill_cli.ranks import sharing
from medistill_cli.recipe_choice import choose_recipe, method_for, overrides_of
from medistill_cli.results import print_json, print_next, print_written
from medistill_cli.terminal import out_console

if TYPE_CHECKING:
    from medistill.report.exchange import ExchangeStudy


def exchange_study(
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Folder of the study.")],
    data: options.Data = None,
    labels: options.Labels = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="NAME|FILE",
            help="A recipe of `medistill recipes list`, or a TOML file. Left out: exchange-xray; demo without --data.",
            show_default=False,
        ),
    ] = None,
    received: Annotated[
        list[Path] | None,
        typer.Option(
            "--received",
            metavar="BUNDLE|SET|RUN",
            help="A set that another hospital really sent: it stands beside those of the sites, or in their place "
            "where --data has one site. A bundle is checked as by `medistill verify`; what is refused or does not fit "
            "is named and left out. May be given several times.",
            show_default=False,
        ),
    ] = None,
    trust: options.Trust = None,
    settings: options.Settings = None,
    method: options.Method = None,
    encoder: options.EncoderName = None,
    ipc: options.Ipc = None,
    sites: options.Sites = None,
    classes: options.Classes = None,
    seed: options.Seed = None,
    dp_epsilon: options.DpEpsilon = None,
    device: options.Device = "auto",
    processes: options.Processes = None,
    rank_timeout: options.RankTimeout = 30.0,
    json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Find out what sites gain by exchanging distilled sets.

    All sites' images lie in one folder, so this is a study, not an exchange. Each site distils its own set, which is
    audited, and the sets are united. Networks that are trained on a site's own originals together with the sets of the
    others are tested at every site, beside networks trained on either alone, on all sets, on random originals, and on
    all originals pooled. --received takes sets that others really sent, beside or in place of other sites. Ctrl-C
    saves; the same command goes on.

    \b
    Examples:
      medistill exchange-study --out runs/exchange
      medistill exchange-study --data chest/ --labels chest/manifest.csv --out runs/exchange
      medistill exchange-study --data chest/ --recipe exchange-encoded --encoder NAME --out runs/exchange
      medistill exchange-study --data chest/ --out runs/exchange --processes 4
      medistill exchange-study --data own/ --received east.zip --received west.zip --out runs/received
    """
    with sharing("repeat", processes, rank_timeout) as (progress, ranks):
        from medistill.artifacts.new_folder import refuse_unwritable
        from medistill.studies.exchange.study import exchange_study as study_exchange
        from medistill.studies.exchange.variants import variants_of

        name = recipe or ("demo" if data is None else "exchange-xray")
        seen_by = ranks.first(lambda: named_encoder(encoder))
        method = method_for(method, seen_by, name, settings, stored=None, private=dp_epsilon is not None)
        overrides = overrides_of(
            settings,
            method=method,
            ipc=ipc,
            seed=seed,
            sites=sites,
            classes=classes,
            dp_epsilon=dp_epsilon,
            encoder=seen_by,
        )
        chosen = choose_recipe(name, overrides, data=data, device=device, progress=progress, encoder=seen_by)
        refuse_unwritable(out)
        # One for all sites and all ways of making sets, so that their networks learn in the same.
        wanting = next((one.recipe for one in variants_of(chosen) if one.recipe.method.wants_space), chosen)
        space = ranks.told(lambda: drawn_space(wanting, device, progress))
        chosen = with_space(chosen, space)
        folder, table = ranks.first(lambda: on_disk(data, labels, progress))
        study = study_exchange(
            folder,
            chosen,
            out=out,
            labels=table,
            received=received or (),
            trust=trust or (),
            device=device,
            ranks=ranks,
            progress=progress,
        )
    if not ranks.leads:
        return
    if json:
        print_json({"out": str(out), "study": study.as_json()})
        return
    _print(study)
    print_written({"report": out / "exchange.html", "figures": out / "exchange.json", "united set": out / "united"})
    again = ["medistill", *sys.argv[1:], "--set", "exchange.audit=full"]
    whole = [(again, "audit each site's set whole, by membership too; all else is kept")]
    print_next(
        [
            *(whole if study.audited != "full" and any(site.audit for site in study.sites) else []),
            (["medistill", "train", str(out / "united"), "--out", "model"], "train a classifier on the united set"),
            (["medistill", "evaluate", str(out / "united"), "--data", "OTHER/"], "try it where no site is from"),
        ]
    )


def _print(study: ExchangeStudy) -> None:
    """What each hospital would gain, and whether its set may be sent; all else is on the page."""
    from rich.table import Table

    from medistill.report.exchange_answer import answer_lines, opening, sets_callout
    from medistill.report.exchange_hospital import hospital_headline
    from medistill.report.exchange_variants import variants_gains

    console, told = out_console(), sets_callout(study)
    console.print(opening(study))
    console.print(told.word, style="bold")
    console.print(told.text)
    headings, rows = answer_lines(study)
    table = Table(*headings)
    for cells in rows:
        table.add_row(*cells)
    console.print(table)
    if study.variants is not None:
        for sentence in variants_gains(study.variants):
            console.print(sentence)
    if study.hospital is not None:
        console.print(hospital_headline(study.hospital))
    console.print("Every other figure, and what must be read with it, is in the report.")
