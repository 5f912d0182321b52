"""The first page of the site: its figures are the ledger's, its pictures are small, and of nobody."""

from __future__ import annotations

import html
import importlib.util
import re
import tomllib
from pathlib import Path

import pytest
from PIL import Image

DOCS = Path(__file__).resolve().parents[2] / "docs"
FIGURES = tomllib.loads((DOCS / "first-page.toml").read_text(encoding="utf-8"))["figure"]
MOST_BYTES = 200_000


def section_of_ledger(anchor: str) -> str:
    """The text below a heading of the ledger up to the next one of its rank or above."""
    text = (DOCS / "benchmarks" / "index.md").read_text(encoding="utf-8")
    headings = list(re.finditer(r"^(#+) (.+)$", text, re.MULTILINE))
    for k, found in enumerate(headings):
        if re.sub(r"[^\w -]", "", found[2].lower()).strip().replace(" ", "-") == anchor:
            after = [other.start() for other in headings[k + 1 :] if len(other[1]) <= len(found[1])]
            return text[found.end() : after[0] if after else None].replace("**", "")
    raise AssertionError(f"the ledger has no section {anchor}")


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure["question"])
def test_every_figure_stands_in_the_section_of_the_ledger_that_it_names(figure: dict[str, str]) -> None:
    section = section_of_ledger(figure["section"])
    assert figure["value"] in section
    said = re.findall(
        r"\d+(?:,\d{3})*(?:\.\d+)? %(?: \(\d+ to \d+\))?|0\.\d{3}(?: \(0\.\d{3} to 0\.\d{3}\))?", figure["words"]
    )
    assert [words for words in said if words not in section] == []


def test_nothing_is_claimed_that_the_ledger_calls_too_good() -> None:
    words = " ".join(figure["question"] + figure["words"] for figure in FIGURES).lower()
    assert "gap" not in words
    assert "inferior" not in words
    assert len(FIGURES) == 3


def test_the_page_has_them_as_text_and_not_as_markup() -> None:
    spec = importlib.util.spec_from_file_location("docs_hooks", DOCS / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    assert (DOCS / "index.md").read_text(encoding="utf-8").count(hooks.MARKER) == 1
    shown = hooks.first_page_figures()
    for figure in FIGURES:
        assert html.escape(figure["value"]) in shown
        assert f'#{figure["section"]}"' in shown


def test_pictures_are_small_and_described() -> None:
    page = (DOCS / "index.md").read_text(encoding="utf-8")
    pictures = re.findall(r"!\[([^\]]*)\]\((assets/[^)]+)\)", page)
    assert {Path(path).name for _, path in pictures} == {"report.png", "contact-sheet.png"}
    for words, path in pictures:
        assert len(words) > 20
        assert (DOCS / path).stat().st_size <= MOST_BYTES
        with Image.open(DOCS / path) as picture:
            assert picture.width >= 400
    assert "no privacy audit yet" not in page
