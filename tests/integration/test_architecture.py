"""The page on architecture: its pictures are what the import contract and the files give, and its names are there."""

from __future__ import annotations

import importlib.util
import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest
import typer

from medistill_cli.main import app

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SVG = "{http://www.w3.org/2000/svg}"
NARROW = 390
"""Width of a telephone's screen in pixels; smaller text than 11 of them is hard to read there."""


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def maps() -> ModuleType:
    return loaded("maps")


@pytest.mark.parametrize("name", ["layers.svg", "artifacts.svg"])
def test_a_picture_is_the_one_that_the_source_gives(maps: ModuleType, name: str) -> None:
    drawn, stored = maps.pictures()[name], (DOCS / "assets" / name).read_text(encoding="utf-8")
    assert stored == drawn, "draw it anew: python docs/maps.py"


@pytest.mark.parametrize("name", ["layers.svg", "artifacts.svg"])
def test_a_picture_is_said_in_words_and_keeps_within_its_frame(name: str) -> None:
    picture = ElementTree.parse(DOCS / "assets" / name).getroot()
    named = picture.attrib["aria-labelledby"].split()
    title, words = (picture.find(f"{SVG}{tag}") for tag in ("title", "desc"))
    assert title is not None
    assert words is not None
    assert [title.attrib["id"], words.attrib["id"]] == named
    left, top, width, height = map(float, picture.attrib["viewBox"].split())
    assert width <= NARROW
    for box in picture.iter(f"{SVG}rect"):
        x, y, across, down = (float(box.attrib[key]) for key in ("x", "y", "width", "height"))
        assert left <= x < x + across <= width
        assert top <= y < y + down <= height
    for text in picture.iter(f"{SVG}text"):
        if text.attrib.get("class") == "name":
            assert str(text.text) in str(words.text)


def test_every_module_is_in_a_layer_and_every_layer_in_the_picture() -> None:
    """What the contract does not name it does not hold to anything."""
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    layers = {name for layer in contract[0]["layers"] for name in re.findall(r"[\w.]+", layer)}
    folders = [path.parent for path in (ROOT / "medistill").glob("*/__init__.py")]
    files = [path.with_suffix("") for path in (ROOT / "medistill").glob("*.py") if path.name != "__init__.py"]
    assert layers == {"medistill_cli", *(f"medistill.{path.name}" for path in [*folders, *files])}
    drawn = ElementTree.parse(DOCS / "assets" / "layers.svg").getroot()
    shown = {text.text for text in drawn.iter(f"{SVG}text") if text.attrib.get("class") == "name"}
    assert shown == layers


def test_the_commands_of_the_flow_are_there(maps: ModuleType) -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    named = [name for one in (maps.RECIPE, *maps.CHAIN) for name in one.made_by.split(", ")]
    assert [name for name in named if name not in commands] == []


def test_the_page_has_both_pictures_in_it() -> None:
    hooks, text = loaded("hooks"), (DOCS / "architecture.md").read_text(encoding="utf-8")
    assert hooks.MAP.findall(text) == ["assets/layers.svg", "assets/artifacts.svg"]
    assert hooks.map_of("assets/layers.svg").count("<svg ") == 1
