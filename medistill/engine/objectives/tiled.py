"""Tiled: any objective, of the images that stored ones give when they are cut into tiles and these are enlarged.

With U the cut and the enlargement (`medistill.artifacts.tiles`), which is linear, the objective has U(X) in place of X,
and every label and weight as often as its image has tiles:

    dL/dX = U^T dL/dU,  dL/dy[n] = sum over tiles t of n of dL/dy[t]
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from jaxtyping import Int
from torch import Tensor

from medistill.artifacts.tiles import enlarged, gathered, of_each, places
from medistill.engine.coordinates import Values
from medistill.engine.images import Images
from medistill.engine.objectives.around import Around
from medistill.engine.objectives.base import Evaluation, Objective
from medistill.progress import Progress
from medistill.training.device import Precision


class Tiled(Around[Any]):
    """An objective of tiles.

    Args:
        inner: the objective; it sees f^2 N images.
        tiles: of a side of a stored image, f.
    """

    def __init__(self, inner: Objective[Any], tiles: int) -> None:
        super().__init__(inner)
        self.tiles = tiles

    def draw(self, iteration: int, shown: Int[Tensor, " M"]) -> Any:
        """Draw what the objective inside does, of all tiles of the images that take part."""
        return self.inner.draw(iteration, places(shown, self.tiles))

    def evaluate(self, images: Images, learned: Values, drawn: Any, micro_batch: int) -> Evaluation:
        """Return the objective's loss at the tiles, and its gradients in the stored images and their labels."""
        found = self.inner.evaluate(self._seen(images), learned, drawn, micro_batch)
        by_tile = found.grad_labels.view(len(images.labels), self.tiles**2, -1)
        return replace(found, grad_images=gathered(found.grad_images, self.tiles), grad_labels=by_tile.sum(dim=1))

    def check(self, images: Images, drawn: Any, micro_batch: int, precision: Precision, progress: Progress) -> None:
        """Have the objective check its way of computing the gradients, at the tiles."""
        self.inner.check(self._seen(images), drawn, micro_batch, precision, progress)

    def batch_size(self, shown: int) -> int:
        """Return how many tiles, or what the objective compares them with, pass a network in one step."""
        return self.inner.batch_size(shown * self.tiles**2)

    def _seen(self, images: Images) -> Images:
        """Return the tiles, enlarged; they move along a gradient as the stored images do, U U^T."""
        return Images(
            pixels=enlarged(images.pixels, self.tiles),
            labels=of_each(images.labels, self.tiles),
            weights=of_each(images.weights, self.tiles),
            descent=lambda gradient: enlarged(images.descent(gathered(gradient, self.tiles)), self.tiles),
        )
