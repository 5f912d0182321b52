"""Outcome: how a rank tells its launcher on this machine the exit code of an error that starting again cannot mend."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medistill.errors import RankError
from medistill.ranks.launch import launched

OUTCOMES = "MEDISTILL_RANK_OUTCOMES"
"""Variable that names the launcher's folder for exit codes."""


@contextmanager
def outcome_kept() -> Iterator[None]:
    """End a rank of `medistill.ranks.local.run_here` with exit code 0 and its own in the launcher's folder.

    The launcher takes another exit code for a rank that was lost. That of `RankError` is left to it.
    """
    folder, launch = os.environ.get(OUTCOMES), launched()
    if folder is None or launch is None:
        yield
        return
    try:
        yield
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if code == RankError.exit_code:
            raise
        Path(folder, str(launch.rank)).write_text(str(code), encoding="ascii")
        raise SystemExit(0) from None


def exit_code_of(folder: Path, processes: int) -> int:
    """Return the first exit code that is not 0, by the number of the rank."""
    for rank in range(processes):
        kept = folder / str(rank)
        if kept.is_file() and (code := int(kept.read_text(encoding="ascii") or 0)):
            return code
    return 0
