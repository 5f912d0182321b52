"""Runs, sets and bundles of a former version: opened by every command that takes one, or refused with what to do."""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pydicom
import pytest
from typer.testing import CliRunner

from medistill.data.phantom import write_phantom
from medistill.workflow.report import read_report
from medistill_cli.main import app

FORMER = Path(__file__).resolve().parents[1] / "former" / "former.tar.xz"
NOTE = "is written for a former version of medistill"
METHODS = ("iadd", "datm", "ddoq")
DRAWN_OTHERWISE = ("d2d212d9439bbbef0d41aae9ecca3511dbc0c8fb4501ba8f0d098c05773ebe14",)
"""SHA-256 of the pixels of the phantoms as processors draw them that round otherwise than the one where the former
runs were made (AMD EPYC without AVX-512): there the images are others, and a run must not be gone on with."""


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs, the bundle of each, and, drawn again, the phantom images that they were made of."""
    folder = tmp_path_factory.mktemp("former")
    with tarfile.open(FORMER) as archive:
        archive.extractall(folder, filter="data")
    write_phantom(folder / "xray", patients=24, size=64)
    return folder


@pytest.fixture
def former(unpacked: Path, tmp_path: Path) -> Path:
    """The same, for one test to change."""
    shutil.copytree(unpacked, tmp_path / "former")
    return tmp_path / "former"


@pytest.fixture(scope="module")
def same_images(unpacked: Path) -> None:
    """Skip where the phantoms are drawn otherwise than they were where the former runs were made."""
    pixels = hashlib.sha256()
    for file in sorted((unpacked / "xray").rglob("*.dcm")):
        pixels.update(pydicom.dcmread(file).pixel_array.tobytes())
    if pixels.hexdigest() in DRAWN_OTHERWISE:
        pytest.skip("this processor rounds otherwise than the one that drew the images of the former runs")


def done(*words: str | Path) -> tuple[dict[str, Any], str]:
    """What a command prints with --json, and what it says on stderr."""
    result = CliRunner().invoke(app, [*map(str, words), "--json"])
    assert result.exit_code in (0, 4, 7), result.stderr
    return json.loads(result.stdout), result.stderr


def assert_told_again(now: object, before: object, where: str) -> None:
    """All that was said is said alike; beside it may stand what a former version did not tell."""
    if isinstance(now, dict) and isinstance(before, dict):
        for name, said in before.items():
            assert_told_again(now.get(name), said, f"{where}.{name}")
    elif isinstance(now, list) and isinstance(before, list):
        assert len(now) == len(before), where
        for number, (one, said) in enumerate(zip(now, before, strict=True)):
            assert_told_again(one, said, f"{where}[{number}]")
    else:
        assert now == before, where


@pytest.mark.parametrize("method", METHODS)
def test_a_report_says_the_same_of_a_former_run(former: Path, method: str) -> None:
    run = former / method
    before = json.loads((run / "report.json").read_text(encoding="utf-8"))
    _, said = done("report", run)
    assert NOTE in said
    after = json.loads((run / "report.json").read_text(encoding="utf-8"))
    for key in ("title", "verdict", "evaluation", "distilled", "corpus", "course", "quantisation", "methods"):
        assert_told_again(after[key], before[key], key)
    audited = json.loads((run / "audit" / "audit.json").read_text(encoding="utf-8"))
    assert (after["audit"]["verdict"], after["audit"]["set_digest"]) == (audited["verdict"], audited["set_digest"])
    assert [one["figure"] for one in after["audit"]["criteria"]] == [one["figure"] for one in audited["criteria"]]
    assert after["making"]["hashes"] == before["making"]["hashes"]
    settings = after["making"]["settings"]
    assert settings["method"]["ipc"] == before["making"]["settings"]["distill"]["ipc"]
    assert ("method.experts" in settings) == (method != "ddoq")


@pytest.mark.parametrize("method", METHODS)
def test_a_former_bundle_is_verified_and_trains_a_classifier(unpacked: Path, tmp_path: Path, method: str) -> None:
    bundle = unpacked / f"bundle-{method}.zip"
    found, _ = done("verify", bundle)
    assert all(check["state"] in ("passed", "declared", "missing") for check in found["checks"])
    _, said = done("train", bundle, "--out", tmp_path / "model", "--device", "cpu")
    assert NOTE in said
    assert (tmp_path / "model" / "weights.safetensors").is_file()


def test_former_bundles_are_merged(unpacked: Path, tmp_path: Path) -> None:
    done("merge", unpacked / "bundle-iadd.zip", unpacked / "bundle-datm.zip", "--out", tmp_path / "both")
    assert (tmp_path / "both" / "manifest.json").is_file()


@pytest.mark.parametrize("method", ["iadd", "ddoq"])
def test_a_former_set_is_evaluated_again_to_the_same_answers(former: Path, method: str) -> None:
    before = json.loads((former / method / "evaluation" / "evaluation.json").read_text(encoding="utf-8"))
    _, said = done("evaluate", former / method, "--data", former / "xray", "--device", "cpu", "--out", former / "again")
    assert NOTE in said
    (file,) = (former / "again").rglob("evaluation.json")
    after = json.loads(file.read_text(encoding="utf-8"))
    mine, theirs = ({one["arm"]: one for one in of["arms"]}["distilled"] for of in (after, before))
    assert mine["images"] == theirs["images"]
    assert mine["macro_auc"]["value"] == pytest.approx(theirs["macro_auc"]["value"], abs=0.1)


@pytest.mark.usefixtures("same_images")
def test_a_former_run_is_gone_on_with_under_its_own_recipe_and_no_other(former: Path) -> None:
    words = ["distill", "--data", former / "xray", "--out", former / "ddoq", "--resume", "--device", "cpu"]
    _, said = done(*words)
    assert "The distilled set is finished already." in said
    assert read_report(former / "ddoq").distilled is not None
    refused = CliRunner().invoke(app, [*map(str, words), "--set", "method.ipc=3"])
    assert refused.exit_code == 2
    assert "method.ipc: 3, not 2" in refused.stderr


@pytest.mark.usefixtures("same_images")
def test_a_former_set_is_audited_as_one_whose_making_is_not_known_here(former: Path) -> None:
    few = ["--set", "audit.shadows=0", "--set", "audit.networks=1"]
    found, said = done("audit", former / "iadd", "--data", former / "xray", "--device", "cpu", *few)
    assert NOTE in said
    by_name = {one["name"]: one for one in found["criteria"]}
    assert "not sealed by this installation" in by_name["Images whose making is known"]["reason"]


def test_a_former_set_is_shared_with_its_recipe_as_it_is_written_now(former: Path) -> None:
    out = former / "shared.zip"
    words = ["share", former / "ddoq", "--out", out, "--licence", "CC0-1.0", "--intended-use", "Tests"]
    done(*words, "--acknowledge-risk", "phantoms only")
    import zipfile

    with zipfile.ZipFile(out) as archive:
        left = json.loads(archive.read("manifest.json"))["provenance"]["recipe"]
    assert left["method"]["name"] == "ddoq"
    assert "distill" not in left
