"""`make bench-gpu`: the exact gradient on CUDA, every way and precision beside naive autograd, each a row of a ledger.
One call, which ends by itself before eight minutes are over.

First the tests of CUDA, then pieces, each in a process of its own, the important ones first; a file a piece in the
output folder. What time or memory did not allow says so in its row. A piece that is there is not measured again.

It ends with 0 where everything was measured, with 75 where time was up before, and with 69 where there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import date
from itertools import count
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from medistill.training.device import Precision
from medistill.workflow.environment import hardware, versions
from tests.bench.ways import SETTINGS, WAYS, first_steps, made, ready

CALL_SECONDS, PIECE_SECONDS, LEAST_SECONDS = 450, 100, 15
"""Of the whole call, of a piece at most, and those that have to be left for one to be begun."""
NO_GPU, TIME_IS_UP = 69, 75
CUDA_TESTS = "tests/integration/test_cuda.py"
KINDS = (
    ("naive", "fp32"), ("reverse", "fp32"), ("reverse", "tf32"), ("first order", "fp32"), ("reverse", "bf16"),
    ("compiled", "fp32"),
)  # fmt: skip
"""Ways and precisions, the important ones first; to compile takes longest."""
COLUMNS = ("setting", "way", "precision", "s per outer step", "/ naive", "peak MB", "/ naive", "relative error")
Command = Callable[[str, str, str], Sequence[str]]
"""Setting, way and precision of a piece -> what prints its figures as a line of JSON."""


def pieces() -> list[tuple[str, str, str]]:
    """Setting, way and precision of every piece."""
    return [(setting, way, name) for way, name in KINDS for setting in SETTINGS]


def measure(setting: str, way: str, name: Precision, folder: Path) -> dict[str, float]:
    """Median seconds of one outer step's gradient and its peak memory; the gradient is left in ``folder``."""
    from medistill.training.device import precision

    device = torch.device("cuda")
    given = made(setting, device="cuda")
    work, taken = ready(way, given[0]), []
    with precision(name, device):
        work(first_steps(given, 2))
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        for _ in range(3):
            torch.cuda.synchronize()
            started = time.perf_counter()
            gradient = work(given)
            torch.cuda.synchronize()
            taken.append(time.perf_counter() - started)
    np.save(folder / f"{setting}-{way}-{name}.npy", gradient.float().cpu().numpy())
    return {"seconds": statistics.median(taken), "peak_mb": (torch.cuda.max_memory_allocated() - before) / 2**20}


def run(folder: Path, command: Command, seconds: float) -> list[tuple[str, str, str]]:
    """Measure what is not there, as far as the seconds go.

    Returns:
        The pieces that are still missing.
    """
    ends = time.monotonic() + seconds
    for piece in pieces():
        path, left = folder / f"{'-'.join(piece)}.json", ends - time.monotonic()
        if path.is_file():
            continue
        if left < LEAST_SECONDS:
            break
        try:
            done = subprocess.run(command(*piece), capture_output=True, text=True, timeout=min(PIECE_SECONDS, left))
            said = done.stdout.splitlines() if done.returncode == 0 else []
            found = json.loads(said[-1]) if said else {"failed": (done.stderr.splitlines() or ["no output"])[-1][:200]}
        except subprocess.TimeoutExpired:
            if left < PIECE_SECONDS:
                break
            found = {"failed": f"longer than {PIECE_SECONDS} s"}
        part = path.with_suffix(".part")
        part.write_text(json.dumps(found), encoding="utf-8")
        part.replace(path)
    return [piece for piece in pieces() if not (folder / f"{'-'.join(piece)}.json").is_file()]


def rows(folder: Path) -> list[tuple[str, ...]]:
    """A row for every piece, beside naive autograd in fp32, in the order of the settings."""
    found: list[tuple[str, ...]] = []
    for setting, way, name in sorted(pieces(), key=lambda piece: list(SETTINGS).index(piece[0])):
        mine, naive = (_figures(folder, setting, *kind) for kind in ((way, name), ("naive", "fp32")))
        if "failed" in mine:
            found.append((setting, way, name, str(mine["failed"]), "–", "–", "–", "–"))
            continue
        slower, larger, off = "–", "–", "–"
        if "failed" not in naive:
            slower, larger = (f"{mine[key] / naive[key]:.3f}" for key in ("seconds", "peak_mb"))
            ours, theirs = (np.load(folder / f"{setting}-{one}.npy") for one in (f"{way}-{name}", "naive-fp32"))
            off = f"{np.linalg.norm(ours - theirs) / np.linalg.norm(theirs):.1e}"
        seconds, peak = f"{mine['seconds']:.3f}", f"{mine['peak_mb']:.0f}"
        found.append((setting, way, name, seconds, slower, peak, larger, off))
    return found


