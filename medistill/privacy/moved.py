"""Moved: an image turned, mirrored, shifted, and drawn in another size or at an angle, in every combination tried.

A pixel of the original at p from the middle lies in the copy at A p + d. So the copy is read there, A being a turn and
a zoom and d a shift, and what is read is held against the original. The middle of the original alone is held, whose
pixels lie within the copy under all but the farthest of these.

Who turns an image by an angle, or draws it in another size, reads it between its pixels, and so does who reads the copy
back. Each time it loses some sharpness: where a pixel is put together from its neighbours with the shares f and 1 - f,
it is blurred with a variance of f (1 - f), which is 1/6 on average, and twice so here. The originals that such copies
are held against are blurred as well; what is weighed by its own variance would not be met otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from medistill.privacy.likeness import blurred, one_channel

Poses = Literal["turned", "tilted", "resized"]
REACH = 1 / 8
"""Share of the side by which an image is shifted either way at most, and that is cut off each edge of the original."""
TILTS = tuple(range(0, 360, 2))
"""Degrees."""
ANGLES = (-12.0, -9.0, -6.0, -3.0, 0.0, 3.0, 6.0, 9.0, 12.0)
ZOOMS = (0.7, 0.77, 0.84, 0.92, 1.0, 1.08, 1.17, 1.27, 1.38)
"""Size of the copy in that of the original."""
ACROSS: Mapping[Poses, int] = {"turned": 12, "tilted": 18, "resized": 16}
"""Squares along a side of the middle, by which it is compared. Pixels of 32 are met exactly by the first."""
HALF: Mapping[Poses, float] = {"turned": 1 - 2 * REACH, "tilted": 27 / 32, "resized": 1 - 2 * REACH}
"""Half of that side, in units of half the image; of tilts the radius of a disc, which is in view at every angle."""
SHARPNESS_LOST = 1 / 64
"""Deviation of the Gaussian that stands for reading between pixels, as a share of the side: half a pixel of 32."""


def middle(images: Tensor, poses: Poses) -> Tensor:
    """What is held against copies of originals (N, C, H, W), as it is read where nothing was moved: (N, D)."""
    seen = one_channel(images) if poses == "turned" else blurred(images, SHARPNESS_LOST)
    return _read(seen, [(np.eye(2), np.zeros(2))], poses)[:, 0]


def moved(images: Tensor, poses: Poses) -> Tensor:
    """Every pose of images (Q, C, H, W), read where the middle of the original would lie: (Q, V, D)."""
    return _read(one_channel(images), poses_of(poses), poses)


@lru_cache(maxsize=3)
def poses_of(kind: Poses) -> list[tuple[np.ndarray, np.ndarray]]:
    """A (2, 2) and d (2,) of each pose, in units of half the side, by column and row.

    Args:
        kind: "turned", the eight symmetries with every shift by whole 32nds of the side up to `REACH`; "tilted", any
            angle, mirrored or not, with shifts of up to one of these; or "resized", small angles and zooms with shifts
            of up to two.
    """
    one, step = np.eye(2), 2 / 32
    if kind == "turned":
        symmetries = [m @ np.diag([x, y]) for m in (one, one[::-1]) for x in (1, -1) for y in (1, -1)]
        return [(symmetry, shift) for symmetry in symmetries for shift in _shifts(4, step)]
    if kind == "tilted":
        tilts = [_turn(angle) @ np.diag([x, 1]) for angle in TILTS for x in (1, -1)]
        return [(tilt, shift) for tilt in tilts for shift in _shifts(1, step)]
    turns = [zoom * _turn(angle) for angle in ANGLES for zoom in ZOOMS]
    return [(turn, shift) for turn in turns for shift in _shifts(2, step)]


def _shifts(most: int, step: float) -> list[np.ndarray]:
    return [step * np.array([x, y]) for x in range(-most, most + 1) for y in range(-most, most + 1)]


def _turn(degrees: float) -> np.ndarray:
    angle = np.deg2rad(degrees)
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _read(images: Tensor, at: list[tuple[np.ndarray, np.ndarray]], poses: Poses) -> Tensor:
    """Images (N, 1, H, W) at the places of an original, as each of V poses puts them: (N, V, D)."""
    places = torch.from_numpy(_places(poses)).to(images)
    turns, shifts = (torch.from_numpy(np.stack(one)).to(images) for one in zip(*at, strict=True))
    grid = (torch.einsum("vij,pj->vpi", turns, places) + shifts[:, None])[None].expand(len(images), -1, -1, -1)
    read = torch.nn.functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return read.view(len(images), len(at), -1, 4).mean(dim=3)


@lru_cache(maxsize=3)
def _places(poses: Poses) -> np.ndarray:
    """Float32 (4 D, 2), four places in each of D squares of the middle of an original."""
    side, square = ACROSS[poses], HALF[poses] / ACROSS[poses]
    centres = square * (2 * np.arange(side) + 1 - side)
    rows, columns = np.meshgrid(centres, centres, indexing="ij")
    found = np.stack([columns, rows], axis=-1).reshape(-1, 2)
    if poses == "tilted":
        found = found[np.hypot(*found.T) <= HALF[poses]]
    around = square / 2 * np.array([[-1, -1], [1, -1], [-1, 1], [1, 1]])
    return (found[:, None] + around).reshape(-1, 2).astype(np.float32)
