"""What the launcher says of this process. It needs no torch: the command line asks before it imports anything."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

TOLD = (
    "TORCHELASTIC_RUN_ID",
    "TORCHELASTIC_RESTART_COUNT",
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "MASTER_PORT",
)
"""What the launcher sets for each process. A process that has some of it only was not started by one itself."""


@dataclass(frozen=True)
class Launch:
    """This process among those that a launcher started.

    Attributes:
        rank: its number, from 0.
        size: how many there are.
        local_rank: its number on this machine.
        here: how many run on this machine.
        attempt: how often they were started again.
        name: of the launcher, alike for all its attempts: the rendezvous' id, or the launcher's own process where the
            id says nothing.
    """

    rank: int
    size: int
    local_rank: int
    here: int
    attempt: int
    name: str


def launched() -> Launch | None:
    """Return what torch's elastic launcher (`torchrun`) says of this process; None where it was started otherwise."""
    known = os.environ
    if any(name not in known for name in TOLD):
        return None
    run_id = known["TORCHELASTIC_RUN_ID"]
    if run_id in ("", "none"):
        run_id = f"{socket.gethostname()} {os.getppid()} {known['MASTER_PORT']}"
    return Launch(
        rank=int(known["RANK"]),
        size=int(known["WORLD_SIZE"]),
        local_rank=int(known["LOCAL_RANK"]),
        here=int(known["LOCAL_WORLD_SIZE"]),
        attempt=int(known["TORCHELASTIC_RESTART_COUNT"]),
        name=run_id,
    )
