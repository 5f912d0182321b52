"""The report and the comparison in headless Chromium: axe-core, two widths, light, dark, print, downloads."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
from collections.abc import Iterator
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medistill.report.audit_page import render_audit
from medistill.report.comparison_page import render_comparison
from medistill.report.exchange_page import render_exchange
from medistill.report.pairs import Pair, render_pairs
from medistill.report.report_page import render_html
from tests.factories import exchange_example, full_audit, report_example

pytestmark = pytest.mark.browser

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright, of the test extra, is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PAPER = 690
"""Width of an A4 page in pixels, less margins of 14 mm."""
BETWEEN_DOWNLOADS = 200
"""Milliseconds: Chromium drops, in silence, the eleventh download that a page starts within one second."""
NAMES = ("report", "quantised", "alone", "comparison", "pairs", "exchange", "audit", "every attack")
RULES = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]},
    "resultTypes": ["violations"],
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    whole = report_example.whole()
    image = np.arange(16, dtype=np.uint8).reshape(1, 4, 4)
    texts = {
        "report": render_html(whole, report_example.pictures()),
        "quantised": render_html(report_example.quantised(), report_example.pictures()),
        "alone": render_html(report_example.alone(whole)),
        "comparison": render_comparison(report_example.comparison()),
        "pairs": render_pairs([Pair("Lung_Opacity", (image, image, image), (0.4, 0.8))]),
        "exchange": render_exchange(exchange_example.study()),
        "audit": render_audit(full_audit.usual_audit()),
        "every attack": render_audit(full_audit.full_audit()),
    }
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in texts}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium was found; install it (`apt-get install chromium`) or name it in CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield started
        started.close()


def opened(browser: Any, path: Path, *, width: int = 1280, scheme: str = "light") -> Any:
    """The page with every fold open; what it fetched is in `asked`, what it complained of in `said`."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.asked, page.said = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("console", lambda message: page.said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.goto(path.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(fold => fold.open = true)")
    return page


def violations(page: Any) -> list[str]:
    inside = {"exclude": [["svg[role=img] > *"]]}  # presentational: a drawing is its label
    found = axe.Axe().run(page, context=inside, options=RULES).response["violations"]
    return [f"{rule['id']}: {node['target']} {node['failureSummary']}" for rule in found for node in rule["nodes"]]


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [
        ("report", 1280, "light"),
        ("report", 1280, "dark"),
        ("report", 390, "light"),
        ("quantised", 1280, "light"),
        ("quantised", 390, "dark"),
        ("alone", 390, "dark"),
        ("comparison", 1280, "light"),
        ("comparison", 390, "dark"),
        ("pairs", 390, "light"),
        ("exchange", 1280, "light"),
        ("exchange", 390, "dark"),
        ("audit", 1280, "light"),
        ("audit", 390, "dark"),
    ],
)
def test_axe_finds_nothing(browser: Any, pages: dict[str, Path], name: str, width: int, scheme: str) -> None:
    page = opened(browser, pages[name], width=width, scheme=scheme)
    assert violations(page) == []
    assert page.said == []
    assert all(url.startswith(("data:", pages[name].as_uri())) for url in page.asked)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def test_axe_would_find_a_poor_contrast_and_a_drawing_without_words(browser: Any, pages: dict[str, Path]) -> None:
    page = opened(browser, pages["comparison"])
    page.add_style_tag(content=".lede { color: #bbbbbb !important; }")
    page.evaluate("document.querySelector('svg[role=img]').removeAttribute('aria-label')")
    found = "\n".join(violations(page))
    assert "color-contrast: ['.lede']" in found
    assert "svg-img-alt" in found
    page.close()


