"""Moved: an image turned, mirrored, shifted, and drawn in another size or at a small angle, in every combination tried.

A pixel of the original at p from the middle lies in the copy at A p + d. So the copy is read there, A being a turn and
a zoom and d a shift, and what is read is held against the original. The middle of the original alone is held, whose
pixels lie within the copy under all but the farthest of these.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Poses = Literal["turned", "resized", "small"]
REACH = 1 / 8
"""Share of the side by which an image is shifted either way at most, and that is cut off each edge of the original."""
ANGLES = (-12.0, -9.0, -6.0, -3.0, 0.0, 3.0, 6.0, 9.0, 12.0)
ZOOMS = (0.7, 0.77, 0.84, 0.92, 1.0, 1.08, 1.17, 1.27, 1.38)
"""Size of the copy in that of the original."""
SMALL = (0.5, 0.65)
"""The same of small copies, which are sought in the corners."""
SIDE = 12
"""Height and width of the middle as it is compared."""


def middle(images: Tensor) -> Tensor:
    """The part of originals (N, C, H, W) that is held against copies, averaged over channels and to `SIDE`: (N, D)."""
    height, width = images.shape[2:]
    top, left = round(REACH * height), round(REACH * width)
    inner = images.mean(dim=1, keepdim=True)[:, :, top : height - top, left : width - left]
    return torch.nn.functional.interpolate(inner, (SIDE, SIDE), mode="area").flatten(1)


def moved(images: Tensor, poses: Poses) -> Tensor:
    """Every pose of images (Q, C, H, W), read where the middle of the original would lie: (Q, V, D)."""
    points = torch.from_numpy(_points(poses)).to(images)
    fine = 2 * SIDE
    grid = points.view(1, -1, fine * fine, 2).expand(len(images), -1, -1, -1)
    one = images.mean(dim=1, keepdim=True)
    read = torch.nn.functional.grid_sample(one, grid, mode="bilinear", padding_mode="border", align_corners=False)
    whole = torch.nn.functional.avg_pool2d(read.view(-1, 1, fine, fine), 2)
    return whole.view(len(images), -1, SIDE * SIDE)


def poses_of(kind: Poses) -> list[tuple[np.ndarray, np.ndarray]]:
    """A (2, 2) and d (2,) of each pose, in units of half the side, by column and row.

    Args:
        kind: "turned", the eight symmetries with every shift by whole 32nds of the side up to `REACH`; "resized", small
            turns and zooms with shifts of up to two of these; or "small", half an image in a corner.
    """
    one, step = np.eye(2), 2 / 32
    if kind == "turned":
        symmetries = [m @ np.diag([x, y]) for m in (one, one[::-1]) for x in (1, -1) for y in (1, -1)]
        return [(symmetry, shift) for symmetry in symmetries for shift in _shifts(4, step)]
    if kind == "resized":
        turns = [zoom * _turn(angle) for angle in ANGLES for zoom in ZOOMS]
        return [(turn, shift) for turn in turns for shift in _shifts(2, step)]
    corners = [np.array([x, y]) for x in (-1, 1) for y in (-1, 1)]
    return [
        (zoom * one, (1 - zoom) * corner + shift) for zoom in SMALL for corner in corners for shift in _shifts(1, step)
    ]


def _shifts(most: int, step: float) -> list[np.ndarray]:
    return [step * np.array([x, y]) for x in range(-most, most + 1) for y in range(-most, most + 1)]


def _turn(degrees: float) -> np.ndarray:
    angle = np.deg2rad(degrees)
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


@lru_cache(maxsize=3)
def _points(kind: Poses) -> np.ndarray:
    """Float32 (V, 4 SIDE^2, 2), where the middle of the original lies in a copy, twice as fine as it is compared."""
    inner = (1 - 2 * REACH) * ((np.arange(2 * SIDE) + 0.5) / SIDE - 1)
    rows, columns = np.meshgrid(inner, inner, indexing="ij")
    places = np.stack([columns, rows], axis=-1).reshape(-1, 2)
    return np.stack([places @ matrix.T + shift for matrix, shift in poses_of(kind)]).astype(np.float32)
