"""The built wheel: what is in it, and that it works away from the checkout."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling", reason="hatchling, of the test extra, is not installed")
    folder = tmp_path_factory.mktemp("wheel")
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    words = ["install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", "--target", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", *words, str(wheel)], check=True, capture_output=True)
    return folder


def run(installed: Path, away: Path, code: str) -> str:
    """Run Python away from the checkout, with the installed wheel before everything else."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "MEDISTILL_CACHE": str(away / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=away, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_the_packages_their_data_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"medistill", "medistill_cli"}
    for package, folder in (("medistill", ROOT / "medistill"), ("medistill_cli", ROOT / "cli" / "medistill_cli")):
        held = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        missing = {f"{package}/{path.relative_to(folder).as_posix()}" for path in held} - set(names)
        assert {name for name in missing if not name.endswith((".tmp", ".pyc"))} == set()
    for recipe in (ROOT / "recipes").glob("*.toml"):
        assert f"medistill/recipes/{recipe.name}" in names
    assert "medistill/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_installed_wheel_finds_its_recipes(installed: Path, tmp_path: Path) -> None:
    code = (
        "import medistill, sys, pathlib\n"
        f"assert pathlib.Path(medistill.__file__).is_relative_to({str(installed)!r}), medistill.__file__\n"
        "from medistill.recipe import recipe_names\n"
        "print(*recipe_names())\n"
    )
    shipped = sorted(path.stem for path in (ROOT / "recipes").glob("*.toml"))
    assert run(installed, tmp_path, code).split() == shipped
    listed = run(installed, tmp_path, "from medistill_cli.main import app; app(['recipes', 'list'])")
    assert all(name in listed for name in shipped)


def test_the_installed_program_starts_by_its_script(installed: Path, tmp_path: Path) -> None:
    script = installed / "bin" / "medistill"
    environment = {**os.environ, "PYTHONPATH": str(installed), "MEDISTILL_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, str(script), "recipes", "show", "demo"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith('name = "demo"')


def test_the_checkout_finds_its_recipes_too() -> None:
    from medistill.recipe import recipe_names

    assert recipe_names() == sorted(path.stem for path in (ROOT / "recipes").glob("*.toml"))


def test_a_later_onnx_runtime_than_was_watched_is_not_taken() -> None:
    """Two versions tell their maker of the machine unless an environment variable stops it (decision 30)."""
    needs = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    (bound,) = [one for one in map(Requirement, needs["ocr"]) if one.name == "onnxruntime"]
    tested = re.search(r"^onnxruntime==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert tested is not None
    assert bound.specifier.contains(tested[1])
    assert bound.specifier.contains("1.32.0")
    assert not bound.specifier.contains("1.33.0")
