"""Stop: the wish to stop at the next safe point, by Ctrl-C, SIGTERM, or a terminal that closed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

from medistill_cli.stderr import forsake_closed_terminal

HANGUP = getattr(signal, "SIGHUP", None)
"""What a terminal sends when it closes; Windows has none."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, *([] if HANGUP is None else [HANGUP]))


class Stop:
    """While this context lasts, the first signal sets `wanted` and calls ``notice``; a second one stops at once.

    A signal that was ignored when the program was started stays ignored, as `nohup` wants it.
    """

    def __init__(self, notice: Callable[[], None]) -> None:
        self.notice = notice
        self.wanted: int | None = None
        self._before: dict[int, Any] = {}
        self._process = os.getpid()

    @property
    def exit_code(self) -> int:
        """What the shell expects of a program that a signal ended: 128 and the signal's number."""
        return 128 + (self.wanted or signal.SIGINT)

    def check(self) -> None:
        """Raise KeyboardInterrupt if somebody wishes to stop; called at safe points alone."""
        if self.wanted is not None:
            raise KeyboardInterrupt

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a forked worker: its parent decides, but must be able to end it
            if number == signal.SIGTERM:
                os._exit(128 + number)
            return
        if number == HANGUP:
            forsake_closed_terminal()
            if self.wanted is not None:  # the system sends it, and the shell too: nobody is impatient
                return
        if self.wanted is not None:
            raise KeyboardInterrupt
        self.wanted = number
        self.notice()

    def __enter__(self) -> Self:
        heeded = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._heard) for number in heeded}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
