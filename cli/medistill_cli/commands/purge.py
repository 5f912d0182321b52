"""`medistill purge`: remove decoded images, experts and encoder-decoders from the private cache."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from medistill_cli import options
from medistill_cli.results import print_json, size
from medistill_cli.terminal import write, write_error


def purge(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Remove what came from patients from the private cache.

    That is every corpus, every expert, every encoder-decoder (one that was brought must be given again, with --decoder)
    and every image fetched from a PACS. Runs, distilled sets and reports are left alone: remove their folders yourself.
    What was purged is made again when it is needed.

    \b
    Examples:
      medistill purge
      medistill purge --yes
    """
    from medistill.artifacts.cache import cache_root, held
    from medistill.artifacts.cache import purge as purge_cache
    from medistill.errors import UsageError

    root = cache_root()
    found = held(root)
    if not yes and found.bytes:
        if not sys.stdin.isatty():
            raise UsageError(
                "purge has nobody to ask, since its input is no terminal",
                expected="a person at a terminal, or --yes",
                do="add --yes",
            )
        if not typer.confirm(f"Remove {found.words}, {size(found.bytes)}, from {root}?", err=True):
            write_error("Nothing was removed.")
            raise typer.Exit(1)
    done = purge_cache(root)
    if json:
        kinds = {"corpora": done.corpora, "trajectories": done.trajectories, "decoders": done.decoders}
        print_json({"cache": str(root), "removed": {"bytes": done.bytes, **kinds}})
        return
    write(f"Removed {done.words}, {size(done.bytes)}, from {root}.")
