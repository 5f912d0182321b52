"""The job's folder: what is in it, what is not, and what is refused before anything is written."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medistill.errors import MedistillError
from medistill.federation.job import CONTROLLER, EXECUTOR, write_job
from medistill.recipe import Recipe, load_recipe
from medistill_cli.main import app

CLASSES = 'data.classes=["COVID", "Normal"]'


def recipe(*more: str) -> Recipe:
    return load_recipe("demo-ddoq", [CLASSES, *more])


def test_it_holds_three_files_of_json_a_recipe_and_no_code(tmp_path: Path) -> None:
    job = write_job(recipe(), ["east", "west"], out=tmp_path / "job", hours=2)
    files = {str(path.relative_to(job.folder)) for path in job.folder.rglob("*") if path.is_file()}
    config = "app/config"
    names = {f"{config}/config_fed_server.json", f"{config}/config_fed_client.json", f"{config}/recipe.toml"}
    assert files == {"meta.json", *names}
    read = {name: json.loads((job.folder / name).read_text()) for name in files if name.endswith(".json")}
    assert read["meta.json"]["deploy_map"] == {"app": ["server", "east", "west"]}
    [workflow] = read[f"{config}/config_fed_server.json"]["workflows"]
    assert (workflow["path"], workflow["args"]) == (CONTROLLER, {"sites": ["east", "west"], "hours": 2})
    [executor] = read[f"{config}/config_fed_client.json"]["executors"]
    assert executor["executor"] == {"path": EXECUTOR, "args": {}}, "what a site does hangs on nothing in the job"
    assert load_recipe(job.recipe) == recipe()
    assert job.sha256 == hashlib.sha256(job.recipe.read_bytes()).hexdigest()


def test_the_classes_that_it_names_are_where_it_says() -> None:
    root = Path(__file__).resolve().parents[3]
    for path in (CONTROLLER, EXECUTOR):
        module, _, name = path.rpartition(".")
        assert f"class {name}(" in (root / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")


def test_the_same_words_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = (write_job(recipe(), ["east", "west"], out=tmp_path / name) for name in ("a", "b"))
    for path in first.folder.rglob("*.*"):
        assert path.read_bytes() == (second.folder / path.relative_to(first.folder)).read_bytes()


@pytest.mark.parametrize(
    ("sites", "settings", "hours", "words"),
    [
        (["east"], [], 48.0, "2 to"),
        (["east", "east"], [], 48.0, "each once"),
        (["east", "server"], [], 48.0, "none called server"),
        (["east", "../west"], [], 48.0, "characters"),
        (["east", "west"], ["data.classes=[]"], 48.0, "data.classes"),
        (["east", "west"], ["data.zca=true"], 48.0, "data.zca"),
        (["east", "west"], ["evaluate.networks=100000"], 48.0, "evaluate.networks"),
        (["east", "west"], [], float("nan"), "--hours"),
        (["east", "west"], [], 0.0, "--hours"),
    ],
)
def test_what_no_site_could_work_by_is_refused(
    sites: list[str], settings: list[str], hours: float, words: str, tmp_path: Path
) -> None:
    with pytest.raises(MedistillError, match=words):
        write_job(recipe(*settings), sites, out=tmp_path / "job", hours=hours)
    assert not (tmp_path / "job").exists()


def test_a_recipe_whose_method_wants_a_space_that_no_job_carries_is_refused(tmp_path: Path) -> None:
    encoder = f"network.encoder={'a' * 64}"
    with pytest.raises(MedistillError, match=r"private-means wants a whitened space.*method\.space=encoder"):
        write_job(load_recipe("covid-xray-private", [encoder]), ["east", "west"], out=tmp_path / "job")
    assert not (tmp_path / "job").exists()
    for n, setting in enumerate(("method.space=encoder", f"network.projection={'b' * 64}")):
        job = write_job(load_recipe("covid-xray-private", [encoder, setting]), ["east", "west"], out=tmp_path / str(n))
        assert job.recipe.is_file()


def test_the_command_writes_it_and_tells_the_digest(tmp_path: Path) -> None:
    out = tmp_path / "job"
    words = ["flare", "job", str(out), "--recipe", "demo-ddoq", "--sites", "east, west", "--classes", "COVID,Normal"]
    found = CliRunner().invoke(app, [*words, "--json"])
    assert found.exit_code == 0, found.output
    told = json.loads(found.stdout)
    assert told["recipe_sha256"] == hashlib.sha256((out / "app/config/recipe.toml").read_bytes()).hexdigest()
    again = CliRunner().invoke(app, words)
    assert again.exit_code == 2


def test_two_files_alone_import_the_engine() -> None:
    root = Path(__file__).resolve().parents[3]
    found = {
        path.relative_to(root).as_posix()
        for folder in ("medistill", "cli")
        for path in (root / folder).rglob("*.py")
        if re.search(r"^\s*(?:from|import) nvflare", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert found == {"medistill/federation/controller.py", "medistill/federation/executor.py"}


def test_the_command_needs_no_engine(tmp_path: Path) -> None:
    code = "import sys; sys.modules['nvflare'] = None; from medistill_cli.main import main; main()"
    words = ["flare", "job", str(tmp_path / "job"), "--recipe", "demo-ddoq", "--sites", "a,b", "--classes", "x,y"]
    found = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


def test_a_name_that_no_client_can_have_is_said_by_its_place(tmp_path: Path) -> None:
    with pytest.raises(MedistillError, match="--sites, name 2: the name of a key"):
        write_job(recipe(), ["east", "a/../b"], out=tmp_path / "job")
    assert not (tmp_path / "job").exists()