def _figures(folder: Path, *piece: str) -> dict[str, Any]:
    path = folder / f"{'-'.join(piece)}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"failed": "not measured: time was up"}


def add_to_ledger(ledger: Path, machine: str, tests: str, found: Sequence[Sequence[str]], shown: str) -> Path:
    """Add a section at the end of the ledger, and the raw output beside it.

    Args:
        ledger: folder of ``index.md``.
        machine: it was measured on, with versions.
        tests: what the tests of CUDA said.
        found: the rows.
        shown: what the terminal showed.

    Returns:
        The raw output.
    """
    today = date.today().isoformat()
    names = (f"{today}-bench-gpu{'' if number == 1 else f'-{number}'}.txt" for number in count(1))
    log = next(path for name in names if not (path := ledger / "logs" / name).exists())
    log.write_text(shown, encoding="utf-8")
    setting = "; ".join(f"`{name}`: {of['count']} images, J = {of['steps']}" for name, of in SETTINGS.items())
    section = (
        f"\n## The engine on a GPU, {today}\n\n`make bench-gpu`, [raw output](logs/{log.name}). {machine}. ConvNet of "
        f"depth 3 and width 128 on ten classes of 3 × 32 × 32 pixels, all augmentations, seed 0; {setting}. Median of "
        f"three outer steps; the relative error is that of the image gradient against naive autograd in fp32. The "
        f"tests of CUDA in the same call: {tests}.\n\n"
    )
    lines = [COLUMNS, ["---"] * len(COLUMNS), *found]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    with (ledger / "index.md").open("a", encoding="utf-8") as page:
        page.write(section + table)
    return log


def cuda_tests(seconds: float) -> str:
    """What the tests of CUDA say in their last line."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", CUDA_TESTS]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=seconds).stdout.strip().splitlines()
    except subprocess.TimeoutExpired:
        return f"longer than {seconds:.0f} s"
    return said[-1].strip("= ") if said else "no output"


def main() -> int:
    """Measure a piece, or all of them."""
    started = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the pieces lie")
    parser.add_argument("--ledger", type=Path, help="folder of the ledger that a section is added to")
    parser.add_argument("--piece", nargs=3, metavar=("SETTING", "WAY", "PRECISION"), help="measure this one alone")
    asked = parser.parse_args()
    console = Console(width=140, record=True)
    if not torch.cuda.is_available():
        console.print(
            "No CUDA device was found: bench-gpu has nothing to measure here. `make bench` takes the processor."
        )
        return NO_GPU
    if asked.piece:
        setting, way, name = asked.piece
        if setting not in SETTINGS or way not in WAYS or name not in get_args(Precision):
            parser.error(f"no setting {setting!r}, no way {way!r}, or no precision {name!r}")
        sys.stdout.write(json.dumps(measure(setting, way, name, asked.folder)) + "\n")
        return 0
    asked.folder.mkdir(parents=True, exist_ok=True)
    machine = f"{hardware('cuda')}; " + ", ".join(f"{name} {version}" for name, version in versions().items())
    console.print(machine)
    tests = cuda_tests(CALL_SECONDS / 4)
    console.print(f"{CUDA_TESTS}: {tests}")

    def command(*piece: str) -> Sequence[str]:
        return [sys.executable, "-m", "tests.bench.gpu", str(asked.folder), "--piece", *piece]

    missing = run(asked.folder, command, CALL_SECONDS - (time.monotonic() - started))
    found = rows(asked.folder)
    table = Table(*COLUMNS)
    for row in found:
        table.add_row(*row)
    console.print(table)
    if asked.ledger:
        log = add_to_ledger(asked.ledger, machine, tests, found, console.export_text(clear=False))
        console.print(f"A section was added to {asked.ledger / 'index.md'}; its raw output is {log}.")
    if missing:
        console.print(f"Time is up, and {len(missing)} pieces are missing: the same command goes on with them.")
    return TIME_IS_UP if missing else 0


if __name__ == "__main__":
    sys.exit(main())
