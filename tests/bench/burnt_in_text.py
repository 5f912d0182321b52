"""Burnt-in text: how small it can still be read, how much of it is found, and how often there is a false alarm.

    python -m tests.bench.burnt_in_text legible [--images 6]
    python -m tests.bench.burnt_in_text found [--images 6]
    python -m tests.bench.burnt_in_text real --folder FOLDER [--images 100]

`legible` draws names on phantoms of 1024 pixels, makes the images as small as those of a set, enlarges them again, and
counts the names of which four letters in five are still read: by a reader that knows where to look, and by one that
looks over the whole image. `found` counts the names of which 95 % of the strokes lie in what would be masked. Of real
images counts alone are printed.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from difflib import SequenceMatcher
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageFont

from medistill.data import burnt_in_text
from medistill.data.burnt_in_text import Box, find_text, looking_side
from medistill.data.phantom_drawing import Exposure, Habitus, draw_phantom
from tests.factories.burnt_in import strokes

NAMES = ("DOE JANE 1940", "MEIER HANS", "ID 4471829", "ROSSI ANNA F", "KLINIK NORD", "12.03.2019 08:41")
CONTRASTS = (15, 30, 60)


SHORT_NAMES = ("MEIER", "DOE 1940", "ROSSI A", "KLINIK", "12.03.19", "ID 44718")
"""Short enough to be drawn large."""
DRAWN = 1024
"""Side of the phantoms whose text is made small."""
HEIGHTS = (0.02, 0.03, 0.04, 0.06, 0.08, 0.12)
"""Heights of capitals as shares of the picture's."""
SET_SIDES = (32, 48, 64, 96, 128, 224)
SET_HEIGHTS = (3, 4, 6)
"""Heights of capitals in pixels of the set."""


def phantom(number: int, side: int) -> np.ndarray:
    """Float32 (1, side, side), 0..255, with its side marker."""
    sex: Literal["F", "M"] = "F" if number % 2 else "M"
    habitus = Habitus.draw(np.random.default_rng([number, 0]), sex=sex)
    drawing = np.random.default_rng([number, 1])
    exposure = Exposure.draw(drawing, supine=bool(number % 3))
    grey = draw_phantom(habitus, exposure, "Normal", 0.7, side, np.random.default_rng([number, 2]), drawing)
    return (255 * grey).astype(np.float32)[None]


def share_covered(letters: np.ndarray, boxes: list[Box]) -> float:
    """Share of the strokes (H, W) that lie in boxes."""
    inside = np.zeros(letters.shape, bool)
    for box in boxes:
        inside[box.top : box.bottom, box.left : box.right] = True
    return float((inside & (letters > 0.5)).sum() / (letters > 0.5).sum())


