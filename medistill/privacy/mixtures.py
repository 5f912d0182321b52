"""Mixtures: how much of an image a few originals explain, chosen one after the other (orthogonal matching pursuit)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

ATOMS = 3
"""Originals of which an image may be mixed."""
RIDGE = 1e-4
"""Added to the products of originals of length 1 with themselves, so that one that is chosen twice does no harm."""
NOTHING_LEFT = 0.05
"""Length of what is left of an image of length 1 below which it is rounding, and like nobody."""


def left_unexplained(images: Tensor, originals: Tensor, forbidden: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Length of what `ATOMS` originals leave of each image, in units of its own, and which was chosen first.

    The next original is the one that is most like what is left; its share, and those of the others, are fitted anew.

    Args:
        images: (Q, D) at length 1; zeros are left whole.
        originals: (N, D) at length 1.
        forbidden: bool (Q, N), originals that an image is not mixed of.

    Returns:
        (Q,) and int64 (Q,).
    """
    for left, chosen in _pursued(images, originals, forbidden):
        last, first = left, chosen
    return last.norm(dim=1), first[:, 0]


def stages(images: Tensor, originals: Tensor, forbidden: Tensor) -> Tensor:
    """The images, then what is left of them when one original is taken from them, then two, at length 1.

    Returns:
        (`ATOMS`, Q, D); zeros where nothing is left.
    """
    found = [images]
    for left, _ in _pursued(images, originals, forbidden):
        lengths = left.norm(dim=1, keepdim=True)
        found.append(torch.where(lengths > NOTHING_LEFT, left / lengths.clamp(min=NOTHING_LEFT), 0))
    return torch.stack(found[:ATOMS])


def _pursued(images: Tensor, originals: Tensor, forbidden: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
    """What is left (Q, D) after each original that is taken, and which were chosen so far (Q, 1), (Q, 2), ..."""
    left, chosen = images, torch.empty(len(images), 0, dtype=torch.long, device=images.device)
    for _ in range(min(ATOMS, len(originals))):
        product = left @ originals.T
        if forbidden is not None:
            product = product.masked_fill(forbidden, -torch.inf)
        chosen = torch.cat([chosen, product.argmax(dim=1, keepdim=True)], dim=1)
        atoms = originals[chosen]
        eye = torch.eye(chosen.shape[1], device=images.device)
        shares = torch.linalg.solve(atoms @ atoms.transpose(1, 2) + RIDGE * eye, (atoms @ images[:, :, None]))
        left = images - (atoms * shares).sum(dim=1)
        yield left, chosen
