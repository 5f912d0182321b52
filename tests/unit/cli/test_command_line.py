"""The program's face: help in no time and without torch, an example a command, versions, recipes, doctor, purge."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medistill.method_names import method_names, method_summary
from medistill.recipe import load_recipe, recipe_names, validate_recipe
from medistill_cli.main import app
from tests.settings_restored import settings_restored

COMMANDS = [
    ["distill"],
    ["prepare"],
    ["experts"],
    ["evaluate"],
    ["leave-site-out"],
    ["audit"],
    ["share"],
    ["verify"],
    ["train"],
    ["merge"],
    ["export"],
    ["push"],
    ["exchange-study"],
    ["benchmark"],
    ["report"],
    ["phantom"],
    ["doctor"],
    ["ledger"],
    ["purge"],
    ["encoder", "add"],
    ["encoder", "convert"],
    ["encoder", "list"],
    ["encoder", "show"],
    ["encoder", "remove"],
    ["keys", "new"],
    ["keys", "list"],
    ["keys", "export"],
    ["keys", "trust"],
    ["keys", "forget"],
    ["recipes", "list"],
    ["recipes", "show"],
]


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cache of the test's own, and no trace of the settings that a command makes for its whole process."""
    monkeypatch.setenv("MEDISTILL_CACHE", str(tmp_path / "cache"))
    with settings_restored():
        yield


def in_own_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_help_is_there_in_no_time_and_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from medistill_cli.main import main\n"
        "sys.argv = ['medistill', '--help']\n"
        "try: main()\n"
        "except SystemExit as done: assert not done.code\n"
        "heavy = {'torch', 'monai', 'pydantic', 'pydicom', 'numpy', 'matplotlib', 'click'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    spent = []
    for _ in range(3):
        started = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        spent.append(time.perf_counter() - started)
        assert done.returncode == 0, done.stderr
        assert done.stderr.strip() == "[]"
    assert min(spent) < 1.0


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_help_shows_an_example_that_the_program_would_take(words: list[str]) -> None:
    import typer

    told = CliRunner().invoke(app, [*words, "--help"])
    assert told.exit_code == 0
    examples = [line.strip() for line in told.output.splitlines() if line.startswith("    medistill ")]
    assert examples
    for example in examples:
        arguments = shlex.split(example.partition(" > ")[0])[1:]
        command = typer.main.get_command(app)
        for word in words:
            assert arguments.pop(0) == word
            command = command.commands[word]  # type: ignore[attr-defined]
        command.make_context("medistill", arguments)  # raises a usage error where the example is wrong


def test_the_root_help_lists_the_commands_in_the_order_of_the_work() -> None:
    told = CliRunner().invoke(app, ["--help"]).output.partition("Commands:")[2]
    verbs = [line.split()[0] for line in told.splitlines() if line.startswith("  ") and line.split()]
    expected = (
        "init distill prepare experts evaluate leave-site-out audit share verify train merge export push "
        "exchange-study benchmark report phantom ledger doctor purge flare encoder keys recipes"
    )
    assert " ".join(verbs) == expected
    assert "..." not in told


def test_version_is_that_of_the_package() -> None:
    from importlib.metadata import version

    assert CliRunner().invoke(app, ["--version"]).output == f"medistill {version('medistill')}\n"


def test_recipes_list_names_every_recipe() -> None:
    plain = CliRunner().invoke(app, ["recipes", "list"])
    assert all(name in plain.stdout for name in recipe_names())
    listed = json.loads(CliRunner().invoke(app, ["recipes", "list", "--json"]).stdout)
    assert [entry["name"] for entry in listed["recipes"]] == recipe_names()


@pytest.mark.parametrize("name", recipe_names())
def test_recipes_show_prints_what_a_recipe_file_can_hold(name: str, tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["recipes", "show", name, "--set", "method.ipc=7"])
    assert tomllib.loads(shown.stdout)["method"]["ipc"] == 7
    (tmp_path / "mine.toml").write_text(shown.stdout)
    assert load_recipe(tmp_path / "mine.toml") == load_recipe(name, ["method.ipc=7"])


@pytest.mark.parametrize("method", method_names())
def test_a_method_is_named_explained_and_applied(method: str) -> None:
    explained = CliRunner().invoke(app, ["distill", "--help"]).output
    assert f"  {method}: " in explained
    shown = CliRunner().invoke(app, ["recipes", "show", "demo", "--method", method, "--set", "network.width=24"])
    assert shown.exit_code == 0, shown.stderr
    assert validate_recipe(tomllib.loads(shown.stdout), "shown") == load_recipe(
        "demo", [f"method.name={method}", "network.width=24"]
    )


