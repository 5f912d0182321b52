"""The pictures of the first page, from a run on drawn phantoms: `python -m tests.pictures RUN FOLDER`.

``docs/assets/report.png`` is of `medistill distill --recipe demo --out RUN`. ``docs/assets/contact-sheet.png`` is of
`medistill phantom ph --patients 130 --size 64` and `medistill distill --data ph --recipe demo-ddoq --out RUN`. Both are
written into FOLDER; a run on anything but phantoms is refused. It needs Chromium, and playwright of the extra `test`.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

WIDTH, HEIGHT = 1160, 945
COLOURS = 128
"""A picture has so many at most, and takes a quarter of the space."""


def main(run: Path, out: Path) -> None:
    """Write ``report.png`` and ``contact-sheet.png`` of a run into ``out``."""
    manifest = json.loads((run / "set" / "manifest.json").read_text(encoding="utf-8"))
    if manifest["provenance"].get("synthetic_source") is not True:
        raise SystemExit(f"{run} was not made of drawn phantoms: no picture of it is taken.")
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.goto((run / "report.html").resolve().as_uri())
        page.screenshot(path=out / "report.png")
        browser.close()
    sheet = Image.open(run / "set" / "contact_sheet.png").convert("RGB")
    for picture, name in ((Image.open(out / "report.png").convert("RGB"), "report.png"), (sheet, "contact-sheet.png")):
        picture.quantize(COLOURS, dither=Image.Dither.NONE).save(out / name, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
