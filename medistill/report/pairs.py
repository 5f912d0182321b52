"""Pairs: distilled images beside the real ones that they are nearest to, for the auditor's eyes alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medistill.report.pictures import data_address
from medistill.report.render.html import render


@dataclass(frozen=True)
class Pair:
    """A distilled image and the nearest real ones.

    Attributes:
        class_name: that the distilled image is of.
        images: uint8 (C, H, W): the distilled image, the nearest training image, the nearest held-out image.
        distances: to that training image and to that held-out one.
    """

    class_name: str
    images: tuple[np.ndarray, np.ndarray, np.ndarray]
    distances: tuple[float, float]


def render_pairs(pairs: Sequence[Pair]) -> str:
    """The pairs as one HTML file, in the order given. It shows patients' images and says that it must not be shared."""
    return render("pairs.html.j2", pairs=[(pair, [data_address(image) for image in pair.images]) for pair in pairs])
