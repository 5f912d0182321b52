"""`make bench-gpu` where there is no GPU, and what it does with figures that a stand-in prints."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.bench import gpu

ROOT = Path(__file__).resolve().parents[2]


def standing_in(folder: Path, figures: dict[str, float]) -> gpu.Command:
    """Return the command of a piece that leaves a gradient of its own and prints figures; to compile fails."""

    def command(setting: str, way: str, name: str) -> Sequence[str]:
        if way == "compiled":
            return [sys.executable, "-c", "raise MemoryError('out of memory')"]
        gradient = np.ones(4) if (way, name) == ("naive", "fp32") else np.array([1, 1, 1, 1.5])
        np.save(folder / f"{setting}-{way}-{name}.npy", gradient)
        slower = 4 * figures["seconds"] if way == "naive" else figures["seconds"]
        return ["echo", json.dumps({**figures, "seconds": slower})]

    return command


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pieces").mkdir()
    return tmp_path / "pieces"


def test_pieces_become_rows_beside_naive_autograd(folder: Path) -> None:
    assert gpu.run(folder, standing_in(folder, {"seconds": 0.25, "peak_mb": 100.0}), 60) == []
    found = {row[:3]: row[3:] for row in gpu.rows(folder)}
    assert len(found) == len(gpu.pieces())
    assert found["ipc10", "reverse", "fp32"] == ("0.250", "0.250", "100", "1.000", "2.5e-01")
    assert found["ipc10", "naive", "fp32"] == ("1.000", "1.000", "100", "1.000", "0.0e+00")
    assert found["ipc1", "compiled", "fp32"][0] == "MemoryError: out of memory"


def test_what_time_does_not_allow_is_missing_and_the_next_call_goes_on(folder: Path) -> None:
    command = standing_in(folder, {"seconds": 0.25, "peak_mb": 100.0})
    assert gpu.run(folder, command, gpu.LEAST_SECONDS / 2) == gpu.pieces()
    assert {row[3] for row in gpu.rows(folder)} == {"not measured: time was up"}
    (folder / "ipc1-naive-fp32.json").write_text(json.dumps({"seconds": 8.0, "peak_mb": 1.0}))
    assert gpu.run(folder, command, 60) == []
    assert json.loads((folder / "ipc1-naive-fp32.json").read_text())["seconds"] == 8.0


def test_a_section_is_added_to_the_ledger_with_its_raw_output(folder: Path, tmp_path: Path) -> None:
    ledger = tmp_path / "benchmarks"
    (ledger / "logs").mkdir(parents=True)
    page = ledger / "index.md"
    shutil.copy(ROOT / "docs" / "benchmarks" / "index.md", page)
    before = page.read_text(encoding="utf-8")
    gpu.run(folder, standing_in(folder, {"seconds": 0.25, "peak_mb": 100.0}), 60)
    logs = [gpu.add_to_ledger(ledger, "a GPU", "9 passed", gpu.rows(folder), "what was shown") for _ in range(2)]
    assert len(set(logs)) == 2
    assert logs[1].read_text(encoding="utf-8") == "what was shown"
    added = page.read_text(encoding="utf-8").removeprefix(before)
    assert added.count("## The engine on a GPU") == 2
    assert all(f"](logs/{log.name})" in added for log in logs)
    assert added.count("| ipc50 | reverse | bf16 | 0.250 | 0.250 | 100 | 1.000 | 2.5e-01 |\n") == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_without_a_gpu_it_says_so_and_ends_with_a_code_of_its_own(folder: Path) -> None:
    command = [sys.executable, "-m", "tests.bench.gpu", str(folder), "--ledger", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == gpu.NO_GPU
    assert "No CUDA device was found" in done.stdout
    assert list(folder.iterdir()) == []
