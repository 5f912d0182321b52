"""How often letters are read into sets without any, and how faint a planted word is found, by scale and score.

    python -m tests.bench.letters SET... [--images FOLDER] [--noise]

SET is a folder with images.safetensors. Of FOLDER's images, all classes together, means of five are made at 64 and 128
pixels.
Noise is what a set looks like that began so, whiter or smoother. Each is read on two scales.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import load_file
from scipy.ndimage import gaussian_filter

from medistill.data.burnt_in_text import find_readings
from medistill.privacy import letters


def tell(line: str) -> None:
    """Write a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def look(name: str, images: np.ndarray, labels: np.ndarray) -> None:
    """Print what is read in uint8 images (N, C, H, W) and their means, by scale, and which planted words are found."""
    pictures = [*images, *(letters.mean_of(images[labels == c]) for c in np.unique(labels)), letters.mean_of(images)]
    for scale in (2, 4):
        side = max(256, scale * min(images.shape[2:]))
        read = [[(round(one.score, 2), one.letters) for one in find_readings(p, side=side)] for p in pictures]
        counted = sum(any(s >= letters.SURE and n >= letters.LEAST_LETTERS for s, n in found) for found in read)
        planted = letters.planted_words(images, lambda p, side=side: find_readings(p, side=side))  # type: ignore[misc]
        seen = ", ".join(f"+{p.contrast}: {p.found}/{p.images}{' and mean' if p.in_mean else ''}" for p in planted)
        tell(
            f"{name} {images.shape[2]} px read on {side}: anything in {sum(map(bool, read))}, counted in {counted} of "
            f"{len(pictures)}; planted {seen}; all readings {sorted(one for found in read for one in found)}"
        )


def means(folder: Path, side: int, count: int) -> np.ndarray:
    """Uint8 (count, 1, side, side): means of five images each, drawn at random."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in (".png", ".jpg", ".jpeg"))
    random.Random(0).shuffle(files)
    small = [
        np.asarray(Image.open(file).convert("L").resize((side, side), Image.Resampling.BOX), np.float32)
        for file in files[: 5 * count]
    ]
    return np.stack(small).reshape(count, 5, 1, side, side).mean(axis=1).astype(np.uint8)


def noise(side: int, smooth: float, count: int) -> np.ndarray:
    """Uint8 (count, 1, side, side): noise, smoothed, on a soft shadow of a chest."""
    drawn = np.random.default_rng(0).normal(size=(count, side, side))
    drawn = gaussian_filter(drawn, (0, smooth, smooth))
    body = np.hypot(*np.meshgrid(np.linspace(-1, 1, side), np.linspace(-1, 1, side))) * 40
    return np.clip(100 + body + 50 * drawn / drawn.std(), 0, 255).astype(np.uint8)[:, None]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", type=Path, nargs="*")
    parser.add_argument("--images", type=Path, nargs="*", default=[])
    parser.add_argument("--noise", action="store_true")
    chosen = parser.parse_args()
    for path in chosen.sets:
        held = load_file(path / "images.safetensors")
        look(path.parent.name, held["viewable"], held["labels"])
    for folder in chosen.images:
        for pixels in (64, 128):
            look(f"means of {folder.name}", means(folder, pixels, 20), np.arange(20) % 2)
    for smoothing in (0.0, 0.7, 1.5) if chosen.noise else ():
        for pixels in (64, 128):
            look(f"noise smoothed by {smoothing}", noise(pixels, smoothing, 10), np.arange(10) % 2)
