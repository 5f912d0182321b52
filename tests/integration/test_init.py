"""`medistill init`: answers as options and at a terminal, and a recipe that `distill` takes."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from medistill.recipe import load_recipe
from medistill_cli.main import app
from tests.factories.tiny import TINY

ROOT = Path(__file__).resolve().parents[2]
ANSWERED = ("--classes", "all", "--ipc", "2", "--privacy", "none")


def invoke(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["init", *map(str, words)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Nine files of one class and forty of the other; their content does not matter yet."""
    for name, count in (("COVID", 9), ("Normal", 40)):
        (tmp_path / "xray" / name).mkdir(parents=True)
        for k in range(count):
            (tmp_path / "xray" / name / f"{k}.png").touch()
    return tmp_path / "xray"


def test_answers_as_options_make_a_recipe_that_distill_takes(phantom_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "first.toml"
    told = invoke("--data", phantom_folder, *ANSWERED, "--recipe", "demo", "--out", out)
    assert told.exit_code == 0, told.output
    assert f"medistill distill --recipe {out} --data {phantom_folder}" in told.stdout
    recipe = load_recipe(out)
    assert (recipe.method.ipc, recipe.data.classes, recipe.privacy.mode) == (2, (), "none")
    assert str(phantom_folder) not in out.read_text(encoding="utf-8")
    words = ["--recipe", str(out), "--data", str(phantom_folder), "--out", str(tmp_path / "run"), "--device", "cpu"]
    small = [*TINY, "data.image_size=16", "network.depth=2", "evaluate.networks=1", "evaluate.arms=random"]
    words += [word for setting in small for word in ("--set", setting)]
    done = CliRunner().invoke(app, ["distill", *words])
    assert done.exit_code == 0, done.output


def test_each_answer_is_where_it_belongs(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.toml"
    more = ["--set", "evaluate.networks=3", "--json", "--out", out]
    told = invoke("--data", folder, "--classes", "Normal, COVID", "--ipc", "6", "--privacy", "none", *more)
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["recipe"] == str(out)
    said = tomllib.loads(out.read_text(encoding="utf-8"))
    assert said["data"]["classes"] == ["Normal", "COVID"]
    assert (said["method"]["ipc"], said["evaluate"]["networks"], said["privacy"]["mode"]) == (6, 3, "none")
    assert "prefer_sites" not in said["data"]
    assert said["method"]["init"] == "quantised"  # 70 % of 9 files are 6


def test_more_images_than_a_small_class_has_begin_as_noise(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.toml"
    told = invoke("--data", folder, "--classes", "all", "--ipc", "7", "--privacy", "none", "--out", out)
    assert load_recipe(out).method.starts_from == "noise"
    assert "COVID (6)" in told.stdout
    assert "Normal" not in told.stdout


def test_differential_privacy_keeps_to_its_conditions(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.toml"
    words = ["--data", folder, "--classes", "COVID,Normal", "--ipc", "10", "--out", out]
    told = invoke(*words, "--dp-epsilon", "3", "--dp-units", "100")
    assert told.exit_code == 0, told.output
    recipe = load_recipe(out)
    privacy = recipe.privacy
    assert (privacy.mode, privacy.epsilon, privacy.units) == ("dp", 3.0, 100)
    assert privacy.delta <= 0.1 / 100
    assert recipe.method.experts.batch_size == 25
    assert recipe.method.starts_from == "noise"
    out.unlink()
    assert invoke(*words, "--privacy", "dp", "--dp-units", "1000000").exit_code == 0
    assert load_recipe(out).privacy.delta == pytest.approx(1e-7)
    assert load_recipe(out).privacy.epsilon == 8.0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--classes", "all", "--ipc", "2"], "--privacy was not given, and there is nobody to ask"),
        (["--ipc", "2", "--privacy", "none"], "--classes was not given"),
        (["--classes", "A,B", "--ipc", "2", "--privacy", "dp"], "--dp-units was not given"),
        (["--classes", "all", "--ipc", "2", "--privacy", "dp", "--dp-units", "9"], "name them with --classes"),
        (["--classes", "all", "--ipc", "2", "--privacy", "none", "--dp-units", "9"], "--privacy none and --dp-"),
        (["--classes", "all", "--ipc", "2", "--privacy", "none", "--dp-epsilon", "9"], "--privacy none and --dp-"),
        (["--classes", "COVID,Norma", "--ipc", "2", "--privacy", "none"], "there is no class Norma"),
        (["--classes", "COVID", "--ipc", "2", "--privacy", "none"], "one class alone"),
        ([*ANSWERED, "--recipe", "chest"], "there is no recipe 'chest'"),
        ([*ANSWERED, "--set", "method.ipcs=3"], "there is no setting"),
        ([*ANSWERED, "--out", "xray/COVID/0.png/r.toml"], "could not be written"),
    ],
)
def test_what_cannot_be_taken_is_refused_and_nothing_is_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    told = invoke("--data", folder, *words)
    assert told.exit_code in (2, 3)
    assert said in told.stderr
    assert not list(tmp_path.rglob("*.toml"))


def test_nothing_is_written_over(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.toml"
    out.write_text("seed = 5\n")
    told = invoke("--data", folder, *ANSWERED, "--out", out)
    assert told.exit_code == 2
    assert "exists already" in told.stderr
    assert out.read_text() == "seed = 5\n"


def test_a_folder_that_does_not_say_its_classes_is_told_and_the_recipe_is_written(tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "one.dcm").touch()
    told = invoke("--data", tmp_path / "flat", *ANSWERED, "--out", tmp_path / "r.toml")
    assert told.exit_code == 0
    assert "Classes are not known yet: " in told.stderr
    assert "--labels table.csv" in told.stderr


def test_a_table_says_the_classes(tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    rows = ["file,label,split"]
    for k in range(6):
        (tmp_path / "flat" / f"{k}.png").touch()
        rows.append(f"{k}.png,{'AB'[k % 2]},{'train' if k < 4 else 'test'}")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    words = ["--data", tmp_path / "flat", "--labels", tmp_path / "t.csv", *ANSWERED, "--out", tmp_path / "r.toml"]
    assert "Files for training: 2 A, 2 B." in invoke(*words).stderr


class Person:
    """Somebody at a terminal, who reads what is asked before answering."""

    def __init__(self, *words: str | Path) -> None:
        self.screen, terminal = pty.openpty()
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "cli")]), "TERM": "dumb"}
        program = [sys.executable, "-m", "medistill_cli.main", "init", *map(str, words)]
        self.process = subprocess.Popen(program, stdin=terminal, stdout=terminal, stderr=terminal, env=environment)
        os.close(terminal)
        self.seen = ""

    def reads(self, words: str) -> None:
        """Wait for words that were not answered yet."""
        until = time.monotonic() + 60
        while words not in self.seen:
            assert time.monotonic() < until, self.seen
            if select.select([self.screen], [], [], 1)[0]:
                self.seen += os.read(self.screen, 4096).decode()
        self.seen = self.seen.partition(words)[2]

    def answers(self, question: str, answer: str) -> None:
        self.reads(question)
        os.write(self.screen, f"{answer}\n".encode())

    def leaves(self) -> int:
        """Wait for the end; what is printed till then is read, or the program would wait."""
        until = time.monotonic() + 60
        while self.process.poll() is None:
            assert time.monotonic() < until, self.seen
            if select.select([self.screen], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self.screen, 4096).decode()
                except OSError:  # the terminal went with the program
                    break
        code = self.process.wait(60)
        os.close(self.screen)
        return code


