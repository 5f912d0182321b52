"""`medistill purge`: remove decoded images, experts, encoder-decoders and features from the private cache."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from medistill_cli import options
from medistill_cli.results import print_json, size
from medistill_cli.terminal import write, write_error

SHOWN = 10
"""Most things that are named of those that are left."""
ELSEWHERE = (
    "Not purged: the folders of runs, wherever --out put them. What lies in their evaluation, audit, looks, sites and "
    "state tells of patients; remove these folders yourself."
)


def purge(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Remove what came from patients from the private cache.

    That is every corpus, every expert, every encoder-decoder (one that was brought must be given again, with
    --decoder), what encoders saw in your images, and every image fetched from a PACS. Encoders themselves saw no
    patient of yours, and stay (`medistill encoder remove`). Runs, distilled sets and reports are left alone: remove
    their folders yourself. What was purged is made again when it is needed. It refuses while another command works in
    the cache, and what it cannot remove it names (exit code 3).

    \b
    Examples:
      medistill purge
      medistill purge --yes
    """
    from medistill.artifacts.cache import cache_folder, held
    from medistill.artifacts.purge import purge as purge_cache
    from medistill.errors import ArtifactError, UsageError

    root = cache_folder()
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
    gone = done.removed
    if json:
        kinds = {"corpora": gone.corpora, "trajectories": gone.trajectories, "decoders": gone.decoders}
        kinds["features"] = gone.features
        print_json({"cache": str(root), "removed": {"bytes": gone.bytes, **kinds}, "left": list(done.left)})
    else:
        write(f"Removed {gone.words}, {size(gone.bytes)}, from {root}.")
        write(ELSEWHERE)
    if done.left:
        more = f"; and {len(done.left) - SHOWN} more" if len(done.left) > SHOWN else ""
        raise ArtifactError(
            f"not all that came from patients is gone: {'; '.join(done.left[:SHOWN])}{more}",
            expected="a cache in which everything may be removed, and no links that lead out of it",
            do="remove these yourself, or correct their permissions, then repeat the command",
        )
