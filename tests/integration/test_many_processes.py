"""Ranks as processes of their own: the same bits, begun by two and gone on with by others, and what ends them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

from medistill.data.phantom import write_phantom
from medistill_cli.main import app
from tests.factories.started import Started, at_work, started
from tests.settings_restored import settings_restored

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="ranks are found in /proc"),
]
SETTINGS = (
    "data.image_size=16",
    "network.width=4",
    "network.depth=2",
    "method.segments=3",
    "method.experts.count=2",
    "method.experts.epochs=3",
    "method.iterations=30",
    "method.syn_steps=2",
    "method.max_start_epoch=2",
    "method.validate_every=15",
    "method.validate_epochs=3",
    "method.validate_networks=2",
    "method.checkpoint_every=1",
    "evaluate.networks=2",
    "evaluate.epochs=5",
    "evaluate.raw_epochs=2",
    "evaluate.bootstrap=100",
    "schedule.choose=fixed",
)
QUICK = {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "10"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("ranks")
    write_phantom(place / "xray", patients=24, size=48)
    return place


def words(folder: Path, out: Path, *more: str) -> list[str]:
    said = ["distill", "--recipe", "demo", "--device", "cpu", "--data", str(folder / "xray"), "--out", str(out)]
    return [*said, "--ipc", "2", *more, *(word for setting in SETTINGS for word in ("--set", setting))]


def finish(folder: Path, out: Path, cache: Path, *more: str) -> None:
    """Do the command in this process, alone."""
    with settings_restored():
        done = CliRunner().invoke(app, words(folder, out, *more), env={"MEDISTILL_CACHE": str(cache)})
    assert done.exit_code == 0, done.stderr


@pytest.fixture(scope="module")
def undisturbed(folder: Path) -> Path:
    """A run of one process; beside it lies its cache."""
    finish(folder, folder / "alone", folder / "cache-alone")
    return folder / "alone"


def cache_with_experts(folder: Path, name: str) -> Path:
    """A cache that has what the undisturbed run made before its first step."""
    return Path(shutil.copytree(folder / "cache-alone", folder / f"cache-{name}"))


def same(out: Path, undisturbed: Path) -> None:
    """The same images and course byte by byte, and the same answers of every network of the evaluation."""
    for name in ("set/images.safetensors", "history.json"):
        assert (out / name).read_bytes() == (undisturbed / name).read_bytes(), name
    for arm in ("raw", "random", "kmeans", "distilled"):
        mine, alone = (load_file(run / "evaluation" / f"{arm}.safetensors") for run in (out, undisturbed))
        for split in ("validation", "test"):
            np.testing.assert_array_equal(mine[split], alone[split], err_msg=f"{arm}, {split}")


def steps_begun(out: Path) -> bool:
    return (out / "state" / "checkpoint.safetensors").is_file()


def test_two_processes_make_the_same_bytes_as_one(folder: Path, undisturbed: Path) -> None:
    out = folder / "two"
    command = ["-m", "medistill", *words(folder, out, "--processes", "2")]
    with started(command, folder / "two.log", MEDISTILL_CACHE=str(folder / "cache-two"), **QUICK) as two:
        assert two.end() == 0, two.said
    same(out, undisturbed)
    assert (out / "ranks" / "1.jsonl").stat().st_size > 0
    assert two.said.count("Written:") == 1


def test_a_rank_that_would_wait_trains_what_the_set_is_compared_with(folder: Path) -> None:
    chosen = ["--set", "method.segments=1", "--set", "schedule.choose=validation", "--set", "schedule.most_updates=20"]
    chosen += ["--set", "schedule.updates=10", "--set", "schedule.networks=1", "--set", "method.iterations=150"]
    finish(folder, folder / "one-segment", folder / "cache-one-segment", *chosen)
    out = folder / "one-segment-by-two"
    command = ["-m", "medistill", *words(folder, out, "--processes", "2", *chosen)]
    with started(command, folder / "by-two.log", MEDISTILL_CACHE=str(folder / "cache-by-two"), **QUICK) as two:
        assert two.end() == 0, two.said
    same(out, folder / "one-segment")
    assert "rank 1 trains networks on originals" in two.said
    assert "While rank 0 distils" in (out / "ranks" / "1.jsonl").read_text()
    chosen_by = [
        json.loads((run / "evaluation" / "evaluation.json").read_text())["schedules"]
        for run in (out, folder / "one-segment")
    ]
    for one, other in zip(*chosen_by, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}


def test_what_two_began_and_ctrl_c_stopped_one_and_three_finish(folder: Path, undisturbed: Path) -> None:
    out, cache = folder / "stopped", cache_with_experts(folder, "stopped")
    command = ["-m", "medistill", *words(folder, out, "--processes", "2")]
    with started(command, folder / "stopped.log", MEDISTILL_CACHE=str(cache), **QUICK) as two:
        two.wait_until(lambda: steps_begun(out))
        os.killpg(two.process.pid, signal.SIGINT)  # as a terminal sends it, to the launcher and the ranks
        assert two.end() == 130, two.said
    assert "Stopped; all that was finished is saved" in two.said
    assert "--processes 2" in two.said
    assert not (out / "report.html").exists()
    copy = Path(shutil.copytree(out, folder / "by-three"))
    finish(folder, out, cache, "--resume")
    same(out, undisturbed)
    command = ["-m", "medistill", *words(folder, copy, "--resume", "--processes", "3")]
    with started(command, folder / "by-three.log", MEDISTILL_CACHE=str(cache), **QUICK) as three:
        assert three.end() == 0, three.said
    same(copy, undisturbed)
    if len(os.sched_getaffinity(0)) < 3:
        assert "processors for 3 of them here" in three.said


def agent(
    folder: Path, out: Path, cache: Path, port: int, log: str, *more: str, **known: str
) -> AbstractContextManager[Started]:
    """One node of torchrun: an agent with one rank."""
    torchrun = ["-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d"]
    torchrun += ["--rdzv-id", "two-nodes", "--rdzv-endpoint", f"127.0.0.1:{port}", "--local-addr", "127.0.0.1"]
    command = [*torchrun, "-m", "medistill", *words(folder, out, *more)]
    return started(command, folder / log, **{"MEDISTILL_CACHE": str(cache), **QUICK, **known})


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def test_two_agents_of_torchrun_are_one_run(folder: Path, undisturbed: Path) -> None:
    out, cache, port = folder / "two-nodes", folder / "cache-two-nodes", free_port()
    with (
        agent(folder, out, cache, port, "node-0.log") as first,
        agent(folder, out, cache, port, "node-1.log") as second,
    ):
        codes = [first.end(), second.end()]
    assert codes == [0, 0], first.said + second.said
    same(out, undisturbed)
    assert (first.said + second.said).count("Written:") == 1


@pytest.mark.parametrize(
    ("differs", "named"),
    [
        ("recipe", "has another recipe than rank 0: "),
        ("version", "has another version of medistill than rank 0: "),
        ("cache", "does not see the cache of rank 0, "),
        ("out", "does not see the folder of rank 0, "),
    ],
)
def test_a_node_that_differs_is_named_before_anything_is_trained(
    folder: Path, tmp_path: Path, differs: str, named: str
) -> None:
    """Of two nodes, whichever is rank 0; one has another seed, another version, or a folder that is not shared."""
    other = tmp_path / "medistill-0.0.1.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: medistill\nVersion: 0.0.1\n", encoding="utf-8")
    port, out = free_port(), tmp_path / "out"
    more = ["--seed", "7"] if differs == "recipe" else []
    first_found = {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    known = first_found if differs == "version" else {}
    place = tmp_path / "another" if differs == "out" else out
    caches = [tmp_path / "cache", tmp_path / ("cache-of-its-own" if differs == "cache" else "cache")]
    with (
        agent(folder, out, caches[0], port, f"{differs}-0.log") as first,
        agent(folder, place, caches[1], port, f"{differs}-1.log", *more, **known) as second,
    ):
        codes = [first.end(), second.end()]
    said = first.said + second.said
    assert codes == [1, 1], said  # torchrun's own
    assert f"rank 1 {named}" in said
    assert said.count("What to do: ") == 1
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize("rank", [1, 0])
def test_a_rank_that_is_killed_is_started_again_and_named(folder: Path, undisturbed: Path, rank: int) -> None:
    out, cache = folder / f"lost-{rank}", cache_with_experts(folder, f"lost-{rank}")
    command = ["-m", "medistill", *words(folder, out, "--processes", "2")]
    with started(command, folder / f"lost-{rank}.log", MEDISTILL_CACHE=str(cache), **QUICK) as two:
        two.wait_until(lambda: steps_begun(out))
        os.kill(two.ranks()[rank], signal.SIGKILL)
        assert two.end() == 0, two.said
    assert f"rank {rank} ended without a word" in two.said
    same(out, undisturbed)


def test_a_launcher_that_is_killed_leaves_ranks_that_end_and_a_run_that_goes_on(
    folder: Path, undisturbed: Path
) -> None:
    out, cache = folder / "orphans", cache_with_experts(folder, "orphans")
    command = ["-m", "medistill", *words(folder, out, "--processes", "2")]
    with started(command, folder / "orphans.log", MEDISTILL_CACHE=str(cache), **QUICK) as two:
        two.wait_until(lambda: steps_begun(out))
        ranks = list(two.ranks().values())
        two.process.kill()
        two.process.wait()
        wait_for_end(two, ranks)
    assert "the connection to another rank or to the launcher broke" in two.said
    finish(folder, out, cache, "--resume")
    same(out, undisturbed)


def wait_for_end(command: Started, ranks: list[int]) -> None:
    deadline = time.monotonic() + 60
    while any(at_work(pid) for pid in ranks):
        assert time.monotonic() < deadline, command.said
        time.sleep(0.05)


def test_a_rank_that_hangs_is_named_and_the_others_go_on_without_it_once_it_is_gone(
    folder: Path, undisturbed: Path
) -> None:
    out, cache = folder / "hangs", cache_with_experts(folder, "hangs")
    command = ["-m", "medistill", *words(folder, out, "--processes", "2", "--rank-timeout", "0.1")]
    with started(command, folder / "hangs.log", MEDISTILL_CACHE=str(cache), **QUICK) as two:
        two.wait_until(lambda: steps_begun(out))
        os.kill(two.ranks()[1], signal.SIGSTOP)
        assert two.end() == 0, two.said
    assert "rank 1 gave no sign for 6 s; its last words were: " in two.said
    same(out, undisturbed)


def test_ctrl_c_twice_stops_at_once_and_the_run_goes_on(folder: Path, undisturbed: Path) -> None:
    out, cache = folder / "twice", cache_with_experts(folder, "twice")
    command = ["-m", "medistill", *words(folder, out, "--processes", "2")]
    with started(command, folder / "twice.log", MEDISTILL_CACHE=str(cache), **QUICK) as two:
        two.wait_until(lambda: steps_begun(out))
        os.killpg(two.process.pid, signal.SIGINT)
        os.killpg(two.process.pid, signal.SIGINT)
        ranks = list(two.ranks().values())
        assert two.end() == 130, two.said
        wait_for_end(two, ranks)
    finish(folder, out, cache, "--resume")
    same(out, undisturbed)
