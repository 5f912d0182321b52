"""Apart: a site's work in a process of its own, so that one that dies takes nobody else's job with it.

FLARE fails the whole job, at every site, where the process in which a site's task runs ends badly. Memory that runs out
would end it so. Pieces go to and fro as files in a private folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from medistill.federation.messages import MAKE, MOST, TEST, Answer, message, own_version

SENT, ANSWERED = "sent", "answered"
"""Folders of the pieces."""
SECONDS_BETWEEN = 0.5
SECONDS_TO_END = 20.0


def answer_apart(task: str, received: object, site: str, asked_to_stop: Callable[[], bool]) -> dict[str, bytes] | None:
    """Do a task in a process of its own, and return the pieces of the answer; None where it was asked to stop.

    What was made before the process died, or was stopped, is kept, and taken up when the same is asked again.

    Args:
        task: `MAKE` or `TEST`.
        received: what the engine handed over; nothing of it goes on but pieces of plain bytes.
        site: as the engine calls it.
        asked_to_stop: asked twice a second.
    """
    with tempfile.TemporaryDirectory(prefix="medistill-flare-") as name:
        folder = Path(name)
        _put(folder / SENT, pieces_of(received))
        work = subprocess.Popen(  # noqa: S603  # this very interpreter, and words of this file
            [sys.executable, "-P", "-m", __name__, task, site, name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            while work.poll() is None:
                if asked_to_stop():
                    return None
                time.sleep(SECONDS_BETWEEN)
        finally:
            _end(work)
        answered = folder / ANSWERED
        if work.returncode != 0 or not answered.is_dir():
            return message(Answer(protocol=1, medistill=own_version(), code="stopped"))
        return {path.name: path.read_bytes() for path in answered.iterdir()}


def pieces_of(received: object) -> dict[str, bytes]:
    """The pieces of what arrived that have the form of one; whoever reads them says what is missing."""
    if not isinstance(received, Mapping):
        return {}
    found = {name: received.get(name) for name in MOST}
    return {name: piece for name, piece in found.items() if type(piece) is bytes and len(piece) <= MOST[name]}


def _put(folder: Path, pieces: Mapping[str, bytes]) -> None:
    folder.mkdir(mode=0o700)
    for name, piece in pieces.items():
        (folder / name).write_bytes(piece)


def _end(work: subprocess.Popen[bytes]) -> None:
    """End it, if it still runs."""
    if work.poll() is None:
        work.terminate()
        try:
            work.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            work.kill()
            work.wait()


def _end_with(parent: int) -> None:
    """End this process when the one that began it is gone."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(SECONDS_BETWEEN)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main(task: str, site: str, name: str) -> None:
    """Do a task whose pieces lie in a folder, and put the answer beside them."""
    _end_with(os.getppid())
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from medistill.federation.site import answer_to

    folder = Path(name)
    received = {path.name: path.read_bytes() for path in (folder / SENT).iterdir()}
    _put(folder / ANSWERED, answer_to(task, received, site))


if __name__ == "__main__":
    _, task, site, folder = sys.argv
    if task not in (MAKE, TEST):
        sys.exit(2)
    main(task, site, folder)
