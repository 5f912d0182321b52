"""`medistill prepare --preview`: a private page of what was masked and refused, without a word of what was read."""

from __future__ import annotations

import base64
import io
import json
import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from medistill.artifacts.corpus import ManifestRow
from medistill.artifacts.purge import purge
from medistill.workflow.preview import MOST, NAME, _spread
from medistill_cli.main import app
from tests.factories.burnt_in import SOMEBODY, ground, needs_reader, written

ODD = "<img src=x onerror=alert(1)>.png"


def invoke(folder: Path, *words: str) -> Result:
    told = CliRunner().invoke(app, ["prepare", "--data", str(folder), "--recipe", "demo", *words])
    assert told.exit_code == 0, told.stderr
    return told


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five images of each of two classes, one of them with a name in it and one of an odd name, and a ruin."""
    for n, label in enumerate(["COVID"] * 5 + ["Normal"] * 5):
        file = tmp_path / "xray" / label / (ODD if n == 7 else f"{n}.png")
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = ground(256, 300) + n
        Image.fromarray((written(pixels, SOMEBODY, 20, (40, 120)) if n == 2 else pixels)[0].astype(np.uint8)).save(file)
    whole = (tmp_path / "xray" / "COVID" / "0.png").read_bytes()
    (tmp_path / "xray" / "COVID" / "ruin.png").write_bytes(whole[: len(whole) // 2])
    return tmp_path / "xray"


def pictures(html: str) -> list[np.ndarray]:
    return [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(data))), np.float32)
        for data in re.findall(r"data:image/jpeg;base64,([^\"]+)", html)
    ]


@needs_reader
def test_the_original_stands_beside_what_was_masked(folder: Path, private_cache: Path) -> None:
    words = ["--set", "data.image_size=64", "--preview"]
    told = invoke(folder, *words, "--json")
    page = Path(json.loads(told.stdout)["preview"])
    html = page.read_text(encoding="utf-8")
    assert page.name == NAME
    assert "DO-NOT-SHARE" in NAME
    assert page.is_relative_to(private_cache)
    assert page.stat().st_mode & 0o777 == 0o600
    assert all(place.stat().st_mode & 0o777 == 0o700 for place in (page.parent, page.parent.parent))
    original, masked, *others = pictures(html)
    assert len(others) == 9  # those in which nothing was found; the ruin has none
    box = re.search(r'class="box words"[^>]*left:([\d.]+)%;top:([\d.]+)%;width:([\d.]+)%;height:([\d.]+)%', html)
    left, top, width, height = (float(share) / 100 for share in box.groups())
    rows, columns = original.shape
    inside = np.zeros(original.shape, bool)
    inside[
        int(top * rows) : int((top + height) * rows) + 1, int(left * columns) : int((left + width) * columns) + 1
    ] = 1
    assert np.ptp(original[inside]) > 80 > np.ptp(masked[inside])
    assert np.abs(original - masked)[~inside].mean() < 1
    assert "MEIER" not in html + told.stdout + told.stderr
    assert unescape(html).count(ODD) >= 1
    assert ODD not in html
    assert not re.search(r"<script|https?://|@import|javascript:", html)
    assert "it is damaged or cut short" in html
    page.unlink()
    again = invoke(folder, *words)  # the corpus is in the cache now
    assert "in the cache already" in again.stderr
    assert "DO NOT SHARE" in again.stdout
    assert page.read_text(encoding="utf-8") == html
    purge()
    assert not list(private_cache.rglob("*.html"))


def test_a_corpus_in_which_nothing_looked_has_a_page_too(folder: Path, private_cache: Path) -> None:
    invoke(folder, "--preview")
    html = next(private_cache.rglob(NAME)).read_text(encoding="utf-8")
    assert "was not looked for" in html
    assert len(pictures(html)) == 10
    assert 'class="box' not in html


def test_of_many_files_some_are_shown_at_even_distances() -> None:
    rows = [ManifestRow(f"{n}.png", n) for n in range(10_000)]
    shown = [row.row for row in _spread(rows, MOST)]
    assert len(shown) == MOST
    assert (shown[0], shown[-1]) == (0, 9999)
    assert set(np.diff(shown)) <= {50, 51}
    assert _spread(rows[:MOST], MOST) == rows[:MOST]
