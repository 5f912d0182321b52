"""Tiles: stored images cut into parts, each enlarged to the full side, as networks are shown them (IDC).

With f tiles a side, stored image n gives the f^2 images n f^2 to n f^2 + f^2 - 1, row by row from its upper left:

    U(x)[n f^2 + f i + j] = up( x[n, :, i h : (i + 1) h, j w : (j + 1) w] ),  h = H / f, w = W / f

up is bilinear interpolation to H x W with the corners of pixels aligned to those of the image
(`torch.nn.functional.interpolate`, ``align_corners=False``), as the code of Kim et al. (ICML 2022, arXiv:2205.14959)
enlarges them. It lets all images' first tiles go before all images' second ones, and pads a side that f does not divide
with a half; here tiles of an image lie together, and such a side is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


def enlarged(images: Float[Tensor, "N C H W"], tiles: int) -> Float[Tensor, "M C H W"]:
    """Return the f^2 N images that N stored ones give, U(x)."""
    if tiles == 1:
        return images
    from torch.nn.functional import interpolate

    size = (images.shape[2], images.shape[3])
    return interpolate(_cut(images, tiles), size=size, mode="bilinear", align_corners=False)


def gathered(gradient: Float[Tensor, "M C H W"], tiles: int) -> Float[Tensor, "N C H W"]:
    """Return the gradient in N stored images from that in the f^2 N they give: the transpose of `enlarged`."""
    if tiles == 1:
        return gradient
    import torch

    count = len(gradient) // tiles**2
    with torch.enable_grad():
        stored = gradient.new_zeros(count, *gradient.shape[1:]).requires_grad_()
        (found,) = torch.autograd.grad(enlarged(stored, tiles), stored, gradient)
    return found


def collages(images: Float[Tensor, "M C H W"], tiles: int) -> Float[Tensor, "N C H W"]:
    """Return N stored images whose tiles are f^2 N images in the order of `enlarged`, each shrunk to the means of
    f x f pixels."""
    if tiles == 1:
        return images
    from torch.nn.functional import avg_pool2d

    small = avg_pool2d(images, tiles)
    count, (channels, height, width) = len(images) // tiles**2, small.shape[1:]
    parts = small.view(count, tiles, tiles, channels, height, width).permute(0, 3, 1, 4, 2, 5)
    return parts.reshape(count, channels, tiles * height, tiles * width)


def of_each(rows: Tensor, tiles: int) -> Tensor:
    """Return what stored images have (N, ...) of each of the f^2 N images that they give."""
    return rows if tiles == 1 else rows.repeat_interleave(tiles**2, dim=0)


def places(rows: Int[Tensor, " N"], tiles: int) -> Int[Tensor, " M"]:
    """Return the places of the images that some stored ones give, among those that all give."""
    import torch

    count = tiles**2
    return (rows[:, None] * count + torch.arange(count, device=rows.device)).flatten()


def _cut(images: Float[Tensor, "N C H W"], tiles: int) -> Float[Tensor, "M C h w"]:
    """Return the parts of N stored images, those of an image one behind the other."""
    count, channels, height, width = images.shape
    parts = images.reshape(count, channels, tiles, height // tiles, tiles, width // tiles)
    return parts.permute(0, 2, 4, 1, 3, 5).reshape(-1, channels, height // tiles, width // tiles)