def test_the_options_methods_are_those_of_recipes() -> None:
    said = " ".join(CliRunner().invoke(app, ["distill", "--help"]).output.split())
    assert all(f" {name}: {method_summary(name)}"[:40] in said for name in method_names())
    for name in (*method_names(), "none-such"):
        refused = CliRunner().invoke(app, ["recipes", "show", "none-such-either", "--method", name]).output
        assert ("there is no recipe" in refused) == (name in method_names())


def test_a_former_recipe_is_taken_with_a_note_on_stderr(tmp_path: Path) -> None:
    former = tmp_path / "former.toml"
    former.write_text('method = "mtt"\n[distill]\nipc = 3\n')
    shown = CliRunner().invoke(app, ["recipes", "show", str(former), "--set", "distill.segments=2", "--json"])
    assert shown.exit_code == 0, shown.stderr
    told = json.loads(shown.stdout)["method"]
    assert (told["name"], told["ipc"], told["segments"]) == ("mtt", 3, 2)
    assert "former.toml is written for a former version of medistill" in shown.stderr
    assert "--set distill.segments: that setting is called method.segments now." in shown.stderr


def test_recipes_upgrade_writes_a_former_recipe_anew(tmp_path: Path) -> None:
    former, new = tmp_path / "former.toml", tmp_path / "new.toml"
    former.write_text('# Ours.\nmethod = "mtt"\n\n[distill]\nipc = 3 # few\n[experts]\ncount = 4\n')
    done = CliRunner().invoke(app, ["recipes", "upgrade", str(former), "--out", str(new)])
    assert done.exit_code == 0, done.stderr
    assert "Its comments but those at the top are not kept." in done.stderr
    assert "recipes upgrade" not in done.stderr  # which is what was just done
    assert new.read_text().startswith("# Ours.\n")
    written = tomllib.loads(new.read_text())
    assert written == {"method": {"name": "mtt", "ipc": 3, "experts": {"count": 4}}}
    again = CliRunner().invoke(app, ["recipes", "upgrade", str(new)])
    assert tomllib.loads(again.stdout) == written
    assert "written as recipes are written now" in again.stderr
    taken = CliRunner().invoke(app, ["recipes", "upgrade", str(former), "--out", str(new)])
    assert taken.exit_code == 2
    assert "exists already" in taken.stderr


def test_a_recipe_is_not_upgraded_into_a_file_as_if_that_were_a_folder(tmp_path: Path) -> None:
    former = tmp_path / "ours.toml"
    former.write_text('method = "ddoq"\n', encoding="utf-8")
    for out in (former / "new.toml", former / "folder" / "new.toml"):
        done = CliRunner().invoke(app, ["recipes", "upgrade", str(former), "--out", str(out)])
        assert done.exit_code == 3
        assert "could not be written: a file stands where a folder should be" in done.stderr


def test_doctor_speaks_of_everything_and_ends_well() -> None:
    told = CliRunner().invoke(app, ["doctor", "--json"])
    assert told.exit_code == 0, told.stderr
    found = json.loads(told.stdout)
    assert found["versions"]["torch"]
    assert found["cache"]["path"] == os.environ["MEDISTILL_CACHE"]
    by_name = {one["name"]: one["by"] for one in found["decoders"]}
    assert "pydicom" in by_name["RLE lossless"]
    for lack in found["missing"]:
        assert lack["get"]
    plain = CliRunner().invoke(app, ["doctor"])
    assert plain.exit_code == 0
    assert all(name in plain.stdout for name in by_name)


def test_doctor_lists_a_decoder_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    from pydicom.pixels import get_decoder
    from pydicom.uid import JPEGLossless

    monkeypatch.setattr(get_decoder(JPEGLossless), "_available", {})
    found = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)
    assert {one["name"]: one["by"] for one in found["decoders"]}["JPEG lossless"] == []
    lacks = {one["what"]: one["get"] for one in found["missing"]}
    assert lacks["a decoder for JPEG lossless"] == "pip install python-gdcm"


@pytest.mark.parametrize("reader", [None, "RapidOCR 3, ONNX Runtime 1"])
def test_doctor_says_whether_text_can_be_looked_for(reader: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medistill.data.burnt_in_text.reader_name", lambda: reader)
    found = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)
    assert found["text_reader"] == reader
    lacks = {one["what"]: one["get"] for one in found["missing"]}
    assert lacks.get("a reader of text") == (None if reader else "pip install 'medistill[ocr]'")


