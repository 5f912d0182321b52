"""The losses of networks that are trained on values or target vectors, where labels are no probabilities."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def squared_errors(outputs: Float[Tensor, "B C"], values: Float[Tensor, "B C"]) -> Float[Tensor, " B"]:
    """Return half the squared distance between each image's outputs and its values, |f(x) - y|^2 / 2.

    Its gradient in the outputs, f(x) - y, is of the size of that of the cross-entropy, p - y, so that learning rates
    carry over.
    """
    return (outputs - values).square().sum(dim=1) / 2


def mean_squares(outputs: Float[Tensor, "B D"], targets: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
    """Return the mean of the squares of what each image's outputs lack to its target vector, |f(x) - y|^2 / D.

    A mean and no sum, so that a learning rate suits teachers of any width.
    """
    return (outputs - targets).square().mean(dim=1)
