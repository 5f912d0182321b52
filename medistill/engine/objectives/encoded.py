"""Encoded: any objective, of what a frozen encoder sees in the images in place of the images.

With F the encoder and A_k the view of image k that an outer step draws, the objective has the features F(A_k X_k) where
it would have pixels. What it gives back, dL/dF, is pulled back to dL/dX once, a micro-batch at a time: exact, however
many steps of a student the objective unrolled, since all of them saw the same features. The
graphs of the first images are kept until then (`GRAPHS`); others pass the encoder a second time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.func import jvp

from medistill.artifacts.normalisation import Normalisation
from medistill.encoders.encoder import Encoder
from medistill.engine.coordinates import Values
from medistill.engine.images import Images
from medistill.engine.objectives.around import Around
from medistill.engine.objectives.base import Evaluation, Objective
from medistill.progress import Progress
from medistill.recipe import AugmentationRecipe
from medistill.training.augmentation import Draw, augment, draw
from medistill.training.device import Precision, precision
from medistill.training.randomness import generator

GRAPHS = 2**19
"""Pixels of the images whose graphs are kept: 32 images of 128 x 128, some 600 MB for EfficientNet-Lite0."""
Graphs = dict[int, tuple[Tensor, Tensor]]
"""Piece of the images -> their pixels and features, with the graph between them."""


@dataclass(frozen=True)
class DrawnViews:
    """What an outer step compares with.

    Attributes:
        inner: as the objective drew it.
        shown: rows of the images that take part.
        views: how each of these is augmented before the encoder sees it.
    """

    inner: Any
    shown: Int[Tensor, " M"]
    views: Draw


class Encoded(Around[DrawnViews]):
    """An objective of features. The encoder runs in fp32, whatever the precision of the run.

    Args:
        inner: the objective; it never sees a pixel.
        encoder: on the device of the images.
        normalisation: of the images.
        augmentation: of the views, drawn anew for every outer step and image; one without operations shows the images
            as they are.
        seed: of the run.
    """

    def __init__(
        self,
        inner: Objective[Any],
        encoder: Encoder,
        normalisation: Normalisation,
        augmentation: AugmentationRecipe,
        seed: int,
    ) -> None:
        super().__init__(inner)
        self.encoder, self.augmentation, self.seed = encoder, augmentation, seed
        device = encoder.centre.device
        self._mean = torch.tensor(normalisation.mean, device=device).view(1, -1, 1, 1)
        self._std = torch.tensor(normalisation.std, device=device).view(1, -1, 1, 1)

    def draw(self, iteration: int, shown: Int[Tensor, " M"]) -> DrawnViews:
        """Draw what the objective draws, and a view of every image that takes part."""
        views = draw(self.augmentation, len(shown), generator(self.seed, "views", iteration), shown.device)
        return DrawnViews(self.inner.draw(iteration, shown), shown, views)

    def evaluate(self, images: Images, learned: Values, drawn: DrawnViews, micro_batch: int) -> Evaluation:
        """Return the objective's loss at the features, its gradients, and dL/dX in place of dL/dF."""
        graphs: Graphs = {}
        seen = self._seen(images, drawn, micro_batch, graphs)
        found = self.inner.evaluate(seen, learned, drawn.inner, micro_batch)
        return replace(found, grad_images=self._pulled_back(images, drawn, found.grad_images, micro_batch, graphs))

    def check(
        self, images: Images, drawn: DrawnViews, micro_batch: int, precision: Precision, progress: Progress
    ) -> None:
        """Have the objective check its way of computing the gradients, at the features."""
        self.inner.check(self._seen(images, drawn, micro_batch), drawn.inner, micro_batch, precision, progress)

    def _seen(self, images: Images, drawn: DrawnViews, micro_batch: int, graphs: Graphs | None = None) -> Images:
        """Return the features of the images that take part; of others, zeros.

        Args:
            images: the distilled ones.
            drawn: their views.
            micro_batch: images that pass the encoder at once, at most.
            graphs: taken from pixels to features of the first pieces, by piece; None keeps none.
        """
        features = images.pixels.new_zeros(len(images.pixels), self.encoder.dimension)
        with precision("fp32", features.device):
            seen = 0
            for piece, some in enumerate(self._pieces(drawn, micro_batch)):
                seen += len(some)
                keeps = graphs is not None and seen * images.pixels[0, 0].numel() <= GRAPHS
                pixels, shown = self._shown(images, drawn, some, graph=keeps)
                features[drawn.shown[some]] = shown.detach()
                if keeps and graphs is not None:
                    graphs[piece] = pixels, shown
        return replace(
            images, pixels=features, descent=lambda gradient: self._descent(images, drawn, gradient, micro_batch)
        )

    def _shown(
        self, images: Images, drawn: DrawnViews, some: Int[Tensor, " B"], *, graph: bool
    ) -> tuple[Float[Tensor, "B C H W"], Float[Tensor, "B D"]]:
        """Return the pixels at some places and their features, with the graph from one to the other where asked for."""
        pixels = images.pixels[drawn.shown[some]].detach().requires_grad_(graph)
        with torch.set_grad_enabled(graph):
            return pixels, self._of_view(augment(pixels, drawn.views[some]))

    def _pulled_back(
        self,
        images: Images,
        drawn: DrawnViews,
        grad_features: Float[Tensor, "N D"],
        micro_batch: int,
        graphs: Graphs | None = None,
    ) -> Float[Tensor, "N C H W"]:
        """Return dL/dX, with no pass of the encoder for images that the objective did not touch."""
        gradient, kept = torch.zeros_like(images.pixels), graphs or {}
        with precision("fp32", gradient.device):
            for piece, some in enumerate(self._pieces(drawn, micro_batch)):
                touched = (grad_features[drawn.shown[some]] != 0).any(dim=1)  # what is not a number differs from 0 too
                if not bool(touched.any()):
                    continue
                taken = some if piece in kept else some[touched]
                pixels, shown = kept.pop(piece) if piece in kept else self._shown(images, drawn, taken, graph=True)
                rows = drawn.shown[taken]
                (gradient[rows],) = torch.autograd.grad(shown, pixels, grad_features[rows].to(shown.dtype))
        return gradient

    def _descent(
        self, images: Images, drawn: DrawnViews, gradient: Float[Tensor, "N D"], micro_batch: int
    ) -> Float[Tensor, "N D"]:
        """Return J J^T dl/dF of every image: how its features move as its pixels move along dl/dX."""
        along = images.descent(self._pulled_back(images, drawn, gradient, micro_batch))
        moved = torch.zeros_like(gradient)
        with precision("fp32", moved.device):
            for some in self._pieces(drawn, micro_batch):
                rows, views = drawn.shown[some], drawn.views[some]
                still = torch.zeros_like(along[rows])
                of_view = augment(along[rows], views) - augment(still, views)  # a view is affine in the image
                view = augment(images.pixels[rows], views)
                moved[rows] = jvp(self._of_view, (view,), (of_view,))[1].to(moved.dtype)
        return moved

    def _pieces(self, drawn: DrawnViews, micro_batch: int) -> tuple[Tensor, ...]:
        """Return the places among the shown images that pass the encoder together."""
        places = torch.arange(len(drawn.shown), device=drawn.shown.device)
        return places.split(min(micro_batch, self.encoder.batch(drawn.shown.device)))

    def _of_view(self, view: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D"]:
        return self.encoder.features(view * self._std + self._mean)
