"""A listener that stops a distillation, as Ctrl-C does."""

from __future__ import annotations

from medistill.progress import Silent, SilentTask


class Stops(Silent):
    """Stops a distillation after so many outer steps."""

    def __init__(self, after: int) -> None:
        self.after = after

    def task(self, title: str, total: int, *, done: int = 0) -> SilentTask:
        after = self.after

        class Task(SilentTask):
            seen = 0

            def advance(self, steps: int = 1, *, figures: str = "") -> None:
                self.seen += 1
                if title == "Distilling" and self.seen == after:
                    raise KeyboardInterrupt

        return Task()
