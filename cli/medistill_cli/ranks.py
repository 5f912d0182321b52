"""Ranks of a command: started here with --processes, or by torchrun; only the first of them talks to the terminal."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from medistill.ranks.launch import launched
from medistill_cli.working import Again, working

if TYPE_CHECKING:
    from medistill.progress import Progress
    from medistill.ranks.ranks import Ranks


@contextmanager
def sharing(again: Again, processes: int | None, rank_timeout: float) -> Iterator[tuple[Progress, Ranks]]:
    """As `working`, for a command whose work ranks share; with --processes this process only starts them.

    Args:
        again: how the command goes on.
        processes: that are to share it; None leaves it to the launcher, or to this process alone.
        rank_timeout: minutes without a sign of life after which a rank counts as hanging.

    Raises:
        UsageError: another launcher started another number of processes.
    """
    launch = launched()
    if launch is None and processes is not None and processes > 1:
        raise typer.Exit(_start(processes))
    if launch is not None and processes not in (None, launch.size):
        from medistill.errors import UsageError

        raise UsageError(
            f"--processes {processes}, in a command of which a launcher has started {launch.size}",
            expected="one of the two",
            do="leave --processes out under torchrun",
        )
    from medistill.ranks.ranks import ALONE

    with working(again) as progress:
        if launch is None:
            yield progress, ALONE
            return
        from medistill.ranks.join import joined

        with joined(launch, patience=60 * rank_timeout, check=progress.stop.check) as ranks:
            yield ranks.heard(progress), ranks


def _start(processes: int) -> int:
    """Start this very command so many times, and return how it ended."""
    os.environ.setdefault("LOGLEVEL", "CRITICAL")  # of torch's launcher: the ranks say what there is to say
    from medistill.ranks.local import run_here

    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)
    return run_here(["-m", "medistill", *sys.argv[1:]], processes)
