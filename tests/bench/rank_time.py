"""One process beside several ranks of one run: `python -m tests.bench.rank_time [--ranks 2] [--set SETTING ...]`.

The same recipe on the same phantoms, once by a process alone and then by ranks, one thread each and each with a cache
of its own. Told are the processor seconds of a command with all processes that it started, of which a process that does
nothing but import has its share; the wall seconds, which tell something on a quiet machine alone; what the log says of
exchange and of waiting; and whether both made the same images. Then the processor seconds of one exchange by itself,
of as many numbers as a step has, by threads with gloo on the loopback interface and a store in memory. Needs Linux.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from rich.console import Console

from medistill.data.phantom import write_phantom
from medistill.ranks.ranks import Ranks
from tests.factories.several_ranks import several

SETTINGS = (
    "method.segments=2",
    "method.ipc=5",
    "method.iterations=40",
    "method.experts.count=4",
    "method.experts.epochs=20",
    "method.max_start_epoch=10",
    "method.validate_every=40",
    "evaluate.networks=2",
    "evaluate.epochs=60",
    "evaluate.raw_epochs=10",
    "schedule.choose=fixed",
)
"""What shortens covid-xray-cpu; two segments, so that two ranks have something to share in each step."""
EXCHANGES = 200
SHARES = re.compile(r"exchange between \d+ ranks took ([\d.]+)%, and rank 0 waited ([\d.]+)%")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--patients", type=int, default=60)
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="SETTING")
    asked = parser.parse_args()
    say = Console(width=160, soft_wrap=True).print
    with tempfile.TemporaryDirectory(prefix="rank-time-") as place:
        folder = Path(place)
        write_phantom(folder / "xray", patients=asked.patients, size=64)
        imported = _timed([sys.executable, "-c", "import medistill_cli.main, medistill.workflow.run"], folder, "import")
        say(f"Imports alone: {imported[0]:.1f} processor seconds in {imported[1]:.0f} s.")
        say("| ranks | processor seconds | wall seconds | exchange, rank 0 waits (share of the steps' wall) | images |")
        say("|---|---|---|---|---|")
        for ranks in (1, asked.ranks):
            say(_row(folder, ranks, [*SETTINGS, *asked.settings]))
    say(_exchange(asked.ranks))


def _row(folder: Path, ranks: int, settings: list[str]) -> str:
    """Distil, and return what it took."""
    out = folder / f"by-{ranks}"
    words = [sys.executable, "-m", "medistill", "distill", "--recipe", "covid-xray-cpu", "--device", "cpu"]
    words += ["--data", str(folder / "xray"), "--out", str(out), "--processes", str(ranks)]
    used, wall = _timed([*words, *(word for one in settings for word in ("--set", one))], folder, str(ranks))
    told = SHARES.search((folder / f"{ranks}.log").read_text(encoding="utf-8"))
    shares = "-" if told is None else f"{told[1]} %, {told[2]} %"
    digest = hashlib.sha256((out / "set" / "images.safetensors").read_bytes()).hexdigest()[:12]
    return f"| {ranks} | {used:.1f} | {wall:.0f} | {shares} | {digest} |"


def _timed(words: list[str], folder: Path, name: str) -> tuple[float, float]:
    """Run a command; return the processor seconds of it and of all that it waited for, and the wall seconds."""
    known = {"MEDISTILL_CACHE": str(folder / f"cache-{name}"), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with (folder / f"{name}.log").open("wb") as log:
        subprocess.run(words, env={**os.environ, **known}, stdout=log, stderr=subprocess.STDOUT, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used, time.perf_counter() - started


def _exchange(size: int) -> str:
    """Exchange what a step of 15 images of 32 pixels has, so many times, and return the processor seconds of one."""
    images = torch.zeros(15, 1, 32, 32)

    def work(ranks: Ranks) -> None:
        mine = [{"images": images, "labels": torch.zeros(15, 3), "rate": torch.zeros(())} for _ in ranks.share(size)]
        for _ in range(EXCHANGES):
            ranks.gathered(mine, size, alike=[images])

    started = time.process_time()
    several(size, work)
    each = (time.process_time() - started) / EXCHANGES / size
    return f"An exchange by itself: {1000 * each:.2f} ms of processor time a rank, of {size} ranks."


if __name__ == "__main__":
    main()
