"""A site's half of a job, as NVIDIA FLARE runs it: its Executor hands a task on, and the answer back."""

from __future__ import annotations

from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal

from medistill.federation.apart import answer_apart
from medistill.federation.messages import MAKE, TEST


class ExchangeExecutor(Executor):
    """Makes and sends the set of a site, and tests the classifier of the exchange at home."""

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """Do a task. Nothing is written to FLARE's log, which sites send to the server."""
        if task_name not in (MAKE, TEST):
            return make_reply(ReturnCode.TASK_UNKNOWN)
        answer = answer_apart(task_name, shareable, fl_ctx.get_identity_name(), lambda: bool(abort_signal.triggered))
        return make_reply(ReturnCode.TASK_ABORTED) if answer is None else Shareable(answer)
