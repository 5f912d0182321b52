"""How much burnt-in text is found: invented names on phantoms by contrast, size and length of side, and false alarms.

    python -m tests.bench.burnt_in_text [--images 6] [--real FOLDER --sample 60]

A name counts as found where 95 % of its strokes lie in what would be masked. Of real images counts alone are printed.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from medistill.data import burnt_in_text
from medistill.data.burnt_in_text import Box, find_text
from medistill.data.phantom_drawing import Exposure, Habitus, draw_phantom
from tests.burnt_in import strokes

NAMES = ("DOE JANE 1940", "MEIER HANS", "ID 4471829", "ROSSI ANNA F", "KLINIK NORD", "12.03.2019 08:41")
CONTRASTS = (15, 30, 60, 90)
FONTS = {256: (8, 10, 14, 20), 1024: (10, 14, 20, 32), 2048: (16, 24, 40, 64)}
"""Side of the image in pixels -> sizes of the font in pixels."""


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


def detection(side: int, images: int) -> None:
    """Print names found of each contrast and size, the false alarms, and the time an image."""
    burnt_in_text._reader()
    plain = [phantom(number, side) for number in range(images)]
    started = time.perf_counter()
    alarms = sum(bool(find_text(image)) for image in plain)
    seconds = (time.perf_counter() - started) / images
    tell(
        f"\n{side} x {side} pixels: {seconds:.2f} s an image; false alarms (phantoms with a marker): {alarms}/{images}"
    )
    tell(f"{'font':>6} " + " ".join(f"{'+' + str(contrast):>7}" for contrast in CONTRASTS) + "   grey levels")
    for font in FONTS[side]:
        found = []
        for contrast in CONTRASTS:
            hits = 0
            for number, image in enumerate(plain):
                place = (int(side * (0.12 + 0.05 * (number % 3))), int(side * (0.25 + 0.1 * (number % 6))))
                letters = strokes(side, side, NAMES[number % len(NAMES)], font, place)
                hits += share_covered(letters, find_text(np.clip(image + contrast * letters, 0, 255))) >= 0.95
            found.append(f"{hits}/{images}")
        tell(f"{font:>4}px " + " ".join(f"{cell:>7}" for cell in found))


def real(folder: Path, sample: int) -> None:
    """Print how many of some images hold text other than markers, and the time."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in (".png", ".jpg", ".jpeg"))
    random.Random(0).shuffle(files)
    pictures = [np.asarray(Image.open(file).convert("L"), np.float32)[None] for file in files[:sample]]
    started = time.perf_counter()
    with_text = sum(bool(find_text(picture)) for picture in pictures)
    seconds = (time.perf_counter() - started) / len(pictures)
    shorter = sorted(min(picture.shape[1:]) for picture in pictures)
    tell(
        f"\nReal images: text other than markers in {with_text} of {len(pictures)}; {seconds:.2f} s an image "
        f"(shorter side {shorter[0]} to {shorter[-1]} pixels)"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--sides", type=int, nargs="*", default=[*FONTS])
    parser.add_argument("--real", type=Path)
    parser.add_argument("--sample", type=int, default=60)
    chosen = parser.parse_args()
    for chosen_side in chosen.sides:
        detection(chosen_side, chosen.images)
    if chosen.real is not None:
        real(chosen.real, chosen.sample)
