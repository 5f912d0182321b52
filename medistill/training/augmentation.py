"""Differentiable siamese augmentation (DSA, Zhao and Bilen 2021), drawn and applied apart.

A `Draw` holds the random numbers of one batch, an entry an image. It can be sliced with the batch, replayed later, and
applied as a differentiable function of the images: what the exact gradient needs to walk back through a step.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from medistill.recipe import AugmentationRecipe, Operation
from medistill.training.device import sent


@dataclass(frozen=True)
class Draw:
    """Random numbers for one batch.

    Attributes:
        operations: those to apply, in order.
        numbers: for each operation (and each part of ``color``) a float tensor (B,) or (B, 2).
    """

    operations: tuple[Operation, ...]
    numbers: dict[str, Tensor] = field(default_factory=dict)

    def __getitem__(self, rows: slice | Tensor) -> Draw:
        """Return the draw for some of the batch; ``rows`` that repeat an image give others what it drew (siamese)."""
        return Draw(self.operations, {name: values[rows] for name, values in self.numbers.items()})


def draw(recipe: AugmentationRecipe, count: int, generator: torch.Generator, device: torch.device) -> Draw:
    """Draw the numbers for ``count`` images, each its own; ``mode`` single draws one operation for all."""
    operations = recipe.operations
    if not operations:
        return Draw(())
    if recipe.mode == "single":
        operations = (operations[int(torch.randint(len(operations), (), generator=generator))],)
    numbers: dict[str, Tensor] = {}

    def uniform(name: str, low: float, high: float, *columns: int) -> None:
        values = torch.rand(count, *columns, generator=generator)
        numbers[name] = sent(low + (high - low) * values, device)

    for operation in operations:
        match operation:
            case "color":
                uniform("brightness", -recipe.brightness / 2, recipe.brightness / 2)
                uniform("saturation", 0, recipe.saturation)
                uniform("contrast", recipe.contrast, 1 + recipe.contrast)
            case "crop":
                uniform("crop", -recipe.crop, recipe.crop, 2)
            case "cutout":
                uniform("cutout", 0, 1, 2)
                numbers["cutout_size"] = torch.full((count,), recipe.cutout, device=device)
            case "flip":
                uniform("flip", recipe.flip, recipe.flip - 1)  # above zero with probability recipe.flip
            case "scale":
                uniform("scale", 1 / recipe.scale, recipe.scale, 2)
            case "rotate":
                limit = float(torch.deg2rad(torch.tensor(recipe.rotate)))
                uniform("rotate", -limit, limit)
    return Draw(operations, numbers)


def augment(images: Tensor, drawn: Draw) -> Tensor:
    """Apply a draw to (B, C, H, W); differentiable in the images. What is moved in from outside is 0, the mean."""
    for operation in drawn.operations:
        images = _APPLY[operation](images, drawn.numbers)
    return images


def _color(x: Tensor, numbers: dict[str, Tensor]) -> Tensor:
    def per_image(name: str) -> Tensor:
        return numbers[name].to(x.dtype).view(-1, 1, 1, 1)

    x = x + per_image("brightness")
    if x.shape[1] > 1:
        grey = x.mean(dim=1, keepdim=True)
        x = (x - grey) * per_image("saturation") + grey
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    return (x - mean) * per_image("contrast") + mean


def _crop(x: Tensor, numbers: dict[str, Tensor]) -> Tensor:
    height, width = x.shape[2:]
    down, across = numbers["crop"][:, :1] * height, numbers["crop"][:, 1:] * width
    rows = torch.arange(height, device=x.device) + down.round().long()
    columns = torch.arange(width, device=x.device) + across.round().long()
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    batch = torch.arange(len(x), device=x.device)[:, None, None]
    moved = x.permute(0, 2, 3, 1)[batch, rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None, :]]
    return moved.permute(0, 3, 1, 2).contiguous() * inside[:, None].to(x.dtype)  # or networks run in another layout


def _cutout(x: Tensor, numbers: dict[str, Tensor]) -> Tensor:
    height, width = x.shape[2:]
    size, centre = numbers["cutout_size"][:, None], numbers["cutout"]
    in_rows = _within(centre[:, :1] * height, size * height, torch.arange(height, device=x.device))
    in_columns = _within(centre[:, 1:] * width, size * width, torch.arange(width, device=x.device))
    cut = in_rows[:, None, :, None] & in_columns[:, None, None, :]
    return x * (~cut).to(x.dtype)


def _within(centre: Tensor, side: Tensor, places: Tensor) -> Tensor:
    """Return which places (L,) lie within a side about a centre, (B, 1) both, each rounded down: (B, L)."""
    low = centre.floor() - (side / 2).floor()
    return (places >= low) & (places < low + side.floor())


def _flip(x: Tensor, numbers: dict[str, Tensor]) -> Tensor:
    return torch.where((numbers["flip"] > 0).view(-1, 1, 1, 1), x.flip(3), x)


def _scale(x: Tensor, numbers: dict[str, Tensor]) -> Tensor:
    factors = numbers["scale"]
    zero = torch.zeros_like(factors[:, 0])
    return _warp(x, torch.stack([factors[:, 0], zero, zero, zero, factors[:, 1], zero], dim=1))


def _rotate(x: Tensor, numbers: dict[str, Tensor]) -> Tensor:
    angle = numbers["rotate"]
    sine, cosine, zero = angle.sin(), angle.cos(), torch.zeros_like(angle)
    return _warp(x, torch.stack([cosine, -sine, zero, sine, cosine, zero], dim=1))


def _warp(x: Tensor, matrices: Tensor) -> Tensor:
    grid = F.affine_grid(matrices.view(-1, 2, 3).to(x.dtype), list(x.shape), align_corners=True)
    return F.grid_sample(x, grid, align_corners=True)


_APPLY = {
    "color": _color,
    "crop": _crop,
    "cutout": _cutout,
    "flip": _flip,
    "scale": _scale,
    "rotate": _rotate,
}