def test_purge_asks_and_removes_what_came_from_patients(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    kept = {"corpora": 2, "trajectories": 1, "decoders": 3, "features": 1, "sources": 1, "phantom": 1, "encoders": 1}
    for part, count in kept.items():
        for number in range(count):
            (cache / part / str(number)).mkdir(parents=True)
            (cache / part / str(number) / "file").write_bytes(bytes(1000))
    (cache / "tuning.json").write_bytes(bytes(10))
    (cache / "of-somebody-else.txt").write_bytes(bytes(100))
    held = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)["cache"]
    assert (held["corpora"], held["trajectories"], held["decoders"], held["features"]) == (2, 1, 3, 1)
    assert (held["patients_bytes"], held["bytes"]) == (8010, 9010)
    refused = CliRunner().invoke(app, ["purge"])
    assert refused.exit_code == 2
    assert "--yes" in refused.stderr
    assert (cache / "corpora" / "0" / "file").is_file()
    done = CliRunner().invoke(app, ["purge", "--yes", "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["removed"] == {
        "bytes": 8010,
        "corpora": 2,
        "trajectories": 1,
        "decoders": 3,
        "features": 1,
    }
    assert (cache / "encoders" / "0" / "file").is_file()
    assert sorted(part.name for part in cache.iterdir()) == ["encoders", "of-somebody-else.txt", "phantom"]
    assert (cache / "phantom" / "0" / "file").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["recipes", "show", "demo", "--set", "method.ipc=0"], "method.ipc = 0"),
        (["recipes", "show", "demo", "--set", "method.ipcs=3"], "'method.ipcs'"),
        (["recipes", "show", "demo", "--set", "method.ipc"], "section.key=value"),
        (["recipes", "show", "dmeo"], "'demo'"),
        (["distill", "--recipe", "no-such"], "no-such"),
        (["distill", "--ipc", "0"], "method.ipc = 0"),
        (["distill", "--ipc", "many"], "--ipc"),
        (["distill", "--device", "tpu"], "--device"),
        (["distill", "--method", "nothing"], "--method"),
        (
            ["experts", "--method", "mtt", "--set", "method.importance.direction=descent"],
            "importance.direction is a setting of iadd; mtt has none",
        ),
        (["distill", "--method", "pdd", "--recipe", "cifar10-ipc1"], "method.stages 5"),
        (["distill", "--no-such-option"], "--no-such-option"),
        (["phantom", "here", "--patients", "0"], "0 patients"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_command_is_told_in_one_paragraph_and_exits_2(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = CliRunner().invoke(app, words)
    assert told.exit_code == 2
    assert said in told.stderr
    assert "Traceback" not in told.stderr
    assert told.stdout == ""
    assert not (tmp_path / "medistill-run").exists()


def test_a_full_disk_behind_stdout_is_told() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "medistill_cli.main", "recipes", "show", "demo"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 3
    assert "disk is full" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_leaves_early_is_no_error() -> None:
    program = subprocess.Popen(
        [sys.executable, "-m", "medistill_cli.main", "recipes", "show", "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None
    assert program.stderr is not None
    program.stdout.close()
    said = program.stderr.read()
    program.stderr.close()
    assert program.wait() == 0
    assert said == ""


def test_the_package_offers_its_names_without_torch() -> None:
    code = (
        "import sys\n"
        "import medistill as md\n"
        "assert 'torch' not in sys.modules and 'pydantic' not in sys.modules\n"
        "assert set(md.__all__) <= set(dir(md))\n"
        "md.load_recipe('demo')\n"
        "assert 'torch' not in sys.modules\n"
    )
    in_own_process(code)


def test_evaluate_stays_the_function_whatever_was_imported_before() -> None:
    code = (
        "from medistill.evaluate.metrics import macro_auc\n"
        "import medistill as md, medistill.evaluate.intervals\n"
        "md.distill\n"
        "from medistill.workflow.evaluate import evaluate\n"
        "assert md.evaluate is evaluate and callable(md.evaluate)\n"
        "from medistill import evaluate as again\n"
        "assert again is evaluate\n"
    )
    in_own_process(code)


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    import medistill as md

    with pytest.raises(AttributeError, match="no_such_name"):
        md.no_such_name  # noqa: B018


@pytest.mark.parametrize(("given", "expected"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_that_wait_sleep_unless_the_user_says_otherwise(given: str | None, expected: str) -> None:
    ask = "import os, medistill_cli.main as m; m.app = lambda **_: print(os.environ['OMP_WAIT_POLICY']); m.main()"
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {"OMP_WAIT_POLICY": given} if given else {}
    done = subprocess.run([sys.executable, "-c", ask], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected
