"""Labels of the distilled images: one class each, or probabilities that are learned through their logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from medistill.engine.coordinates import Coordinate, Range, UpdateRule, Values, largest_magnitude

LOGIT_LIMIT = 1e3
"""Largest magnitude of a soft label's logit; softmax in float32 is 0 or 1 long before."""


class Labels(Protocol):
    """What the distilled images are labelled with.

    Attributes:
        soft: networks are trained on the probabilities, in place of the classes.
    """

    soft: ClassVar[bool]

    @property
    def classes(self) -> Float[Tensor, "N classes"]:
        """The class that each image is made for, as probabilities of 0 and 1."""
        ...

    def coordinates(self) -> dict[str, Coordinate]:
        """Return what is learned of them."""
        ...

    def render(self, values: Values) -> Float[Tensor, "N classes"]:
        """Return their probabilities."""
        ...

    def pullback(
        self, probabilities: Float[Tensor, "N classes"], grad_labels: Float[Tensor, "N classes"]
    ) -> dict[str, Tensor]:
        """Return the gradients in what is learned, from that in the probabilities."""
        ...


@dataclass(frozen=True)
class HardLabels:
    """One class an image, which stays.

    Attributes:
        classes: as probabilities of 0 and 1.
    """

    classes: Float[Tensor, "N classes"]
    soft: ClassVar[bool] = False

    def coordinates(self) -> dict[str, Coordinate]:
        """Return nothing: they are not learned."""
        return {}

    def render(self, values: Values) -> Float[Tensor, "N classes"]:
        """Return the classes."""
        return self.classes

    def pullback(
        self, probabilities: Float[Tensor, "N classes"], grad_labels: Float[Tensor, "N classes"]
    ) -> dict[str, Tensor]:
        """Return nothing."""
        return {}


@dataclass(frozen=True)
class SoftLabels:
    """The softmax of logits, the coordinate ``logits``.

    Attributes:
        classes: the class that each image is made for, as probabilities of 0 and 1.
        logits: where they start.
        rule: how they move.
    """

    classes: Float[Tensor, "N classes"]
    logits: Float[Tensor, "N classes"]
    rule: UpdateRule
    soft: ClassVar[bool] = True

    def coordinates(self) -> dict[str, Coordinate]:
        """Return the logits."""
        reach = Range("label_lr", largest_magnitude, LOGIT_LIMIT, "the soft labels' logits reach {:.3g}")
        return {"logits": Coordinate(self.logits, self.rule, reach, per_image=True)}

    def render(self, values: Values) -> Float[Tensor, "N classes"]:
        """Return the softmax of the logits."""
        return F.softmax(values["logits"], dim=1)

    def pullback(
        self, probabilities: Float[Tensor, "N classes"], grad_labels: Float[Tensor, "N classes"]
    ) -> dict[str, Tensor]:
        """Return the gradient in the logits, ``p * (d - <d, p>)`` with d that in the probabilities p."""
        along = (grad_labels * probabilities).sum(dim=1, keepdim=True)
        return {"logits": probabilities * (grad_labels - along)}
