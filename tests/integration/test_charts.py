"""The picture of every method at one budget: it is what the ledger's table gives, and has every row of it."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def charts() -> ModuleType:
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(str(DOCS))  # as when it is run as a script
        spec = importlib.util.spec_from_file_location("docs_charts", DOCS / "charts.py")
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


def test_the_picture_is_the_one_that_the_ledger_gives(charts: ModuleType) -> None:
    stored = (DOCS / "assets" / "methods.svg").read_text(encoding="utf-8")
    assert stored == charts.pictures()["methods.svg"], "draw it anew: python docs/charts.py"


def test_every_row_of_the_table_is_a_dot_at_its_area(charts: ModuleType) -> None:
    ledger = (DOCS / "benchmarks" / "index.md").read_text(encoding="utf-8")
    table = ledger.split("10 images a class** (all 1,206 originals: .975):")[1].split("No search found a copy")[0]
    areas = sorted(map(float, re.findall(r"\| (0\.\d{3}) \(0\.", table)))
    picture = ElementTree.parse(DOCS / "assets" / "methods.svg").getroot()
    places = sorted(float(dot.attrib["cx"]) for dot in picture.iter(f"{SVG}circle"))
    assert len(areas) == len(places) > 20
    slope = (places[-1] - places[0]) / (areas[-1] - areas[0])
    assert places == pytest.approx([places[0] + slope * (area - areas[0]) for area in areas], abs=0.11)


def test_a_table_that_does_not_read_is_named(
    charts: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ledger = tmp_path / "index.md"
    text = (DOCS / "benchmarks" / "index.md").read_text(encoding="utf-8")
    ledger.write_text(text.replace("0.887 (0.847 to 0.923)", "about 0.89"), encoding="utf-8")
    monkeypatch.setattr(charts, "LEDGER", ledger)
    with pytest.raises(SystemExit, match=r"area of `att` reads 'about 0.89'"):
        charts.rows()
