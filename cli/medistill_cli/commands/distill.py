"""`medistill distill`: the whole chain, from files to a distilled set and its report."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from medistill_cli import options
from medistill_cli.brought import brought, brought_denoiser, named_encoder, public_space, refuse_unused, with_space
from medistill_cli.corpus import on_disk
from medistill_cli.ranks import sharing
from medistill_cli.recipe_choice import choose_recipe, method_for, overrides_of
from medistill_cli.results import demand_non_inferiority, print_evaluation, print_json, print_next, print_written


def distill(
    data: options.Data = None,
    labels: options.Labels = None,
    recipe: options.RecipeName = None,
    method: options.Method = None,
    ipc: options.Ipc = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="New folder for the run: the set, the report, the state.")
    ] = Path("medistill-run"),
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out, with the recipe that it was started with.")
    ] = False,
    sites: options.Sites = None,
    classes: options.Classes = None,
    burnt_in_text: options.BurntInText = None,
    settings: options.Settings = None,
    decoder: options.Decoder = None,
    denoiser: options.Denoiser = None,
    encoder: options.EncoderName = None,
    public: options.Public = None,
    public_labels: options.PublicLabels = None,
    public_sites: options.PublicSites = None,
    components: options.Components = None,
    seed: options.Seed = None,
    across: options.Across = None,
    dp_epsilon: options.DpEpsilon = None,
    dp_delta: options.DpDelta = None,
    require_non_inferior: options.RequireNonInferior = False,
    device: options.Device = "auto",
    processes: options.Processes = None,
    rank_timeout: options.RankTimeout = 30.0,
    show_real: options.ShowReal = False,
    json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Do the whole job: images in, distilled set and report out.

    Reads the files, trains experts and distils (or quantises each class, with --method ddoq), and compares networks
    trained on the distilled images with networks trained on all originals and on as few of them. Ctrl-C saves; the same
    command with --resume goes on.

    \b
    Examples:
      medistill distill
      medistill distill --data xray/
      medistill distill --data xray/ --labels table.csv --ipc 5 --out runs/five
      medistill distill --data xray/ --recipe covid-xray-cpu --set method.iterations=1000 --out runs/long
      medistill distill --data xray/ --method ftd --out runs/flat
      medistill distill --data xray/ --method ddoq --decoder public-decoder/ --out runs/quantised
      medistill distill --data xray/ --method diffusion-patches --denoiser public-denoiser/ --out runs/patches
      medistill distill --data xray/ --encoder 1f3a9c --out runs/encoded
      medistill distill --data xray/ --recipe covid-xray-dp --dp-epsilon 3 --out runs/private
      medistill distill --data xray/ --recipe covid-xray-private --public open-xrays/ --out runs/private
      medistill distill --data "dicomweb+https://pacs.example/dicom-web?Modality=DX" --labels studies.csv
      medistill distill --data xray/ --resume
      medistill distill --data xray/ --processes 4
      torchrun --nproc-per-node 8 -m medistill distill --data xray/
    """
    with sharing("resume", processes, rank_timeout) as (progress, ranks):
        if resume and data is None:
            _refuse_other_data(out)
        own, scored_by, seen_by = ranks.first(
            lambda: (brought(decoder), brought_denoiser(denoiser), named_encoder(encoder))
        )
        stored = out / "recipe.toml" if resume or ranks.attempt else None
        method = method_for(method, seen_by, recipe, settings, stored=stored, private=dp_epsilon is not None)
        chosen = choose_recipe(
            recipe,
            overrides_of(
                settings,
                method=method,
                ipc=ipc,
                seed=seed,
                sites=sites,
                classes=classes,
                across=across,
                burnt_in_text=burnt_in_text,
                dp_epsilon=dp_epsilon,
                dp_delta=dp_delta,
                decoder=own,
                denoiser=scored_by,
                encoder=seen_by,
            ),
            data=data,
            device=device,
            progress=progress,
            stored=stored,
            encoder=seen_by,
        )
        refuse_unused(own, chosen)
        space = ranks.told(
            lambda: public_space(
                chosen,
                public,
                patients=data,
                labels=public_labels,
                sites=public_sites,
                components=components,
                stored=stored,
                device=device,
                progress=progress,
            )
        )
        chosen = with_space(chosen, space)
        from medistill.artifacts.new_folder import refuse_unwritable
        from medistill.workflow.run import run

        refuse_unwritable(out)
        folder, table = ranks.first(lambda: on_disk(data, labels, progress))
        result = run(
            chosen,
            out=out,
            data=folder,
            labels=table,
            device=device,
            resume=resume,
            show_real=show_real,
            ranks=ranks,
            progress=progress,
        )
    if not ranks.leads:
        return
    files = {"report": out / "report.html", "distilled set": out / "set", "pictures": out / "set" / "contact_sheet.png"}
    if json:
        told = {"run": str(out), "report": str(files["report"]), "set": str(files["distilled set"])}
        across_told = [other.as_json() for other in result.across]
        print_json({**told, "evaluation": result.evaluation.as_json(), "across": across_told})
    else:
        print_evaluation(result.evaluation, result.across, unit=result.split_unit or "patient")
        same = {"same, for programs": out / "report.json", "same, for pull requests": out / "report.md"}
        print_written({**files, **same})
        given = [word for flag, path in (("--data", data), ("--labels", labels)) if path for word in (flag, str(path))]
        print_next(
            [
                (["medistill", "audit", str(out), *given], "measure what the set gives away, before it leaves"),
                (["medistill", "evaluate", str(out), "--data", "OTHER/"], "try the set on another corpus"),
                (["medistill", "purge"], "remove decoded images, experts and encoder-decoders from the private cache"),
            ]
        )
    if require_non_inferior:
        demand_non_inferiority(result.evaluation)


def _refuse_other_data(out: Path) -> None:
    """A run on somebody's files is not to be continued on the built-in corpus because --data was forgotten."""
    from medistill.artifacts.kept import read_result
    from medistill.errors import UsageError

    record = out / "run.json"
    if record.is_file() and "--data" in shlex.split(str(read_result(record, "run record").get("command", ""))):
        raise UsageError(
            f"the run in {out} was started with --data, and this command has none",
            expected="the folder that it was started with",
            do="repeat the first command with --resume",
        )
