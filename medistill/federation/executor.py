"""A site's half of a job, as NVIDIA FLARE runs it: its Executor hands a task to `answer_to`, and the answer back."""

from __future__ import annotations

from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal

from medistill.federation.messages import MAKE, TEST
from medistill.federation.site import answer_to
from medistill.federation.spoken import Spoken


class ExchangeExecutor(Executor):
    """Makes and sends the set of a site, and tests the classifier of the exchange at home."""

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """Do a task. FLARE's log hears which task began and ended, and nothing of the images."""
        if task_name not in (MAKE, TEST):
            return make_reply(ReturnCode.TASK_UNKNOWN)
        silent = Spoken(lambda message: None, lambda: bool(abort_signal.triggered))
        try:
            return Shareable(dict(answer_to(task_name, shareable, fl_ctx.get_identity_name(), silent)))
        except KeyboardInterrupt:
            return make_reply(ReturnCode.TASK_ABORTED)
