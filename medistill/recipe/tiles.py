"""Tiles: parts that a stored image is cut into, each of which is enlarged to a whole image to train on."""

from __future__ import annotations

MOST_TILES = 4
"""Largest factor: 16 images to train on from a stored one."""


def fitting(side: int) -> list[int]:
    """Factors that divide a side of an image."""
    return [tiles for tiles in range(1, MOST_TILES + 1) if side % tiles == 0]


def tile_misfit(tiles: int, *sides: int) -> str:
    """Why images with such sides, in pixels, cannot be cut into ``tiles`` x ``tiles`` parts; empty where they can."""
    if not 1 <= tiles <= MOST_TILES:
        return f"its images are cut into {tiles} x {tiles} tiles, and 1 to {MOST_TILES} a side is possible"
    uneven = [side for side in sides if side % tiles]
    return f"{tiles} tiles do not divide a side of {uneven[0]} pixels" if uneven else ""
