"""Local: torch's elastic launcher on this machine, whose store listens on the loopback interface alone."""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path

from torch.distributed import TCPStore  # type: ignore[attr-defined]
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.elastic.rendezvous.api import (
    RendezvousHandler,
    RendezvousInfo,
    RendezvousParameters,
    RendezvousStoreInfo,
    rendezvous_handler_registry,
)
from torch.distributed.elastic.rendezvous.static_tcp_rendezvous import StaticTCPRendezvous
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from medistill.errors import RankError
from medistill.ranks.life import AGAIN
from medistill.ranks.outcome import OUTCOMES, exit_code_of

HOST = "127.0.0.1"
BACKEND = "loopback"
RESTARTS = 3
"""How often the ranks are started again after one of them was lost."""
SHUTDOWN = "60"
"""Seconds that ranks have to finish their step when they are to stop."""


class Loopback(StaticTCPRendezvous):
    """The rendezvous of one launcher with itself. The store that torch opens for it would listen to everybody."""

    def get_backend(self) -> str:
        """Its name among torch's."""
        return BACKEND

    def next_rendezvous(self) -> RendezvousInfo:
        """Give the store, opened the first time."""
        if self._store is None:
            listening = socket.create_server((HOST, 0))
            self.master_port = listening.getsockname()[1]
            self._store = TCPStore(
                HOST,
                self.master_port,
                is_master=True,
                timeout=self.timeout,
                wait_for_workers=False,
                master_listen_fd=listening.detach(),
            )
        return RendezvousInfo(
            PrefixStore(self.run_id, self._store), 0, 1, RendezvousStoreInfo(self.master_addr, self.master_port)
        )


def run_here(arguments: Sequence[str], processes: int) -> int:
    """Start ``python ARGUMENTS`` so many times, as ranks of one run, and wait for all of them.

    A rank that is killed has all of them started again, `RESTARTS` times at most; one that ends with an error of its
    own, which it told, has not.

    Args:
        arguments: of the Python interpreter.
        processes: ranks.

    Returns:
        The exit code of the first rank; where that is 0, of the first other one that failed.

    Raises:
        RankError: ranks were lost again and again.
    """
    _prepare_environment(processes)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend=BACKEND,
        rdzv_endpoint=HOST,
        local_addr=HOST,
        max_restarts=RESTARTS,
    )
    rendezvous_handler_registry.register(BACKEND, _loopback)
    with tempfile.TemporaryDirectory(prefix="medistill-ranks-") as folder:
        os.environ[OUTCOMES] = folder
        try:
            elastic_launch(config, sys.executable)(*arguments)
        except SignalException as stopped:
            return 128 + int(stopped.sigval)
        except ChildFailedError as failed:
            raise _lost(failed) from None
        finally:
            os.environ.pop(OUTCOMES, None)
        return exit_code_of(Path(folder), processes)


def _loopback(parameters: RendezvousParameters) -> RendezvousHandler:
    return Loopback(HOST, 0, 0, 1, parameters.run_id, int(parameters.config.get("timeout", 600)))


def _prepare_environment(processes: int) -> None:
    """Set what the ranks inherit: gloo on the loopback interface, threads by processors, and a quiet launcher."""
    names = [name for _, name in socket.if_nameindex()]
    os.environ["GLOO_SOCKET_IFNAME"] = next((name for name in names if name.startswith("lo")), "lo")
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", SHUTDOWN)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


def _lost(failed: ChildFailedError) -> RankError:
    rank, failure = min(failed.failures.items(), key=lambda one: one[1].timestamp)
    return RankError(
        f"rank {rank} {_how(failure)}, and the ranks were started {RESTARTS + 1} times in all",
        expected="every rank at work",
        do=f"look for what ends it, as the memory of the machine ({AGAIN})",
    )


def _how(failure: ProcessFailure) -> str:
    if failure.exitcode < 0:
        return f"was ended by {signal.Signals(-failure.exitcode).name}"
    return f"ended with exit code {failure.exitcode}"
