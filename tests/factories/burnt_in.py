"""Names of nobody written into images with Pillow's own font."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

SOMEBODY = "MEIER HANS 1943"
needs_reader = pytest.mark.skipif(
    find_spec("rapidocr") is None or find_spec("onnxruntime") is None,
    reason="the text reader is not installed (pip install 'medistill[ocr]')",
)


def ground(height: int, width: int) -> np.ndarray:
    """Float32 (1, H, W): a grey slope with the noise of a detector."""
    rows, columns = np.mgrid[:height, :width]
    noise = np.random.default_rng(0).normal(0, 2, (height, width))
    return (60 + 40 * rows / height + 20 * columns / width + noise).astype(np.float32)[None]


def strokes(height: int, width: int, text: str, high: int, place: tuple[int, int]) -> np.ndarray:
    """Float32 (H, W), 1 where letters are, 0 elsewhere; ``high`` is the size of the font, ``place`` (column, row)."""
    picture = Image.new("L", (width, height))
    ImageDraw.Draw(picture).text(place, text, fill=255, font=ImageFont.load_default(high))
    return np.asarray(picture, np.float32) / 255


def written(pixels: np.ndarray, text: str, high: int, place: tuple[int, int], *, contrast: float = 90) -> np.ndarray:
    """The image (1, H, W) with brighter letters."""
    return np.clip(pixels + contrast * strokes(*pixels.shape[1:], text, high, place), 0, 255)
