"""`medistill flare`: exchange between hospitals over NVIDIA FLARE."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medistill_cli import options
from medistill_cli.brought import named_encoder
from medistill_cli.guard import guarded
from medistill_cli.recipe_choice import overrides_of
from medistill_cli.results import print_facts, print_json, print_next, print_written

flare = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Exchange sets between hospitals over NVIDIA FLARE.\n\n"
    "\b\nExamples:\n  medistill flare job exchange/ --recipe exchange-xray --classes COVID,Normal --sites east,west",
)


@flare.callback()
def group() -> None:
    """Exchange sets between hospitals over NVIDIA FLARE, which each installs with the extra medistill[flare]."""


@flare.command("job")
@guarded
def job(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="New folder for the job.")],
    recipe: Annotated[
        str,
        typer.Option("--recipe", metavar="NAME|FILE", help="A recipe of `medistill recipes list`, or a TOML file."),
    ],
    sites: Annotated[
        str,
        typer.Option(
            "--sites",
            metavar="NAMES",
            help="FLARE's names of the clients that take part, as in east,west. The server must trust a key of each "
            "name (medistill keys trust).",
        ),
    ],
    classes: options.Classes = None,
    settings: options.Settings = None,
    encoder: options.EncoderName = None,
    hours: Annotated[
        float,
        typer.Option(
            "--hours", metavar="N", help="Longest that sites are waited for, for the sets and again for the figures."
        ),
    ] = 48.0,
    json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Write a job that NVIDIA FLARE takes: each site makes, audits and signs its set; the server unites and trains.

    One round, and no gradients. No code is in the job: each site runs the medistill that it installed, on the images
    that its own site file names, and only by the recipe whose SHA-256 stands in that file. A site whose set does not
    pass the gate, or that is lost, is named in the report; the others go on.

    \b
    Examples:
      medistill flare job exchange/ --recipe exchange-xray --classes COVID,Normal --sites east,west,north
      nvflare job submit -j exchange/
    """
    from medistill.federation.job import ALLOWED, write_job
    from medistill.recipe import load_recipe

    overrides = overrides_of(settings, classes=classes, encoder=named_encoder(encoder))
    names = [name.strip() for name in sites.split(",") if name.strip()]
    written = write_job(load_recipe(recipe, overrides), names, out=out, hours=hours)
    if json:
        print_json({"out": str(out), "recipe": str(written.recipe), "recipe_sha256": written.sha256, "sites": names})
        return
    print_facts(
        (
            ("Sites", ", ".join(names)),
            ("Recipe, SHA-256", written.sha256),
            ("Allowed classes", f'each site and the server add "{ALLOWED}" to class_allow_list'),
        )
    )
    print_written({"job": out, "recipe, for the sites to read and agree to": written.recipe})
    print_next([(["nvflare", "job", "submit", "-j", str(out)], "once every site has written its site file")])
