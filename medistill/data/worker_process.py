"""Worker process: what runs in a process that decodes files for another one, from its start to its end."""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import numpy as np

from medistill.data.decoding import decode_chunk, look_at
from medistill.data.second_look import SecondLook
from medistill.data.workers import READY, look_to_json, to_json
from medistill.errors import MedistillError
from medistill.recipe import DataRecipe

MOST_MEMORY = 6 * 2**30
"""Bytes of data beyond what the process has when it is ready. A colour image of 100 million pixels, the largest that is
taken, was measured to need 4.0 GiB, a grey one of 16 bits 2.4 GiB, one of 3,000 x 3,000 pixels 0.25 GiB."""
MOST_SECONDS = 180.0
"""Seconds of processor time for one file. A JPEG of 3 MB with 20,000 progressive scans would take 10 minutes, one of
100 MB hours. Waiting, as for a slow disk, does not count."""
PATIENCE = 60.0
"""Seconds without work after which a worker ends."""


def serve() -> None:
    """Answer requests until none comes, or whoever asks is gone. Never returns.

    Decoders write to the standard streams, and what they write may quote headers; so these lead nowhere.
    """
    import torch

    import_module("medistill.data.radiograph")  # before memory is bounded, and before this process says it is ready
    for stop in (signal.SIGINT, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])):
        signal.signal(stop, signal.SIG_IGN)  # a terminal that closes is for the parent too
    torch.set_num_threads(1)
    if hasattr(signal, "SIGPROF"):
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    _bound_memory()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):
        os.dup2(nowhere, stream)
    try:
        answers.write(READY)
        answers.flush()
    except BrokenPipeError:  # whoever asked was killed while this process began
        os._exit(0)
    sys.stderr.flush()
    os.dup2(nowhere, 2)
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(requests, waiting), daemon=True).start()
    while True:
        try:
            _answer(waiting.get(timeout=PATIENCE), answers)
        except (queue.Empty, BrokenPipeError):
            os._exit(0)


def _receive(requests: IO[bytes], waiting: queue.SimpleQueue[bytes]) -> None:
    """Pass requests on; end the process with the one that asks, even where that was killed."""
    for line in requests:
        waiting.put(line)
    os._exit(0)


def _answer(request: bytes, answers: IO[bytes]) -> None:
    asked = json.loads(request)
    folder, recipe = Path(asked["folder"]), DataRecipe.model_validate(asked["recipe"])
    told: dict[str, Any]
    pixels: Sequence[np.ndarray] = ()
    try:
        if "look" in asked:
            _bound_time(MOST_SECONDS)
            look = look_at(folder, asked["look"], recipe)
            told, pixels = ({"look": None}, ()) if look is None else _looked(look)
        else:
            decoded = []
            for file in asked["files"]:
                _bound_time(MOST_SECONDS)
                decoded += decode_chunk(folder, [file], recipe)
            told = {"decoded": [to_json(one) for one in decoded]}
            pixels = [one.pixels for one in decoded if one.pixels is not None]
    except MedistillError as error:
        said = {"seen": error.seen, "expected": error.expected, "do": error.do}
        told = {"kind": type(error).__name__, "error": said}
    _bound_time(0)
    answers.write(json.dumps(told).encode() + b"\n")
    for one in pixels:
        answers.write(one.tobytes())
    answers.flush()


def _looked(look: SecondLook) -> tuple[dict[str, Any], Sequence[np.ndarray]]:
    told, pixels = look_to_json(look)
    return {"look": told}, pixels


def _bound_time(seconds: float) -> None:
    """End this process after so many seconds of processor time from now on, wherever it then is; 0 lifts that.

    The system does it, since code in C lets no Python run.
    """
    if hasattr(signal, "setitimer"):  # Windows has no such timer
        signal.setitimer(signal.ITIMER_PROF, seconds)


def _bound_memory() -> None:
    """Let this process have no more than `MOST_MEMORY` from here on, and leave no image of it when it crashes."""
    try:
        import resource
    except ImportError:  # Windows has no such limits
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    statistics = Path("/proc/self/statm")
    if not statistics.exists():  # only Linux says how much there is, and holds mappings to the limit
        return
    there = int(statistics.read_text().split()[5]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = there + MOST_MEMORY
    resource.setrlimit(resource.RLIMIT_DATA, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
