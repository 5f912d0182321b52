"""The scripts for Slurm that the guide prints: bash reads them, and srun is handed what the commands take."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "guide" / "many-processes.md"
SCRIPTS = re.findall(r"```bash\n(#!/bin/bash\n.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
JOB = {
    "SLURM_JOB_NODELIST": "node[1-2]",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_JOB_ID": "4711",
    "SLURM_ARRAY_TASK_ID": "3",
}


def stub(folder: Path, name: str, line: str) -> None:
    """Put a program into a folder that stands for one of Slurm's."""
    program = folder / name
    program.write_text(f"#!/bin/bash\n{line}\n", encoding="utf-8")
    program.chmod(0o755)


@pytest.mark.parametrize(
    ("script", "handed"),
    [
        (
            0,
            "torchrun --nnodes 2 --nproc-per-node 4 --max-restarts 3 --rdzv-backend c10d --rdzv-id 4711 "
            "--rdzv-endpoint node1:29400 -m medistill distill --data /shared/xray --out /shared/yours/runs/first",
        ),
        (1, "medistill experts --data /shared/xray --shard 3/8"),
    ],
)
def test_a_script_hands_to_srun_what_it_should(script: int, handed: str, tmp_path: Path) -> None:
    file = tmp_path / "job.sh"
    file.write_text(SCRIPTS[script], encoding="utf-8")
    assert subprocess.run(["bash", "-n", file], check=False).returncode == 0
    stub(tmp_path, "srun", 'echo "$MEDISTILL_CACHE $@"')
    stub(tmp_path, "scontrol", 'test "$*" = "show hostnames node[1-2]" && printf "node1\\nnode2\\n"')
    environment = {**os.environ, **JOB, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", file], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"/shared/yours/medistill {handed}\n"


def test_the_page_has_both_scripts() -> None:
    assert len(SCRIPTS) == 2
