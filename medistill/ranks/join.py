"""Join: a process takes its place among the ranks that a launcher started, and leaves it in good order."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import cast

import torch
from torch.distributed.distributed_c10d import PrefixStore, ProcessGroup, ProcessGroupGloo, Store
from torch.distributed.rendezvous import rendezvous

from medistill.errors import MedistillError, RankError, SaidElsewhere
from medistill.ranks.joined import Joined
from medistill.ranks.launch import Launch
from medistill.ranks.life import FAILED, STOPPED, Life, ended, reachable
from medistill.ranks.ranks import ALONE, Ranks

EXCHANGE = datetime.timedelta(minutes=10)
"""How long one exchange may take, for which all ranks have arrived."""
PATIENCE = 1800.0
"""Seconds without a sign of life after which a rank counts as hanging, where nothing else is asked for."""


@contextmanager
def joined(
    launch: Launch | None, *, patience: float = PATIENCE, check: Callable[[], None] = lambda: None
) -> Iterator[Ranks]:
    """Take part in a run, alone or as one of several ranks.

    On a machine with GPUs each rank takes the one of its number there; where there are fewer, some share one.

    Args:
        launch: what the launcher says of this process; None is alone.
        patience: seconds without a sign of life after which another rank counts as hanging.
        check: raises KeyboardInterrupt where somebody wishes to stop; asked while this one waits.

    Raises:
        RankError: the launcher cannot be reached.
        SaidElsewhere: in place of an error that another rank tells as well.
    """
    if launch is None:
        yield ALONE
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(launch.local_rank % torch.cuda.device_count())
    with reachable():
        store, rank, size = next(rendezvous("env://", timeout=EXCHANGE))
        own = PrefixStore(f"medistill {launch.attempt}", store)
        group = cast(ProcessGroup, ProcessGroupGloo(PrefixStore("gloo", own), rank, size, EXCHANGE))
    life = Life(own, rank, size, patience, check)
    ranks = Joined(launch, own, life, group, _why_again(launch, store))
    try:
        yield ranks
    except KeyboardInterrupt:
        with suppress(RankError):
            life.end(STOPPED)
        raise
    except MedistillError as error:
        elsewhere = False
        with suppress(RankError):
            elsewhere = ranks.said_elsewhere(error)
            life.end(FAILED)
        if elsewhere:
            raise SaidElsewhere(error.seen, expected=error.expected, do=error.do) from error
        raise
    except BaseException:
        with suppress(RankError):
            life.end(FAILED)
        raise


def _why_again(launch: Launch, store: Store) -> str:
    """Say why the launcher started the ranks again, by what those of the attempt before last said of themselves."""
    if not launch.attempt:
        return ""
    before = PrefixStore(f"medistill {launch.attempt - 1}", store)
    with reachable():
        silent = [str(rank) for rank in range(launch.size) if not ended(before, rank)]
    if not silent:
        return "a rank ended with an error"
    which = f"rank {silent[0]}" if len(silent) == 1 else f"ranks {', '.join(silent)}"
    return f"{which} ended without a word, as a process does that is killed or has no memory left"
