"""Several ranks in one process, a thread each, with a store and gloo of their own on the loopback interface."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import TypeVar

from torch.distributed import HashStore, PrefixStore, ProcessGroupGloo, Store

from medistill.ranks.joined import Joined
from medistill.ranks.launch import Launch
from medistill.ranks.life import Life

Result = TypeVar("Result")


def several(
    size: int, work: Callable[[Joined], Result], *, patience: float = 60.0, store: Store | None = None
) -> list[Result]:
    """Have every rank do the work; what each returned, by its number. The first error is raised when all have ended."""
    loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), "lo")
    os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
    shared, all_joined = store or HashStore(), Barrier(size)

    def rank(number: int) -> Result:
        life = Life(shared, number, size, patience)
        group = ProcessGroupGloo(PrefixStore("gloo", shared), number, size, timedelta(seconds=60))
        all_joined.wait(60)  # one that ended early would close connections that others have yet to make
        return work(Joined(Launch(number, size, number, size, 0, "test"), shared, life, group))

    with ThreadPoolExecutor(size) as pool:
        futures = [pool.submit(rank, number) for number in range(size)]
    return [future.result() for future in futures]
