"""The guides name settings, options, commands and files; whoever renames one has to find the places that speak of it.

Decisions and measured runs tell of their day, and are left as they were.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from pydantic import BaseModel

from medistill.method_names import method_names
from medistill.recipe import Recipe
from medistill.recipe.method import settings_kind
from medistill_cli.main import app
from tests.worked_example import blocks

ROOT = Path(__file__).resolve().parents[2]
PAST = (ROOT / "docs" / "decisions", ROOT / "docs" / "benchmarks")
PAGES = [
    page
    for page in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
    if page.name != "CHANGELOG.md" and not any(page.is_relative_to(folder) for folder in PAST)
]
FILE = re.compile(r"(?<![\w/.-])((?:medistill|cli|tests|docs|recipes)/[\w/.-]+\.(?:py|toml|md|json|svg))")
SOURCE = re.compile(r"`((?!ddranking/)[\w/]+\.py)`")
"""A file by its name, or by the end of its path; those of DD-Ranking are not ours."""
FUNCTION = re.compile(r"(?:^|\s)([\w/]+\.py), (\w+)$", re.MULTILINE)
"""The file and the function beside an equation."""
SETTING = re.compile(r"`([a-z_]+(?:\.[a-z_]+)+)(?= ?[=`])")
SET = re.compile(r"(?:--set |\")([a-z_]+(?:\.[a-z_]+)+)=")
"""As a command or a program sets it, where nothing else can be meant."""
COMMAND = re.compile(r"\bmedistill((?: [a-z][\w-]*)+)((?:[^\n`\\]|\\\n)*)")
OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")
FILE_ENDINGS = ("json", "toml", "py", "md", "csv", "html", "seal", "key", "npy", "svg", "npz", "zip", "pt")


def settings(annotation: Any, path: str = "") -> Iterator[str]:
    """Every setting below an annotation, as `section.key`; of a union those of all its members."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            yield f"{path}{name}"
            yield from settings(field.annotation, f"{path}{name}.")
    for inner in get_args(annotation):
        yield from settings(inner, path)


def commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], set[str]]]:
    """Every command by its words, and its options."""
    yield words, {name for option in command.params for name in (*option.opts, *option.secondary_opts)} | {"--help"}
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, (*words, name))


SETTINGS = set(settings(Recipe)) | {
    setting for name in method_names() for setting in settings(settings_kind(name), "method.")
}
COMMANDS = dict(commands(typer.main.get_command(app)))


def sources(name: str) -> list[Path]:
    """Files of the source that are called so, or whose path ends so."""
    folders = ("medistill", "cli", "tests", "docs")
    return [
        file for folder in folders for file in (ROOT / folder).rglob(Path(name).name) if f"/{file}".endswith(f"/{name}")
    ]


def wrong_sources(text: str, added: set[str]) -> list[str]:
    """Names of files that are nowhere, and functions that are not in the file that is named beside them."""
    there = {name: sources(name) for name in {*SOURCE.findall(text), *(file for file, _ in FUNCTION.findall(text))}}
    missing = [
        name
        for name, found in there.items()
        if "NAME" not in name and not found and not any(one.endswith(name) for one in added)
    ]
    return missing + [
        f"{file}, {name}"
        for file, name in FUNCTION.findall(text)
        if not any(
            re.search(rf"^(?:    )?(?:def|class) {name}\b", one.read_text("utf-8"), re.MULTILINE) for one in there[file]
        )
    ]


def wrong_settings(text: str) -> list[str]:
    sections = {name.partition(".")[0] for name in SETTINGS if "." in name}
    named = [name for name in SETTING.findall(text) if name.partition(".")[0] in sections] + SET.findall(text)
    there = SETTINGS | {"data.class_map.Abnormal", "exchange.variants.centroids"}  # their keys are a user's own
    return [name for name in named if name not in there and name.rpartition(".")[2] not in FILE_ENDINGS]


def wrong_options(text: str) -> list[str]:
    wrong = []
    for found in COMMAND.finditer(text):
        words = found[1].split()
        known = next((tuple(words[:n]) for n in range(len(words), 0, -1) if tuple(words[:n]) in COMMANDS), None)
        if known is not None:
            wrong += [f"{' '.join(known)} {name}" for name in OPTION.findall(found[2]) if name not in COMMANDS[known]]
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    added = {block.title for block in blocks(text)}
    files = [name for name in FILE.findall(text) if "NAME" not in name and name not in added]
    assert [name for name in files if not (ROOT / name).exists()] == []
    assert wrong_sources(text, added) == []
    assert wrong_settings(text) == []
    assert wrong_options(text) == []


def test_what_is_not_there_is_found() -> None:
    named = "`engine/never.py`, `never.py`, `engine/outer.py`, `ours.py`\n"
    beside = "  a = b    outer.py, step\n  a = b    outer.py, gone\n"
    assert sorted(wrong_sources(named + beside, {"medistill/ours.py"})) == [
        "engine/never.py",
        "never.py",
        "outer.py, gone",
    ]
    assert wrong_settings("`method.ipc`, `method.nothing = 1`, --set never.ipc=2, `audit.json`") == [
        "method.nothing",
        "never.ipc",
    ]
    assert wrong_options("medistill share RUN --licence X --never\nmedistill distill \\\n --data x --nor") == [
        "share --never",
        "distill --nor",
    ]
