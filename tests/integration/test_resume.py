"""`kill -9` in the middle of every stage, then --resume: the same bits as a run that nobody disturbed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from safetensors.numpy import load_file
from typer.testing import CliRunner, Result

from medistill.data.phantom import write_phantom
from medistill.errors import UsageError
from medistill.progress import Silent, SilentTask
from medistill.workflow.distill import distill
from medistill.workflow.experts import train_experts
from medistill.workflow.run import run
from medistill_cli.main import app
from tests.settings_restored import settings_restored

SETTINGS = (
    "network.width=8",
    "experts.count=3",
    "experts.epochs=4",
    "distill.iterations=30",
    "distill.syn_steps=4",
    "distill.max_start_epoch=2",
    "distill.validate_every=10",
    "distill.validate_epochs=5",
    "distill.checkpoint_every=2",
    "evaluate.networks=2",
    "evaluate.epochs=60",
    "evaluate.raw_epochs=4",
    "schedule.choose=fixed",
    "evaluate.bootstrap=100",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("killed")
    write_phantom(place / "xray", patients=30, size=48)
    return place


def words(folder: Path, out: Path, *more: str) -> list[str]:
    said = ["distill", "--recipe", "demo", "--device", "cpu", "--data", str(folder / "xray"), "--out", str(out)]
    return [*said, "--ipc", "2", *more, *(word for setting in SETTINGS for word in ("--set", setting))]


def told(cache: Path, *said: str) -> Result:
    """What the program says in this process."""
    with settings_restored():
        return CliRunner().invoke(app, said, env={"MEDISTILL_CACHE": str(cache)})


def finish(folder: Path, name: str, *more: str) -> Path:
    done = told(folder / f"cache-{name}", *words(folder, folder / name, *more))
    assert done.exit_code == 0, done.stderr
    return folder / name


@pytest.fixture(scope="module")
def undisturbed(folder: Path) -> Path:
    return finish(folder, "whole")


SIGNS = {
    "prepare": lambda out, cache: (out / "log.jsonl").is_file(),
    "experts": lambda out, cache: any(cache.glob("trajectories/*/expert_*.safetensors")),
    "distill": lambda out, cache: (out / "state" / "checkpoint.safetensors").is_file(),
    "evaluate": lambda out, cache: any(out.glob("evaluation/networks/*.safetensors")),
}
"""How to see from outside that a stage has begun and kept something."""


@pytest.mark.parametrize("stage", SIGNS)
def test_killed_and_resumed(folder: Path, undisturbed: Path, stage: str):
    out, cache = folder / f"killed-{stage}", folder / f"cache-killed-{stage}"
    if stage != "prepare":
        for kind in ("sources", "corpora"):
            shutil.copytree(folder / "cache-whole" / kind, cache / kind)
    process = subprocess.Popen(
        [sys.executable, "-m", "medistill_cli.main", *words(folder, out)],
        env={**os.environ, "MEDISTILL_CACHE": str(cache)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not SIGNS[stage](out, cache) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    assert not (out / "report.html").exists()

    finish(folder, f"killed-{stage}", "--resume")
    for name in ("set/images.safetensors", "history.json"):
        assert (out / name).read_bytes() == (undisturbed / name).read_bytes(), name
    for arm in ("raw", "random", "kmeans", "distilled"):
        mine, theirs = (load_file(run / "evaluation" / f"{arm}.safetensors") for run in (out, undisturbed))
        for split in ("validation", "test"):
            np.testing.assert_array_equal(mine[split], theirs[split], err_msg=f"{arm}, {split}")
    assert not (out / "state").exists()


def test_resuming_a_finished_run_changes_nothing(folder: Path, undisturbed: Path):
    before = (undisturbed / "set" / "images.safetensors").stat().st_mtime_ns
    finish(folder, "whole", "--resume")
    assert (undisturbed / "set" / "images.safetensors").stat().st_mtime_ns == before


def test_resuming_under_another_recipe_names_the_setting(folder: Path, undisturbed: Path):
    done = told(folder / "cache-whole", *words(folder, undisturbed, "--resume"), "--set", "distill.image_lr=7")
    assert done.exit_code == 2
    assert "distill.image_lr" in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


def test_going_on_with_another_number_of_threads_is_said(phantom_corpus, tiny_recipe, tmp_path):
    class Stops(Silent):
        def task(self, title, total, *, done=0):
            class Task(SilentTask):
                def advance(self, steps=1, *, figures=""):
                    raise KeyboardInterrupt

            return Task()

    class Hears(Silent):
        said = ""

        def say(self, message):
            self.said += message

    experts = train_experts(phantom_corpus, tiny_recipe)
    before, progress = torch.get_num_threads(), Hears()
    with pytest.raises(KeyboardInterrupt):
        distill(phantom_corpus, experts, tiny_recipe, out=tmp_path, device="cpu", progress=Stops())
    try:
        torch.set_num_threads(before + 1)
        distill(phantom_corpus, experts, tiny_recipe, out=tmp_path, device="cpu", resume=True, progress=progress)
    finally:
        torch.set_num_threads(before)
    assert f"started with {before} processor threads and goes on with {before + 1}" in progress.said


def test_two_processes_do_not_work_on_one_run(phantom_folder, tiny_recipe, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    with FileLock(out / ".lock"), pytest.raises(UsageError, match="another process works on the run"):
        run(tiny_recipe, out=out, data=phantom_folder, resume=True)
    run(tiny_recipe, out=out, data=phantom_folder, resume=True)
    assert not (out / ".lock").exists()
