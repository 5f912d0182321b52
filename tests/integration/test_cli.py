"""The command line on a small corpus: the whole chain, stopping and going on, and what it says of bad input."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from safetensors.numpy import load_file
from typer.testing import CliRunner

from medistill.data.phantom import write_phantom
from medistill_cli.main import app
from tests.settings_restored import settings_restored

SETTINGS = [
    "data.image_size=16",
    "network.depth=2",
    "network.width=4",
    "method.experts.count=2",
    "method.experts.epochs=3",
    "method.ipc=2",
    "method.iterations=6",
    "method.syn_steps=2",
    "method.expert_epochs=1",
    "method.max_start_epoch=2",
    "method.validate_every=3",
    "method.validate_networks=1",
    "method.validate_epochs=2",
    "evaluate.networks=2",
    "evaluate.epochs=3",
    "evaluate.raw_epochs=2",
    "schedule.choose=fixed",
    "evaluate.bootstrap=100",
]
IDENTIFYING = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "AccessionNumber",
    "StudyDate",
    "StudyInstanceUID",
    "SOPInstanceUID",
)


class Program:
    """`medistill` in a folder and with a cache of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {"MEDISTILL_CACHE": str(folder / "cache"), "PYTHONWARNINGS": ""}

    def start(self, *words: str) -> subprocess.Popen[str]:
        """In a process of its own, for what needs one: signals, and whatever other packages print."""
        return subprocess.Popen(
            [sys.executable, "-m", "medistill_cli.main", *words],
            cwd=self.folder,
            env={**os.environ, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str) -> tuple[int, str, str]:
        """In this process, which has imported torch already; no setting that a command makes outlives it."""
        with contextlib.chdir(self.folder), settings_restored():
            told = CliRunner().invoke(app, list(words), env=self.environment)
        return told.exit_code, told.stdout, told.stderr


def tiny(*more: str) -> list[str]:
    overrides = [*SETTINGS, *more]
    return ["--recipe", "demo", "--device", "cpu", *(word for one in overrides for word in ("--set", one))]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    folder = tmp_path_factory.mktemp("command-line")
    write_phantom(folder / "xray", patients=24, size=48)
    return Program(folder)


@pytest.fixture(scope="module")
def finished(program: Program) -> tuple[Path, str, str]:
    """A finished run with what it printed."""
    process = program.start("distill", "--data", "xray", "--out", "whole", "--json", *tiny())
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return program.folder / "whole", out, err


def identities(folder: Path) -> set[str]:
    values = set()
    for file in folder.rglob("*.dcm"):
        header = pydicom.dcmread(file, stop_before_pixels=True)
        values |= {str(header.get(name)) for name in IDENTIFYING if header.get(name)}
    assert values
    return values


def test_json_is_one_object_and_the_files_it_names_are_there(program: Program, finished: tuple[Path, str, str]) -> None:
    run, out, err = finished
    told = json.loads(out)
    for name in ("report", "set"):
        assert (program.folder / told[name]).exists()
    assert [arm["arm"] for arm in told["evaluation"]["arms"]] == ["raw", "random", "kmeans", "distilled"]
    kept = json.loads((run / "evaluation" / "evaluation.json").read_text())
    assert kept.pop("checksum")
    assert told["evaluation"] == kept
    for stage in ("Training experts", "Distilling", "Evaluating on convnet"):
        assert f"{stage}: " in err
    assert "\x1b" not in err
    assert "Traceback" not in err
    assert "Warning" not in err


def test_nothing_printed_or_written_for_others_holds_an_invented_identity(
    program: Program, finished: tuple[Path, str, str]
) -> None:
    run, out, err = finished
    invented = identities(program.folder / "xray")
    shared = [file for file in run.rglob("*") if file.is_file()]
    held = b"\n".join([out.encode(), err.encode(), *(file.read_bytes() for file in shared)])
    assert [value for value in invented if value.encode() in held] == []


def test_the_report_command_prints_the_three_arms(program: Program, finished: tuple[Path, str, str]) -> None:
    code, out, err = program.run("report", "whole")
    assert code == 0, err
    assert err == ""
    for words in ("All originals", "Random originals", "Distilled images", "Macro AUC", "report.html"):
        assert words in out


def test_a_finished_run_is_not_overwritten_and_can_be_resumed(
    program: Program, finished: tuple[Path, str, str]
) -> None:
    run, _, _ = finished
    before = (run / "set" / "images.safetensors").read_bytes()
    code, out, err = program.run("distill", "--data", "xray", "--out", "whole", *tiny())
    assert code == 2
    assert out == ""
    assert "--resume" in err
    assert "another --out" in err
    code, _, err = program.run("distill", "--data", "xray", "--out", "whole", "--resume", "--device", "cpu")
    assert code == 0, err
    assert (run / "set" / "images.safetensors").read_bytes() == before


@pytest.mark.parametrize("more", [(), ("--resume",)])
def test_a_folder_of_something_else_is_never_taken_for_a_run(program: Program, more: tuple[str, ...]) -> None:
    before = sorted((program.folder / "xray").iterdir())
    code, out, err = program.run("distill", "--data", "xray", "--out", "xray", *more, *tiny())
    assert code == 2
    assert out == ""
    assert "no run" in err
    assert "choose another --out" in err
    assert sorted((program.folder / "xray").iterdir()) == before


def test_the_images_per_class_that_are_advised_are_enough_for_every_class(program: Program) -> None:
    code, _, err = program.run("distill", "--data", "xray", "--out", "many", *tiny("method.ipc=100"))
    assert code == 3
    advised = re.search(r"take --ipc (\d+) or less", err)
    assert advised
    code, out, _ = program.run("prepare", "--data", "xray", "--json", *tiny()[:2], *tiny()[4:])
    assert code == 0
    assert int(advised[1]) == min(json.loads(out)["counts"]["train"].values())


def test_the_report_of_a_folder_that_is_not_there_says_so(program: Program) -> None:
    code, _, err = program.run("report", "nowhere")
    assert code == 3
    assert "there is no folder 'nowhere'" in err


def test_a_folder_without_a_set_is_told_to_evaluate_in_plain_words(program: Program) -> None:
    code, _, err = program.run("evaluate", "nowhere")
    assert code == 3
    assert "there is no file or folder nowhere" in err
    assert "--resume" in err


def test_a_resume_under_another_recipe_names_the_setting(program: Program, finished: tuple[Path, str, str]) -> None:
    words = ["--data", "xray", "--out", "whole", "--resume", *tiny("method.syn_steps=3")]
    code, _, err = program.run("distill", *words)
    assert code == 2
    assert "method.syn_steps" in err


def test_a_run_on_files_is_not_resumed_on_the_built_in_corpus(
    program: Program, finished: tuple[Path, str, str]
) -> None:
    code, _, err = program.run("distill", "--out", "whole", "--resume", "--device", "cpu")
    assert code == 2
    assert "--data" in err


def test_evaluate_takes_a_run_goes_on_with_its_own_and_refuses_to_overwrite_another_evaluation(
    program: Program, finished: tuple[Path, str, str]
) -> None:
    words = ["evaluate", "whole", "--data", "xray", "--out", "again", "--device", "cpu"]
    code, out, err = program.run(*words, "--json")
    assert code == 0, err
    first = json.loads(out)["evaluation"]
    assert len(first["arms"]) == 4
    code, out, err = program.run(*words, "--json", "--across", "alexnet", "--require-non-inferior")
    told = json.loads(out)
    assert told["evaluation"] == first
    assert [other["network"] for other in told["across"]] == ["AlexNet"]
    assert err.count("Evaluating on convnet: ") == 2, "nothing is left to be trained, so only begin and end are told"
    shown = first["non_inferiority"] == "shown"
    assert code == (0 if shown else 5)
    assert ("exit code 5" in err) != shown
    code, _, err = program.run(*words, "--set", "evaluate.epochs=4")
    assert code == 2
    assert "another --out" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_and_the_printed_command_goes_on(
    program: Program, finished: tuple[Path, str, str], number: signal.Signals
) -> None:
    name = f"stopped by {number.name}"
    words = ["distill", "--data", "xray", "--out", name, *tiny("method.iterations=150", "method.validate_every=75")]
    process = program.start(*words)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("Distilling:"):
            break
    time.sleep(0.3)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert out == ""
    assert "Traceback" not in err
    assert (program.folder / name / "state" / "checkpoint.safetensors").is_file()
    command = shlex.split(err.splitlines()[-1])
    assert command == ["medistill", *words, "--resume"]
    if number == signal.SIGTERM:
        checkpoint = program.folder / name / "state" / "checkpoint.safetensors"
        checkpoint.write_bytes(checkpoint.read_bytes()[:-1000])
        code, _, err = program.run(*command[1:])
        assert code == 3, err
        assert "checkpoint.safetensors" in err
        assert "What to do: " in err
        return
    code, _, err = program.run(*command[1:])
    assert code == 0, err
    assert "Resumed after outer step" in err
    if number == signal.SIGHUP:
        return
    assert not (program.folder / name / "state").exists()
    stopped = load_file(program.folder / name / "set" / "images.safetensors")["images"]
    words[words.index(name)] = f"not {name}"
    assert program.run(*words)[0] == 0
    undisturbed = load_file(program.folder / f"not {name}" / "set" / "images.safetensors")["images"]
    assert np.array_equal(stopped, undisturbed)


def test_experts_are_kept_for_the_run(program: Program, finished: tuple[Path, str, str]) -> None:
    code, out, err = program.run("experts", "--data", "xray", "--json", *tiny())
    assert code == 0, err
    assert "in the cache already" in err
    assert json.loads(out)["experts"] == 2


def test_prepare_tells_what_was_refused_without_a_name(program: Program) -> None:
    folder = program.folder / "mixed"
    shutil.copytree(program.folder / "xray", folder)
    some = sorted(folder.rglob("*.dcm"))
    some[0].write_bytes(some[0].read_bytes()[:-2000])
    (some[0].parent / "notes.dcm").write_text("Doe^Jane 1961-03-14")
    code, out, err = program.run("prepare", "--data", "mixed", "--json", *tiny()[:2], "--set", "data.image_size=16")
    assert code == 0, err
    told = json.loads(out)
    assert told["found"] == len(some) + 1
    assert told["accepted"] == len(some) - 1
    assert sum(told["refused"].values()) == 2
    assert "Doe" not in out + err
    assert [value for value in identities(program.folder / "xray") if value in out + err] == []
    code, out, _ = program.run("prepare", "--data", "mixed", "--recipe", "demo", "--set", "data.image_size=16")
    assert code == 0
    assert "Refused" in out
    assert "medistill distill --data mixed --recipe demo --set data.image_size=16  #" in out


def pictures(folder: Path, classes: dict[str, int]) -> None:
    numbers = np.random.default_rng(0)
    for name, count in classes.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = numbers.integers(0, 256, (24, 24), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


def bad_missing(folder: Path) -> list[str]:
    return ["--data", str(folder / "nowhere")]


def bad_empty(folder: Path) -> list[str]:
    (folder / "empty").mkdir()
    return ["--data", str(folder / "empty")]


def bad_one_class(folder: Path) -> list[str]:
    pictures(folder / "one", {"Normal": 20})
    return ["--data", str(folder / "one")]


def bad_unreadable(folder: Path) -> list[str]:
    for name in ("A", "B"):
        (folder / "text" / name).mkdir(parents=True)
        for number in range(3):
            (folder / "text" / name / f"{number}.dcm").write_text("not an image")
    return ["--data", str(folder / "text")]


def bad_few(folder: Path) -> list[str]:
    pictures(folder / "few", {"A": 30, "B": 30})
    return ["--data", str(folder / "few"), "--ipc", "40"]


def bad_no_label_column(folder: Path) -> list[str]:
    pictures(folder / "table", {"A": 4, "B": 4})
    (folder / "table.csv").write_text("file,colour\nA/0.png,red\nB/0.png,blue\n")
    return ["--data", str(folder / "table"), "--labels", str(folder / "table.csv")]


def bad_two_splits(folder: Path) -> list[str]:
    pictures(folder / "splits", {"A": 6, "B": 6})
    lines = ["file,label,patient,split"]
    for name in ("A", "B"):
        lines += [f"{name}/{k}.png,{name},{name}{k // 2},{('train', 'test', 'val')[k % 3]}" for k in range(6)]
    (folder / "splits.csv").write_text("\n".join(lines) + "\n")
    return ["--data", str(folder / "splits"), "--labels", str(folder / "splits.csv")]


@pytest.mark.parametrize(
    "bad",
    [bad_missing, bad_empty, bad_one_class, bad_unreadable, bad_few, bad_no_label_column, bad_two_splits],
    ids=lambda bad: bad.__name__,
)
def test_bad_data_is_told_in_one_paragraph_and_exits_3(bad: object, program: Program, tmp_path: Path) -> None:
    assert callable(bad)
    words = bad(tmp_path)
    code, out, err = program.run("distill", "--out", str(tmp_path / "run"), *tiny(), *words)
    assert code == 3, err
    assert out == ""
    assert "Traceback" not in err
    last = err.splitlines()[-1]
    assert "Expected: " in last
    assert "What to do: " in last


def test_an_expert_that_was_cut_off_is_trained_again_and_that_is_told(
    program: Program, finished: tuple[Path, str, str], tmp_path: Path
) -> None:
    own = Program(tmp_path)
    shutil.copytree(program.folder / "cache", tmp_path / "cache")
    expert = next((tmp_path / "cache" / "trajectories").rglob("expert_0000.safetensors"))
    whole = expert.read_bytes()
    expert.write_bytes(whole[:-100])
    code, _, err = own.run("experts", "--data", str(program.folder / "xray"), *tiny())
    assert code == 0, err
    assert "expert_0000.safetensors cannot be used and is trained again" in err
    assert len(expert.read_bytes()) == len(whole)


def test_an_expert_with_altered_numbers_is_told_with_its_file(
    program: Program, finished: tuple[Path, str, str], tmp_path: Path
) -> None:
    own = Program(tmp_path)
    shutil.copytree(program.folder / "cache", tmp_path / "cache")
    for expert in (tmp_path / "cache" / "trajectories").rglob("expert_*.safetensors"):
        whole = expert.read_bytes()
        expert.write_bytes(whole[: len(whole) // 2] + b"\1" * (len(whole) - len(whole) // 2))
    code, _, err = own.run("distill", "--out", "altered", "--data", str(program.folder / "xray"), *tiny())
    assert code == 3, err
    assert "expert_" in err
    assert "What to do: " in err


def test_a_cache_of_another_version_is_read_anew_and_that_is_told(
    program: Program, finished: tuple[Path, str, str], tmp_path: Path
) -> None:
    own = Program(tmp_path)
    shutil.copytree(program.folder / "cache", tmp_path / "cache")
    for index in (tmp_path / "cache" / "corpora").rglob("index.json"):
        index.write_text(json.dumps({**json.loads(index.read_text()), "schema": 999}))
    words = ["--data", str(program.folder / "xray"), "--recipe", "demo", "--set", "data.image_size=16", "--json"]
    code, out, err = own.run("prepare", *words, "--set", "network.depth=2")
    assert code == 0, err
    assert "another version" in err
    assert json.loads(out)["accepted"] > 0
