"""The server's half of a job, as NVIDIA FLARE runs it: its Controller asks the sites, and `Round` does the work.

FLARE finds this class by its path in the installed package; a job brings no code. This module and `executor` alone
import FLARE, and nothing of medistill imports them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from nvflare.apis.client import Client
from nvflare.apis.controller_spec import ClientTask, Task
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.controller import Controller
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal

from medistill.errors import MedistillError
from medistill.federation.apart import pieces_of
from medistill.federation.job import RECIPE_FILE
from medistill.federation.messages import MAKE, TEST
from medistill.federation.round import Pieces, Round, exchange
from medistill.federation.spoken import Spoken

FOLDER = "medistill"
"""Of the results, in the folder of the job's run on the server."""


class ExchangeController(Controller):
    """One round: ask for sets, unite and train, ask for figures, write the report."""

    def __init__(self, sites: list[str], hours: float = 48.0) -> None:
        """Take the job's settings.

        Args:
            sites: names of the clients that take part.
            hours: longest that sites are waited for, for each of the two tasks.
        """
        super().__init__()
        self.sites, self.hours = list(map(str, sites)), float(hours)

    def start_controller(self, fl_ctx: FLContext) -> None:
        """Do nothing: all is done in `control_flow`."""

    def stop_controller(self, fl_ctx: FLContext) -> None:
        """Do nothing."""

    def process_result_of_unknown_task(
        self, client: Client, task_name: str, client_task_id: str, result: Shareable, fl_ctx: FLContext
    ) -> None:
        """Drop what comes too late: the site was named as silent."""
        self.log_info(fl_ctx, f"{client.name} answered too late; its answer was dropped")

    def control_flow(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        """Carry the round out."""
        workspace, job = fl_ctx.get_engine().get_workspace(), fl_ctx.get_job_id()
        folder = Path(workspace.get_run_dir(job)) / FOLDER
        text = (Path(workspace.get_app_config_dir(job)) / RECIPE_FILE).read_text(encoding="utf-8")
        spoken = Spoken(lambda message: self.log_info(fl_ctx, message), lambda: bool(abort_signal.triggered))

        def ask(task: str, pieces: Pieces, sites: Sequence[str]) -> Mapping[str, object]:
            return self._ask(task, pieces, sites, fl_ctx, abort_signal)

        try:
            exchange(Round(text, self.sites, folder, progress=spoken), ask, MAKE, TEST)
        except MedistillError as error:
            self.system_panic(f"the exchange ended without a classifier: {error.seen}", fl_ctx)

    def _ask(
        self, name: str, pieces: Pieces, sites: Sequence[str], fl_ctx: FLContext, abort_signal: Signal
    ) -> Mapping[str, object]:
        """Send a task to sites that are connected; return what arrived before the time was up."""
        connected = {client.name for client in fl_ctx.get_engine().get_clients()}
        targets = [site for site in sites if site in connected]
        arrived: dict[str, object] = {}

        def keep(client_task: ClientTask, fl_ctx: FLContext) -> None:
            result, client_task.result = client_task.result, None  # bundles are kept once
            if isinstance(result, Shareable) and result.get_return_code() == ReturnCode.OK:
                arrived[client_task.client.name] = pieces_of(result)

        if targets:
            task = Task(
                name, Shareable(dict(pieces)), timeout=max(1, round(3600 * self.hours)), result_received_cb=keep
            )
            self.broadcast_and_wait(
                task, fl_ctx, targets=targets, min_responses=len(targets), abort_signal=abort_signal
            )
        return dict(arrived)
