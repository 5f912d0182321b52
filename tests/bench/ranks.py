"""What ranks cost and save: `python -m tests.bench.ranks [--iterations 40] [--ranks 1 2]`.

The same run of drawn radiographs from its first file to its report, each time with an empty cache: time on the clock,
processor time of all its processes, and of the first rank's outer steps the share of exchange and of waiting. Images
are to be the same, to the byte, whatever the number of ranks.
The load of the machine stands beside them: on one that is busy the clock tells of the others.
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

from rich.console import Console
from rich.table import Table

from medistill.artifacts.kept import read_result
from medistill.data.phantom import write_phantom

SETTINGS = ("method.segments=4", "method.syn_steps=10", "method.validate_every=20", "method.validate_networks=2")
SHORT = ("method.validate_epochs=30", "method.experts.count=4", "evaluate.networks=2", "evaluate.epochs=40")
SHARES = re.compile(r"ranks took ([\d.]+%), and rank 0 waited ([\d.]+%)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=40, help="outer steps")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    asked = parser.parse_args()
    table = Table("Ranks", "Whole run", "Processor time", "Outer steps", "Exchange", "Waiting", "Load", "Images")
    with tempfile.TemporaryDirectory(prefix="medistill-bench-") as folder:
        write_phantom(Path(folder, "xray"), patients=36, size=64)
        for ranks in asked.ranks:
            table.add_row(str(ranks), *_measured(Path(folder), ranks, asked.iterations))
    Console().print(table)


def _measured(folder: Path, ranks: int, iterations: int) -> list[str]:
    """Do one run; return the cells of its row."""
    out, settings = folder / str(ranks), [*SETTINGS, *SHORT, "schedule.choose=fixed", f"method.iterations={iterations}"]
    command = [sys.executable, "-m", "medistill", "distill", "--recipe", "demo", "--device", "cpu", "--out", str(out)]
    command += ["--data", str(folder / "xray"), "--processes", str(ranks), "--ipc", "4"]
    command += [word for setting in settings for word in ("--set", setting)]
    known = {**os.environ, "OMP_NUM_THREADS": "1", "MEDISTILL_CACHE": str(folder / f"cache-{ranks}")}
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env=known, capture_output=True, text=True, check=False)
    taken, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stderr)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    shares = SHARES.search((out / "log.jsonl").read_text(encoding="utf-8"))
    steps = float(read_result(out / "run.json", "run record")["stages"]["distill"]["seconds"])
    images = hashlib.sha256((out / "set" / "images.safetensors").read_bytes()).hexdigest()
    exchange, waiting = shares.groups() if shares else ("-", "-")
    load = f"{os.getloadavg()[0]:.1f}"
    return [f"{taken:.1f} s", f"{spent:.1f} s", f"{steps:.1f} s", exchange, waiting, load, images[:12]]


if __name__ == "__main__":
    main()
