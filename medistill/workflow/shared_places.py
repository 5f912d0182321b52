"""Shared places: the ranks of a run have to see the same cache and folder of the run, and to be of one kind."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from medistill.artifacts.atomic import write_text
from medistill.errors import UsageError
from medistill.ranks.ranks import Ranks
from medistill.recipe import Recipe
from medistill.workflow.environment import versions

PATIENCE = 30.0
"""Seconds in which a file that one machine wrote has to be seen by another."""
SEEN_BY_ALL = ".seen-by-all-"
"""What the names of these files begin with. One stays where the leader is killed while it waits."""


def refuse_unlike(ranks: Ranks, recipe: Recipe) -> None:
    """Refuse ranks of another version of medistill or PyTorch, or with another recipe.

    Raises:
        UsageError: with what differs, and whose it is.
    """
    installed = versions()
    ranks.agree(
        {
            "version of medistill": installed["medistill"],
            "version of PyTorch": installed["torch"],
            "recipe": recipe.digest,
        },
        do="give every rank the same command and the same installation",
    )


def refuse_unshared(ranks: Ranks, places: Mapping[str, Path]) -> None:
    """Refuse ranks that do not see the same folders: the leader writes a file into each, and all others look for it.

    Args:
        ranks: of the run.
        places: what a folder is called -> the folder as this rank knows it.

    Raises:
        UsageError: a rank does not see what the leader wrote.
    """
    token = ranks.told(lambda: f"{SEEN_BY_ALL}{secrets.token_hex(8)}")
    leaders = ranks.told(lambda: {name: str(folder) for name, folder in places.items()})
    try:
        ranks.lead(lambda: _write(places, token))
        missing = [] if ranks.leads else _unseen(places, token)
        said = [json.loads(words) for words in ranks.all_say(json.dumps(missing))]
    finally:
        if ranks.leads:
            _remove(places, token)
    rank = next((number for number, names in enumerate(said) if names), None)
    if rank is not None:
        name = said[rank][0]
        raise UsageError(
            f"rank {rank} does not see {name} of rank 0, {leaders[name]}, or sees another folder under that name",
            expected="folders on a disk that all machines share",
            do="name one with --out, and with MEDISTILL_CACHE for the cache, the same on every machine",
        )


def _write(places: Mapping[str, Path], token: str) -> None:
    """Write an empty file into each place."""
    for folder in places.values():
        write_text(folder / token, "", private=True)


def _remove(places: Mapping[str, Path], token: str) -> None:
    """Remove it. A place that is gone, or cannot be written, keeps quiet: what stopped the ranks is told."""
    for folder in places.values():
        with suppress(OSError):
            (folder / token).unlink()


def _unseen(places: Mapping[str, Path], token: str) -> list[str]:
    """Return what the places are called in which a file does not appear in time."""
    until = time.monotonic() + PATIENCE
    missing = list(places)
    while missing and time.monotonic() < until:
        missing = [name for name in missing if not (places[name] / token).is_file()]
        if missing:
            time.sleep(0.2)
    return missing
