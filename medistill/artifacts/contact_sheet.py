"""A picture of many small images in rows, one class a row, that a person can look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from medistill.visible import visible

TILE = 96
"""Least height and width of a drawn image, in pixels."""
LINE = "orange"
"""Colour of the lines between tiles, which no grey image has."""


def contact_sheet(
    images: np.ndarray, labels: np.ndarray, class_names: Sequence[str], *, per_row: int = 10, tiles: int = 1
) -> Image.Image:
    """Draw uint8 images (N, C, H, W), class by class, at most ``per_row`` side by side, under the class's name.

    Thin lines part each image where it is cut into ``tiles`` x ``tiles``.
    """
    scale = max(1, -(-TILE // images.shape[2]))
    height, width = images.shape[2] * scale, images.shape[3] * scale
    gap, caption = 4, 22
    present = [c for c in range(len(class_names)) if np.any(labels == c)]
    columns = min(per_row, max(int(np.sum(labels == c)) for c in present))
    lines = {c: -(-int(np.sum(labels == c)) // columns) for c in present}
    total = gap + sum(caption + lines[c] * (height + gap) for c in present)
    sheet = Image.new("RGB", (gap + columns * (width + gap), total), "white")
    draw, font, top = ImageDraw.Draw(sheet), ImageFont.load_default(size=14), gap
    for c in present:
        draw.text((gap, top), visible(class_names[c]), fill="black", font=font)
        top += caption
        for k, row in enumerate(np.flatnonzero(labels == c)):
            pixels = np.moveaxis(images[row], 0, 2)
            tile = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
            place = (gap + (k % columns) * (width + gap), top + (k // columns) * (height + gap))
            picture = tile.resize((width, height), Image.Resampling.NEAREST).convert("RGB")
            _part(picture, tiles)
            sheet.paste(picture, place)
        top += lines[c] * (height + gap)
    return sheet


def _part(picture: Image.Image, tiles: int) -> None:
    """Draw lines of a pixel between the tiles of a picture, in place."""
    draw, (width, height) = ImageDraw.Draw(picture), picture.size
    for k in range(1, tiles):
        across, down = k * width // tiles, k * height // tiles
        draw.line([(across, 0), (across, height - 1)], fill=LINE)
        draw.line([(0, down), (width - 1, down)], fill=LINE)
