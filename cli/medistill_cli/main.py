"""The program `medistill`: its commands, in the order in which they are used."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from medistill.ranks.outcome import outcome_kept
from medistill_cli.commands.audit import audit
from medistill_cli.commands.benchmark import benchmark
from medistill_cli.commands.distill import distill
from medistill_cli.commands.doctor import doctor
from medistill_cli.commands.encoder import encoder
from medistill_cli.commands.evaluate import evaluate
from medistill_cli.commands.exchange_study import exchange_study
from medistill_cli.commands.experts import experts
from medistill_cli.commands.export import export
from medistill_cli.commands.flare import flare
from medistill_cli.commands.init import init
from medistill_cli.commands.keys import keys
from medistill_cli.commands.leave_site_out import leave_site_out
from medistill_cli.commands.ledger import ledger
from medistill_cli.commands.merge import merge
from medistill_cli.commands.phantom import phantom
from medistill_cli.commands.prepare import prepare
from medistill_cli.commands.purge import purge
from medistill_cli.commands.push import push
from medistill_cli.commands.recipes import recipes
from medistill_cli.commands.report import report
from medistill_cli.commands.share import share
from medistill_cli.commands.train import train
from medistill_cli.commands.verify import verify
from medistill_cli.guard import guarded
from medistill_cli.standard_streams import take_every_word

app = typer.Typer(
    name="medistill",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"medistill {version('medistill')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Distil a folder of medical images into a few synthetic images per class, and measure what they are worth.

    `distill` does the whole job. The other commands do one part of it each, or look after what it leaves.
    Without --dp-epsilon no privacy is guaranteed formally; `audit` measures what a set gives away. No figure is
    clinical evidence.

    \b
    Examples:
      medistill distill
      medistill distill --data xray/ --out runs/first
      medistill doctor
    """


app.command()(guarded(init))
app.command()(guarded(distill))
app.command()(guarded(prepare))
app.command()(guarded(experts))
app.command()(guarded(evaluate))
app.command()(guarded(leave_site_out))
app.command()(guarded(audit))
app.command()(guarded(share))
app.command()(guarded(verify))
app.command()(guarded(train))
app.command()(guarded(merge))
app.command()(guarded(export))
app.command()(guarded(push))
app.command()(guarded(exchange_study))
app.command()(guarded(benchmark))
app.command()(guarded(report))
app.command()(guarded(phantom))
app.command()(guarded(ledger))
app.command()(guarded(doctor))
app.command()(guarded(purge))
app.add_typer(flare, name="flare")
app.add_typer(encoder, name="encoder")
app.add_typer(keys, name="keys")
app.add_typer(recipes, name="recipes")


def main() -> None:
    """Run the program.

    Threads of PyTorch that have nothing to do sleep, unless the user's environment says otherwise. By default they
    spin, and on a machine that others use too they take the very cores that they wait for (decision 19).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    take_every_word()
    with outcome_kept():
        app(prog_name="medistill")


if __name__ == "__main__":
    main()
