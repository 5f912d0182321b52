"""Pictures: small images as inline PNG, class by class."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

MOST_PER_CLASS = 50
"""Pictures shown of a class, so that the page stays small."""
MOST = 400
"""Pictures shown in all, though at least one of each class."""


@dataclass(frozen=True)
class ClassPictures:
    """The pictures of one class.

    Attributes:
        class_name: the class.
        images: how many there are.
        sources: ``data:`` addresses of those that are shown.
    """

    class_name: str
    images: int
    sources: tuple[str, ...]


def class_pictures(images: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> tuple[ClassPictures, ...]:
    """Pictures of uint8 images (N, C, H, W), in the order of the classes; a class without images is left out."""
    most = max(1, min(MOST_PER_CLASS, MOST // len(class_names)))
    found = []
    for c, name in enumerate(class_names):
        rows = np.flatnonzero(labels == c)
        if len(rows):
            sources = tuple(data_address(images[row]) for row in rows[:most])
            found.append(ClassPictures(name, len(rows), sources))
    return tuple(found)


def data_address(image: np.ndarray) -> str:
    """A uint8 image (C, H, W) with one or three channels as ``data:image/png;base64,...``."""
    pixels = np.moveaxis(image, 0, 2)
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def photo_address(image: np.ndarray) -> str:
    """A uint8 image (H, W) as ``data:image/jpeg;base64,...``, for pages with many large ones."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
