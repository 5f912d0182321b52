"""Tile statements: what a report, a card and an export say of images that are cut into tiles."""

from __future__ import annotations

from medistill.report.wording import count


def tile_sentence(tiles: int, shown: int) -> str:
    """How networks are shown stored images; empty where as they are.

    Args:
        tiles: of a side of each.
        shown: images that they give in all.
    """
    if tiles == 1:
        return ""
    return (
        f"Each stored image holds {tiles} by {tiles} tiles: before a network is trained, every tile is enlarged to the "
        "full side (bilinear interpolation), with the label and weight of its image, which gives "
        f"{count(shown)} images."
    )
