"""Ridge: the classifier that ridge regression finds on the images' features is good at originals (CLP-DD).

With phi the features less a centre and divided by a spread, s those of the N distilled images, t those of originals, Y
the images' labels as probabilities less 1 / classes, and q the share of each original in a mean in which every class
counts alike, W is the `medistill.engine.ridge_solution` of phi_s and Y, and

    L = sum over t of q[t] CE(softmax(phi_t W / temperature), y[t])

(Peng et al. 2026, arXiv:2605.07194), so that E = dL/d(phi_t W) = q (p - y) / temperature.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from medistill.engine.coordinates import Values
from medistill.engine.images import Images
from medistill.engine.objectives.base import Evaluation, Objective
from medistill.engine.ridge_solution import solve
from medistill.engine.sources.base import Source
from medistill.engine.sources.encoded_originals import EncodedBatch


@dataclass(frozen=True)
class DrawnOriginals:
    """What an outer step compares with.

    Attributes:
        originals: their features.
        shown: rows of the distilled images that take part.
    """

    originals: EncodedBatch
    shown: Int[Tensor, " M"]


@dataclass(frozen=True, eq=False)
class Ridge(Objective[DrawnOriginals]):
    """The loss on originals of the images' own ridge classifier, with its exact gradient in closed form.

    Attributes:
        originals: source of what the classifier is asked about.
        classes: its outputs.
        centre: (D,) subtracted from features.
        spread: (D,) that they are then divided by, above 0.
        ridge: lambda as a share of the mean of K's diagonal, above 0.
        temperature: what its answers are divided by before the softmax.
    """

    originals: Source[EncodedBatch]
    classes: int
    centre: Float[Tensor, " D"]
    spread: Float[Tensor, " D"]
    ridge: float
    temperature: float

    def draw(self, iteration: int, shown: Int[Tensor, " M"]) -> DrawnOriginals:
        """Draw originals."""
        return DrawnOriginals(self.originals.draw(iteration, shown), shown)

    def evaluate(self, images: Images, learned: Values, drawn: DrawnOriginals, micro_batch: int) -> Evaluation:
        """Return the loss at features, which stand in the place of pixels, (N, D), and its gradients.

        Raises:
            DivergedError: the kernel matrix is not positive: the features are not finite, or 0 for every image.
        """
        phi_s = (images.pixels[drawn.shown].double() - self.centre) / self.spread
        phi_t = (drawn.originals.features - self.centre) / self.spread
        targets = images.labels[drawn.shown].double() - 1 / self.classes
        truth = F.one_hot(drawn.originals.labels, self.classes).double()
        solution = solve(phi_s, targets, self.ridge)
        logits = phi_t @ solution.weight / self.temperature
        log_p, share = F.log_softmax(logits, dim=1), drawn.originals.share[:, None]
        loss = float(-(share * truth * log_p).sum())
        e = share * (log_p.exp() - truth) / self.temperature
        cotangent, p = solution.back(e.T @ phi_t)
        gradient, of_labels = torch.zeros_like(images.pixels), torch.zeros_like(images.labels)
        gradient[drawn.shown] = (cotangent / self.spread).to(gradient.dtype)
        of_labels[drawn.shown] = p.to(of_labels.dtype)
        return Evaluation(loss, gradient, of_labels, {})