def tell(line: str) -> None:
    """Write a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def font_of(capitals: float) -> int:
    """Size of the font whose capitals are so many pixels high."""
    _, top, _, bottom = ImageFont.load_default(100).getbbox("M")
    return round(100 * capitals / (bottom - top))


def share_read(read: str, name: str) -> float:
    """Share of the letters of a name that were read, in their order."""
    found, whole = ("".join(filter(str.isalnum, text.upper())) for text in (read, name))
    return sum(m.size for m in SequenceMatcher(None, found, whole, autojunk=False).get_matching_blocks()) / len(whole)


def legibility(images: int) -> None:
    """Print how many names are still read in images of the size of a set."""
    plain = [phantom(number, DRAWN)[0] for number in range(images)]
    for contrast in (60, 150):
        tell(f"\n+{contrast} grey levels; read at the known place / in the whole image / of")
        tell(f"{'set':>6} " + " ".join(f"{f'{share:.0%}':>8}" for share in HEIGHTS) + "   of the picture's height")
        for side in SET_SIDES:
            cells = [_read_again(plain, share, contrast, side) for share in HEIGHTS]
            tell(f"{side:>4}px " + " ".join(f"{cell:>8}" for cell in cells))


def _read_again(plain: list[np.ndarray], share: float, contrast: float, side: int) -> str:
    reader, known, anywhere = burnt_in_text.load_reader(), 0, 0
    for number, image in enumerate(plain):
        name, place = SHORT_NAMES[number % len(SHORT_NAMES)], (80, int(DRAWN * (0.2 + 0.1 * (number % 6))))
        letters = strokes(DRAWN, DRAWN, name, font_of(share * DRAWN), place)
        shown = Image.fromarray(np.clip(image + contrast * letters, 0, 255).astype(np.uint8))
        large = shown.resize((side, side), Image.Resampling.BOX).resize((DRAWN, DRAWN), Image.Resampling.BICUBIC)
        rows, columns = np.nonzero(letters > 0.5)
        rim = int(share * DRAWN) // 2
        box = (max(columns.min() - rim, 0), max(rows.min() - rim, 0), columns.max() + rim, rows.max() + rim)
        crop = np.repeat(np.asarray(large.crop(box))[..., None], 3, axis=2)
        known += share_read(reader.recognize_txt([crop]).txts[0], name) >= 0.8
        words = [text for _, text, _ in burnt_in_text._read(np.asarray(large)[None], burnt_in_text.USUAL)]
        anywhere += any(share_read(word, name) >= 0.8 for word in words)
    return f"{known}/{anywhere}/{len(plain)}"


def found(images: int) -> None:
    """Print how many names are found on the scale that goes with a set, and on half of it, and the time an image."""
    plain = [phantom(number, DRAWN) for number in range(images)]
    cells = [(high, contrast) for high in SET_HEIGHTS for contrast in CONTRASTS]
    tell("\n  set looked at " + " ".join(f"{f'{high}px+{contrast}':>8}" for high, contrast in cells) + "  seconds")
    for side in (64, 128, 224):
        for looked_at in (looking_side(side) // 2, looking_side(side)):
            started, told = time.process_time(), []
            for high, contrast in cells:
                hits = 0
                for number, image in enumerate(plain):
                    place = (40, int(DRAWN * (0.2 + 0.1 * (number % 6))))
                    name, font = NAMES[number % len(NAMES)][:10], font_of(high * DRAWN / side)
                    letters = strokes(DRAWN, DRAWN, name, font, place)
                    boxes = find_text(np.clip(image + contrast * letters, 0, 255), side=looked_at)
                    hits += share_covered(letters, boxes) >= 0.95
                told.append(f"{hits}/{images}")
            seconds = (time.process_time() - started) / (len(cells) * images)
            tell(f"{side:>4}px {looked_at:>7}px " + " ".join(f"{cell:>8}" for cell in told) + f"     {seconds:.2f}")
    for side in (64, 128, 224):
        alarms = sum(bool(find_text(image, side=looking_side(side))) for image in plain)
        tell(f"{side:>4}px: false alarms on phantoms with a side marker: {alarms}/{images}")


def real(folder: Path, sample: int) -> None:
    """Print how many of some images hold text other than markers, and the time."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in (".png", ".jpg", ".jpeg"))
    random.Random(0).shuffle(files)
    pictures = [np.asarray(Image.open(file).convert("L"), np.float32)[None] for file in files[:sample]]
    shorter = sorted(min(picture.shape[1:]) for picture in pictures)
    tell(f"\nReal images, shorter side {shorter[0]} to {shorter[-1]} pixels")
    for image_size in (64, 128, 224):
        started, side = time.process_time(), looking_side(image_size)
        with_text = sum(bool(find_text(picture, side=side)) for picture in pictures)
        seconds = (time.process_time() - started) / len(pictures)
        tell(
            f"for a set of {image_size} pixels: text other than markers in {with_text} of {len(pictures)}; "
            f"{seconds:.2f} s an image"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("legible", "found", "real"))
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--folder", type=Path)
    chosen = parser.parse_args()
    if chosen.what == "real":
        real(chosen.folder, chosen.images)
    else:
        {"legible": legibility, "found": found}[chosen.what](chosen.images)
