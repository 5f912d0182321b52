"""A command that is refused leaves no folder behind; one that has made something keeps it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from medistill.errors import DataError, DivergedError, MedistillError
from medistill_cli.left_behind import nothing_left_behind
from medistill_cli.main import app
from tests.settings_restored import settings_restored

ONE_PICTURE = 8


@pytest.fixture(autouse=True)
def _settings() -> Iterator[None]:
    with settings_restored():
        yield


def bad_folders(root: Path) -> dict[str, list[str]]:
    """What may be wrong with --data, each with the words of a command."""
    empty, text, one = root / "empty", root / "text", root / "one"
    for folder in (empty, text, one / "a"):
        folder.mkdir(parents=True)
    (text / "scan.dcm").write_text("these are no pixels")
    Image.new("L", (ONE_PICTURE, ONE_PICTURE), 90).save(one / "a" / "x.png")
    return {
        "nowhere": ["--data", str(root / "nowhere")],
        "empty": ["--data", str(empty)],
        "text": ["--data", str(text)],
        "one picture": ["--data", str(one)],
        "class": ["--data", str(one), "--set", "data.classes=Covdi"],
        "recipe": ["--data", str(one), "--recipe", "covid-xray-ddo"],
        "setting": ["--data", str(one), "--set", "method.ipcc=3"],
    }


@pytest.mark.parametrize("command", ["distill", "exchange-study"])
@pytest.mark.parametrize("wrong", ["nowhere", "empty", "text", "one picture", "class", "recipe", "setting"])
def test_a_refused_command_leaves_nothing(command: str, wrong: str, tmp_path: Path) -> None:
    words = bad_folders(tmp_path)[wrong]
    out = tmp_path / "new" / "run"
    told = CliRunner().invoke(app, [command, *words, "--out", str(out)])
    assert told.exit_code in (2, 3), told.output
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["benchmark", "cifar10", "--data", "nowhere", "--out", "new/run"],
        ["evaluate", "nowhere", "--out", "new/run"],
        ["audit", "nowhere", "--out", "new/run"],
        ["train", "nowhere", "--out", "new/run"],
        ["export", "nowhere", "--out", "new/run"],
        ["merge", "nowhere", "nowhere", "--out", "new/run"],
        ["share", "nowhere", "--out", "new/bundle.zip", "--licence", "CC0-1.0", "--intended-use", "tests"],
        ["report", "nowhere", "--out", "new/run"],
        ["recipes", "upgrade", "nowhere.toml", "--out", "new/r.toml"],
    ],
    ids=lambda words: words[0],
)
def test_so_does_every_other(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told = CliRunner().invoke(app, words)
    assert told.exit_code in (2, 3, 4), told.output
    assert not (tmp_path / "new").exists()


def refused(error: BaseException, out: Path, *files: str) -> None:
    """Begin a run at ``out`` and end it by an error."""

    def begin() -> None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "ranks").mkdir(exist_ok=True)
        for name in ("launch.json", "1.jsonl"):
            (out / "ranks" / name).write_text("{}")
        for name in ("recipe.toml", "run.json", "log.jsonl", *files):
            (out / name).write_text("{}")
        raise error

    with pytest.raises(type(error)), nothing_left_behind(out):
        begin()


def error(kind: type[MedistillError] = DataError) -> MedistillError:
    return kind("seen", expected="another", do="mend it")


def test_a_folder_that_was_there_empty_is_empty_again(tmp_path: Path) -> None:
    refused(error(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_folders_above_that_were_there_stay(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    refused(error(), tmp_path / "runs" / "of" / "today")
    assert list(tmp_path.iterdir()) == [tmp_path / "runs"]
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize("code", [2, 3])
def test_what_ranks_refused_goes_with_the_process_that_started_them(code: int, tmp_path: Path) -> None:
    refused(typer.Exit(code), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "ended", [error(DivergedError), typer.Exit(130), typer.Exit(4), KeyboardInterrupt(), RuntimeError()], ids=repr
)
def test_what_was_stopped_or_failed_stays_to_be_resumed(ended: BaseException, tmp_path: Path) -> None:
    refused(ended, tmp_path / "run")
    assert (tmp_path / "run" / "recipe.toml").is_file()


def test_a_result_stays(tmp_path: Path) -> None:
    refused(error(), tmp_path / "run", "set.safetensors")
    assert (tmp_path / "run" / "set.safetensors").is_file()


def test_what_another_command_works_on_is_not_touched(tmp_path: Path) -> None:
    """Two commands begin one run together: the one that the lock refuses must not take the other's folder."""
    refused(error(), tmp_path / "run", ".lock")
    assert (tmp_path / "run" / "recipe.toml").is_file()


def test_what_cannot_be_removed_does_not_hide_the_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(place: object, *args: object, **more: object) -> None:
        raise OSError(39, "Directory not empty", ".nfs0001")

    monkeypatch.setattr("medistill_cli.left_behind.shutil.rmtree", busy)
    refused(error(), tmp_path / "run")
    assert [entry.name for entry in (tmp_path / "run").iterdir()] == ["ranks"]


def test_folders_and_links_that_others_made_meanwhile_keep_what_is_in_them(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "notes.txt").write_text("kept")

    def begin() -> None:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "link").symlink_to(theirs)
        raise error()

    with pytest.raises(DataError), nothing_left_behind(tmp_path / "run"):
        begin()
    assert (theirs / "notes.txt").read_text() == "kept"
    assert (tmp_path / "run" / "link").is_symlink()


def test_what_was_there_before_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text("of an earlier run")
    refused(error(), tmp_path)
    assert (tmp_path / "run.json").is_file()
