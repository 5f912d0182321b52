"""`make bench-gpu`: seconds and peak memory of an outer step on CUDA, every way beside naive autograd.

Pieces, one file each in the output folder; a piece that is there is skipped, so that a run cut short is taken up again.
A call ends by itself before ten minutes are over.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from medistill.workflow.environment import hardware, versions
from tests.bench.ways import SETTINGS, WAYS, first_steps, made, ready

CALL_SECONDS = 9 * 60
PIECE_SECONDS = 150
PRECISIONS = {"fp32": ("naive", "reverse", "compiled", "first order"), "tf32": ("reverse",)}


def pieces() -> list[tuple[str, str, str]]:
    """Setting, way and precision of every piece."""
    return [(setting, way, name) for setting in SETTINGS for name, ways in PRECISIONS.items() for way in ways]


def measure(setting: str, way: str, name: str, folder: Path) -> dict[str, float]:
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
    np.save(folder / f"{setting}-{way}-{name}.npy", gradient.cpu().numpy())
    return {"seconds": statistics.median(taken), "peak_mb": (torch.cuda.max_memory_allocated() - before) / 2**20}


def run(folder: Path) -> bool:
    """Measure what is missing; returns whether everything is there."""
    folder.mkdir(parents=True, exist_ok=True)
    ends = time.monotonic() + CALL_SECONDS
    for setting, way, name in pieces():
        path = folder / f"{setting}-{way}-{name}.json"
        if path.is_file():
            continue
        if time.monotonic() + PIECE_SECONDS > ends:
            return False
        command = [sys.executable, "-m", "tests.bench.gpu", str(folder), "--piece", setting, way, name]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PIECE_SECONDS)
            said = done.stdout.splitlines() if done.returncode == 0 else []
            found = json.loads(said[-1]) if said else {"failed": (done.stderr.splitlines() or ["no output"])[-1][:200]}
        except subprocess.TimeoutExpired:
            found = {"failed": f"longer than {PIECE_SECONDS} s"}
        part = path.with_suffix(".part")
        part.write_text(json.dumps(found))
        part.replace(path)
    return True


def show(folder: Path, console: Console) -> None:
    """Print what was measured, beside naive autograd."""
    table = Table("setting", "way", "precision", "s per outer step", "/ naive", "peak MB", "/ naive", "relative error")
    for setting, way, name in pieces():
        found = json.loads((folder / f"{setting}-{way}-{name}.json").read_text())
        if "failed" in found:
            table.add_row(setting, way, name, found["failed"])
            continue
        naive = json.loads((folder / f"{setting}-naive-fp32.json").read_text())
        ratios, off = ("-", "-"), "-"
        if "failed" not in naive:
            ratios = tuple(f"{found[key] / naive[key]:.3f}" for key in ("seconds", "peak_mb"))
            mine, reference = (np.load(folder / f"{setting}-{one}.npy") for one in (f"{way}-{name}", "naive-fp32"))
            off = f"{np.linalg.norm(mine - reference) / np.linalg.norm(reference):.1e}"
        seconds, peak = f"{found['seconds']:.3f}", f"{found['peak_mb']:.0f}"
        table.add_row(setting, way, name, seconds, ratios[0], peak, ratios[1], off)
    console.print(table)


def main() -> None:
    """Measure a piece, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the pieces lie")
    parser.add_argument("--piece", nargs=3, metavar=("SETTING", "WAY", "PRECISION"), help="measure this one alone")
    asked = parser.parse_args()
    console = Console(width=140)
    if not torch.cuda.is_available():
        console.print(
            "No CUDA device was found: bench-gpu has nothing to measure here. `make bench` takes the processor."
        )
        sys.exit(1)
    if asked.piece:
        setting, way, name = asked.piece
        if way not in WAYS:
            parser.error(f"no way {way!r}")
        sys.stdout.write(json.dumps(measure(setting, way, name, asked.folder)) + "\n")
        return
    console.print(f"{hardware('cuda')}; " + ", ".join(f"{name} {version}" for name, version in versions().items()))
    if not run(asked.folder):
        console.print("Time is up and some pieces are missing: run the same command again.")
        sys.exit(75)
    show(asked.folder, console)


if __name__ == "__main__":
    main()
