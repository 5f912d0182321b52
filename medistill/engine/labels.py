"""Labels of the distilled images: one class each, probabilities that are given or learned through their logits,
learned values, or learned target vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from medistill.artifacts.label_kind import LabelKind
from medistill.artifacts.set_problem import VALUE_LIMIT
from medistill.engine.coordinates import Coordinate, Range, UpdateRule, Values, largest_magnitude

LOGIT_LIMIT = 1e3
"""Largest magnitude of a soft label's logit; softmax in float32 is 0 or 1 long before."""


class Labels(Protocol):
    """What the distilled images are labelled with.

    Attributes:
        soft: networks are trained on what is rendered, in place of the classes.
        kind: what that is: probabilities, values to be trained on by the squared error, or target vectors.
    """

    soft: ClassVar[bool]
    kind: ClassVar[LabelKind]

    @property
    def classes(self) -> Float[Tensor, "N classes"]:
        """The class that each image is made for, as probabilities of 0 and 1."""
        ...

    def coordinates(self) -> dict[str, Coordinate]:
        """Return what is learned of them."""
        ...

    def render(self, values: Values) -> Float[Tensor, "N classes"]:
        """Return their probabilities or values."""
        ...

    def pullback(
        self, probabilities: Float[Tensor, "N classes"], grad_labels: Float[Tensor, "N classes"]
    ) -> dict[str, Tensor]:
        """Return the gradients in what is learned, from that in what is rendered."""
        ...


class _Unlearned:
    """What labels that stay as they are have in common."""

    def coordinates(self) -> dict[str, Coordinate]:
        """Return nothing: they are not learned."""
        return {}

    def pullback(
        self, probabilities: Float[Tensor, "N classes"], grad_labels: Float[Tensor, "N classes"]
    ) -> dict[str, Tensor]:
        """Return nothing."""
        return {}


@dataclass(frozen=True)
class HardLabels(_Unlearned):
    """One class an image, which stays.

    Attributes:
        classes: as probabilities of 0 and 1.
    """

    classes: Float[Tensor, "N classes"]
    soft: ClassVar[bool] = False
    kind: ClassVar[LabelKind] = "probabilities"

    def render(self, values: Values) -> Float[Tensor, "N classes"]:
        """Return the classes."""
        return self.classes


@dataclass(frozen=True)
class GivenLabels(_Unlearned):
    """Probabilities that are given and stay.

    Attributes:
        classes: the class that each image is made for, as probabilities of 0 and 1.
        probabilities: what networks are trained on.
    """

    classes: Float[Tensor, "N classes"]
    probabilities: Float[Tensor, "N classes"]
    soft: ClassVar[bool] = True
    kind: ClassVar[LabelKind] = "probabilities"

    def render(self, values: Values) -> Float[Tensor, "N classes"]:
        """Return what was given."""
        return self.probabilities


@dataclass(frozen=True)
class SoftLabels:
    """The softmax of logits, the coordinate ``logits``.

    Attributes:
        classes: the class that each image is made for, as probabilities of 0 and 1.
        logits: where they start.
        rule: how they move.
        setting: the setting to lower where they leave their range.
    """

    classes: Float[Tensor, "N classes"]
    logits: Float[Tensor, "N classes"]
    rule: UpdateRule
    setting: str = "label_lr"
    soft: ClassVar[bool] = True
    kind: ClassVar[LabelKind] = "probabilities"

    def coordinates(self) -> dict[str, Coordinate]:
        """Return the logits."""
        reach = Range(self.setting, largest_magnitude, LOGIT_LIMIT, "the soft labels' logits reach {:.3g}")
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


@dataclass(frozen=True)
class LabelValues:
    """Values that a network is to answer, the coordinate ``label_values``; they are no probabilities.

    Attributes:
        classes: the class that each image is made for, as probabilities of 0 and 1.
        start: where they start.
        rule: how they move.
        setting: the setting to lower where they leave their range.
    """

    classes: Float[Tensor, "N classes"]
    start: Float[Tensor, "N classes"]
    rule: UpdateRule
    setting: str = "label_lr"
    soft: ClassVar[bool] = True
    kind: ClassVar[LabelKind] = "values"
    reached: ClassVar[str] = "the label values reach {:.3g}"

    def coordinates(self) -> dict[str, Coordinate]:
        """Return the values."""
        reach = Range(self.setting, largest_magnitude, VALUE_LIMIT, self.reached)
        return {"label_values": Coordinate(self.start, self.rule, reach, per_image=True)}

    def render(self, values: Values) -> Float[Tensor, "N classes"]:
        """Return them as they are."""
        return values["label_values"]

    def pullback(
        self, probabilities: Float[Tensor, "N classes"], grad_labels: Float[Tensor, "N classes"]
    ) -> dict[str, Tensor]:
        """Return the gradient as it is."""
        return {"label_values": grad_labels}


@dataclass(frozen=True)
class TargetVectors(LabelValues):
    """Vectors of a teacher's width that a network is pretrained to answer, the coordinate ``label_values``; they are of
    no class."""

    kind: ClassVar[LabelKind] = "targets"
    reached: ClassVar[str] = "the target vectors reach {:.3g}"