@pytest.mark.parametrize("name", NAMES)
def test_headings_are_in_order(browser: Any, pages: dict[str, Path], name: str) -> None:
    page = opened(browser, pages[name])
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map(entry => Number(entry.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    page.close()


def test_nothing_is_cut_off_or_lies_over_its_neighbour(browser: Any, pages: dict[str, Path]) -> None:
    """Letters of a drawing stay within the page, and tables that are wider than it scroll in their own region."""
    for name, width in product(("report", "quantised"), (1280, 390)):
        page = opened(browser, pages[name], width=width)
        out = page.evaluate(
            """[...document.querySelectorAll('figure svg text, figcaption, h1, h2, h3, p, summary')]
               .filter(entry => !entry.closest('.scroll'))
               .map(entry => [entry.textContent, entry.getBoundingClientRect()])
               .filter(([text, box]) => box.width && (box.left < -1 || box.right > window.innerWidth + 1))
               .map(([text]) => text)"""
        )
        assert out == []
        page.close()


def test_downloads_are_what_the_page_shows(browser: Any, pages: dict[str, Path]) -> None:
    page = opened(browser, pages["report"])
    files = {}
    for link in page.query_selector_all("a[download]"):
        with page.expect_download() as caught:
            link.click()
        files[link.get_attribute("download")] = caught.value.path().read_text(encoding="utf-8-sig")
        page.wait_for_timeout(BETWEEN_DOWNLOADS)
    assert files["methods.txt"].split("\n\n")[0] == page.inner_text(".paste p:first-child")
    rows = list(csv.DictReader(io.StringIO(files["arms.csv"])))
    stated = {row["arm"]: float(row["value"]) for row in rows if row["figure"] == "macro AUC"}
    shown = page.eval_on_selector_all("#arms tbody tr", "rows => rows.map(row => row.cells[1].firstChild.textContent)")
    assert [float(text) for text in shown] == [
        round(stated[arm], 3) for arm in ("distilled", "raw", "random", "kmeans", "hard")
    ]
    put = [row for row in csv.DictReader(io.StringIO(files["confusion.csv"])) if row["arm"] == "distilled"]
    cells = page.eval_on_selector(
        "#confusion table", "table => [...table.querySelectorAll('td')].map(td => td.innerText)"
    )
    assert [float(text) for text in cells] == [round(100 * float(row["share"]), 1) for row in put]
    assert len(files) > 12
    page.close()


def test_print_has_every_fold_and_fits_the_paper(browser: Any, pages: dict[str, Path]) -> None:
    page = browser.new_page(viewport={"width": PAPER, "height": 1000})
    page.goto(pages["report"].as_uri())
    page.emulate_media(media="print")
    item = next(row.topic for row in report_example.whole().checklist)  # in a fold that nobody opened
    height = page.evaluate(
        """text => [...document.querySelectorAll('td')].find(cell => cell.textContent === text)
                   .getBoundingClientRect().height""",
        item,
    )
    assert height > 0
    wider = page.evaluate(
        """[...document.querySelectorAll('table, figure')]
           .filter(box => box.getBoundingClientRect().right > innerWidth + 1).map(box => box.closest('section').id)"""
    )
    assert wider == []
    pdf = page.pdf(format="A4", print_background=True)
    assert pdf.startswith(b"%PDF")
    assert 8 <= pdf.count(b"/Type /Page\n") <= 40
    page.close()


@pytest.mark.parametrize("name", ["audit", "every attack", "report"])
def test_on_a_phone_the_rows_of_an_audit_stack_and_nothing_lies_beside_the_screen(
    browser: Any, pages: dict[str, Path], name: str
) -> None:
    page = opened(browser, pages[name], width=390)
    tables = "[...document.querySelectorAll('table.sheet, table.gate')]"
    over = page.evaluate(f"{tables}.map(table => table.scrollWidth - table.parentNode.clientWidth)")
    assert over
    assert max(over) <= 0
    page.close()


@pytest.mark.parametrize("name", ["audit", "every attack", "report"])
def test_the_table_of_attacks_is_printed_on_one_sheet_and_nothing_of_it_is_cut(
    browser: Any, pages: dict[str, Path], name: str
) -> None:
    page = browser.new_page(viewport={"width": PAPER, "height": 1000})
    page.goto(pages[name].as_uri())
    page.emulate_media(media="print")
    cut = page.evaluate(
        """[...document.querySelectorAll('.sheet th, .sheet td, #on-one-page p, #on-one-page li')]
           .filter(cell => cell.getBoundingClientRect().right > innerWidth + 1
                           || cell.scrollWidth > cell.clientWidth + 1)
           .map(cell => cell.textContent)"""
    )
    assert cut == []
    page.evaluate(
        """() => { const rows = document.querySelector('table.sheet').rows;
                   for (const [row, name] of [[rows[0], 'first'], [rows[rows.length - 1], 'last']])
                       row.cells[0].innerHTML = `<a href="https://${name}.invalid/">${name}</a>`; }"""
    )
    pdf = page.pdf(format="A4", print_background=True, margin=dict.fromkeys(("top", "right", "bottom", "left"), "14mm"))
    assert sheet_of(pdf, "first") == sheet_of(pdf, "last")
    if name == "audit":
        assert pdf.count(b"/Type /Page\n") == 2  # the words are on the second
    page.close()


def sheet_of(pdf: bytes, name: str) -> int:
    """Which page of a PDF, counted from 0, holds the link of that name."""
    objects = {int(of[1]): of[2] for of in re.finditer(rb"(?s)\n(\d+) 0 obj\n(.*?)\nendobj", pdf)}
    links = {number for number, held in objects.items() if f"https://{name}.invalid/".encode() in held}
    sheets = [held for held in objects.values() if b"/Type /Page\n" in held]
    (found,) = (
        k
        for k, held in enumerate(sheets)
        if links & {int(of) for part in annotations(held, objects) for of in re.findall(rb"(\d+) 0 R", part)}
        or any(f"https://{name}.invalid/".encode() in part for part in annotations(held, objects))
    )
    return found


def annotations(sheet: bytes, objects: dict[int, bytes]) -> list[bytes]:
    """What a page lists under /Annots, which may stand in an object of its own."""
    listed = re.search(rb"(?s)/Annots (\[.*?\]|\d+ 0 R)", sheet)
    if listed is None:
        return []
    named = re.fullmatch(rb"(\d+) 0 R", listed[1])
    return [objects[int(named[1])] if named else listed[1]]


def test_a_keyboard_reaches_every_region_and_fold(browser: Any, pages: dict[str, Path]) -> None:
    page = opened(browser, pages["report"], width=390)
    wide = page.evaluate(
        """[...document.querySelectorAll('.scroll')].filter(box => box.scrollWidth > box.clientWidth)
           .map(box => box.tabIndex)"""
    )
    assert wide
    assert set(wide) == {0}
    page.close()
