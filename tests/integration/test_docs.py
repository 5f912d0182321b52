"""The documentation keeps its word: its code runs, its links lead somewhere, its reference is complete."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from medistill.method_names import method_names, method_summary
from medistill.recipe import Recipe, recipe_names
from medistill.recipe.method import settings_kind

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def generated(hooks: ModuleType) -> set[Path]:
    return {(ROOT / "docs" / path).resolve() for path in hooks.pages()}


@pytest.mark.usefixtures("private_cache")
def test_the_api_tour_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "api-tour.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) > 5
    monkeypatch.chdir(tmp_path)
    told: dict[str, object] = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"docs/api-tour.md, block {number + 1}", "exec"), told)
    assert {"report.html", "report.json", "set", "recipe.toml"} <= {path.name for path in Path("whole").iterdir()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_to_files(page: Path, generated: set[Path]) -> None:
    """A built page cannot show a folder, which a page read in the repository can."""
    targets = LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8")))
    missing = []
    for target in targets:
        if not target.startswith(("http://", "https://", "mailto:", "#")):
            path = (page.parent / target.partition("#")[0]).resolve()
            on_the_site = page.is_relative_to(ROOT / "docs")
            there = path.is_file() if on_the_site else path.exists()
            if not there and path not in generated:
                missing.append(target)
    assert missing == []


def test_nothing_is_called_by_a_word_that_promises_too_much() -> None:
    templates = [path for path in (ROOT / "medistill").rglob("*") if path.suffix in (".j2", ".html", ".md", ".toml")]
    texts = [*PAGES, *templates, *(ROOT / "recipes").glob("*.toml")]
    assert [path.name for path in texts if re.search("anonym", path.read_text(encoding="utf-8"), re.IGNORECASE)] == []


def test_the_reference_lists_every_recipe_setting_and_command(hooks: ModuleType) -> None:
    recipes = hooks.recipes_page()
    for name in recipe_names():
        assert f"### {name}\n" in recipes
    for section, field in Recipe.model_fields.items():
        if section != "method":
            for key in getattr(field.annotation, "model_fields", {}):
                assert f"| `{key}` |" in recipes.partition(f"### {section}\n")[2].partition("\n### ")[0]
    of_methods = recipes.partition("### method\n")[2].partition("\n### ")[0]
    for name in method_names():
        assert f"| `{name}` | {method_summary(name)} |" in of_methods
        for key, field in settings_kind(name).model_fields.items():
            inner = getattr(field.annotation, "model_fields", {})
            assert key == "name" or inner or f"\n| `{key}` |" in of_methods.partition("\n#### ")[0]
            for within in inner:
                assert f"| `{within}` |" in of_methods.partition(f"#### method.{key}\n")[2].partition("\n#### ")[0]
    commands = hooks.commands_page()
    for verb in ("distill", "prepare", "experts", "evaluate", "report", "phantom", "purge", "recipes list", "doctor"):
        assert f"## medistill {verb}\n" in commands


def test_the_site_builds_strictly_and_fetches_nothing(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the docs extra is not installed")
    pytest.importorskip("mkdocstrings", reason="the docs extra is not installed")
    site = tmp_path / "site"
    built = subprocess.run(
        [
            sys.executable,
            "-m",
            "mkdocs",
            "build",
            "--strict",
            "--quiet",
            "-f",
            str(ROOT / "mkdocs.yml"),
            "-d",
            str(site),
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    fetched = re.compile(r"""<(?:script|img|link|iframe)\b[^>]*\b(?:src|href)=["']?(?:https?:)?//|url\(["']?https?:""")
    assert [
        str(file.relative_to(site))
        for file in sorted(site.rglob("*"))
        if file.suffix in (".html", ".css") and fetched.search(file.read_text(encoding="utf-8"))
    ] == []
