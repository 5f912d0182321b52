"""`medistill leave-site-out`: what sets that were distilled without a site are worth there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medistill_cli import options
from medistill_cli.brought import bring_again, bring_denoiser_again, bring_encoder_again
from medistill_cli.corpus import on_disk
from medistill_cli.left_behind import nothing_left_behind
from medistill_cli.ranks import sharing
from medistill_cli.results import estimate, print_json, print_next, print_written
from medistill_cli.source_set import load_set, recipe_of_set
from medistill_cli.terminal import out_console

if TYPE_CHECKING:
    from medistill.report.record import HeldOutSite


def leave_site_out(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run whose set is finished.")],
    data: options.Data = None,
    labels: options.Labels = None,
    decoder: options.DecoderAgain = None,
    denoiser: options.DenoiserAgain = None,
    encoder: options.EncoderAgain = None,
    allow_large_recipe: options.AllowLargeRecipe = False,
    device: options.Device = "auto",
    processes: options.Processes = None,
    rank_timeout: options.RankTimeout = 30.0,
    json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Test each site with networks that never saw it.

    Where classes and sites go together, a network can learn the hospital instead of the disease, and a test on
    patients of the same hospitals does not show it. So each site is left out in turn: a set is distilled from the
    others, and networks that are trained on it, or on the other sites' originals, are tested there. For every site it
    takes about as long as the run. --data and --labels are those of the run, and its recipe is taken. Ctrl-C saves;
    the same command goes on.

    \b
    Examples:
      medistill leave-site-out medistill-run
      medistill leave-site-out medistill-run --data xray/ --labels table.csv
      medistill leave-site-out medistill-run --data xray/ --processes 4
    """
    with sharing("repeat", processes, rank_timeout) as (progress, ranks):
        from medistill.studies.sites.leave_site_out import leave_site_out as leave_out

        if decoder is not None or denoiser is not None or encoder is not None:
            given = recipe_of_set(load_set(run).distilled, run, None, [], allow_large=allow_large_recipe)
            ranks.lead(lambda: bring_again(decoder, given))
            ranks.lead(lambda: bring_denoiser_again(denoiser, given))
            ranks.lead(lambda: bring_encoder_again(encoder, given))
        folder, table = ranks.first(lambda: on_disk(data, labels, progress))
        with nothing_left_behind(run / "sites"):
            sites = leave_out(
                run,
                data=folder,
                labels=table,
                large_recipe="allow" if allow_large_recipe else "refuse",
                device=device,
                ranks=ranks,
                progress=progress,
            )
    if not ranks.leads:
        return
    if json:
        print_json({"run": str(run), "sites": [_as_json(site) for site in sites]})
        return
    _print_table(sites)
    print_written({"results of the sites": run / "sites"})
    print_next([(["medistill", "report", str(run)], "write the report again, with the sites in it")])


def _as_json(site: HeldOutSite) -> dict[str, object]:
    evaluation = site.evaluation.as_json() if site.evaluation is not None else None
    return {"site": site.site, "reason": site.reason, "note": site.note, "evaluation": evaluation}


def _print_table(sites: Sequence[HeldOutSite]) -> None:
    from rich.table import Table

    from medistill.recipe.arms import HEADLINE
    from medistill.report.arm_style import arm_name

    table = Table(title="Macro AUC at a site that was left out", title_justify="left", title_style="bold")
    table.add_column("Site")
    for heading in ("Images", "Classes", *(arm_name(arm) for arm in HEADLINE)):
        table.add_column(heading, justify="right")
    remarks = []
    for site in sites:
        found = site.evaluation
        if found is None:
            table.add_row(site.site, *["-"] * (2 + len(HEADLINE)))
            remarks.append(f"{site.site}: cannot be estimated, because {site.reason}.")
            continue
        results = {arm: found.arm(arm) for arm in HEADLINE}
        told = ["-" if result is None else estimate(result.macro_auc) for result in results.values()]
        table.add_row(site.site, str(found.test_images), str(len(found.class_names)), *told)
        remarks += [f"{site.site}: {site.note}"] if site.note else []
        without = next((result.macro_auc for result in results.values() if result and result.macro_auc.reason), None)
        if without is not None:
            what = "macro AUC" if without.value is None else "interval"
            remarks.append(f"{site.site}: no {what}, because {without.reason}.")
            accuracies = [f"{arm_name(arm)} {estimate(result.accuracy)}" for arm, result in results.items() if result]
            remarks.append(f"{site.site}: accuracy of {', '.join(accuracies)}.")
    console = out_console()
    console.print(table)
    for remark in remarks:
        console.print(remark, soft_wrap=True)
