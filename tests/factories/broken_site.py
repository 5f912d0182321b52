"""A site of NVIDIA FLARE that breaks as soon as it is asked anything. It is imported where FLARE is installed alone."""

from __future__ import annotations

from nvflare.apis.executor import Executor
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal


class BrokenExecutor(Executor):
    """Raises where a set is asked for."""

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """Break."""
        raise RuntimeError("a site that breaks")