def test_four_questions_are_asked_at_a_terminal_until_the_answers_can_be_used(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.toml"
    person = Person("--out", out)
    person.answers("1. Where are the images?", str(tmp_path / "nowhere"))
    person.reads("there is no folder")
    person.answers("1. Where are the images?", str(folder))
    person.answers("A table of labels?", "no-table.csv")
    person.reads("there is no file 'no-table.csv'")
    person.answers("A table of labels?", "")
    person.reads("6 COVID, 28 Normal")
    person.answers("2. Which classes?", "COVID,Norm")
    person.reads("there is no class Norm")
    person.answers("2. Which classes?", "")
    person.answers("3. How many", "none")
    person.answers("3. How many", "4")
    person.answers("4. Must somebody", "dp")
    person.answers("epsilon", "5")
    person.answers("About how many training patients?", "1000")
    person.answers("classes must be named", "COVID,Normal")
    assert person.leaves() == 0
    recipe = load_recipe(out)
    assert (recipe.data.classes, recipe.method.ipc) == (("COVID", "Normal"), 4)
    assert (recipe.privacy.mode, recipe.privacy.epsilon, recipe.privacy.units) == ("dp", 5.0, 1000)


def test_what_was_given_is_not_asked_and_who_leaves_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.toml"
    person = Person("--data", folder, "--classes", "all", "--privacy", "none", "--out", out)
    person.reads("3. How many")
    os.write(person.screen, b"\x04")  # Ctrl-D
    assert person.leaves() == 130
    assert not out.exists()
