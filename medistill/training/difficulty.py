"""Difficulty: which training images an expert sees in which epoch, easy ones first, the easiest left out later (PAD).

An image is as difficult as networks err on it early in their training, by EL2N (Paul, Ganguli, Dziugaite 2021):

    d(x, y) = mean over networks of || softmax(f(x)) - onehot(y) ||

PAD (Li et al. 2024) orders by GraNd, the norm of the gradient, of which this is the cheap form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from medistill.recipe.experts import SelectionRecipe


@dataclass(frozen=True)
class Curriculum:
    """The rows that an epoch trains on.

    Attributes:
        settings: how many, and when.
        epochs: of the training.
        order: rows of each class, the easiest first.
    """

    settings: SelectionRecipe
    epochs: int
    order: tuple[Int[Tensor, " n"], ...]

    def rows(self, epoch: int) -> Int[Tensor, " M"]:
        """Return the rows of an epoch, counted from 0, class by class."""
        first, last = self.shares(epoch)
        return torch.cat([rows[int(first * len(rows)) : max(1, int(last * len(rows)))] for rows in self.order])

    def shares(self, epoch: int) -> tuple[float, float]:
        """Return from which to which share of each class, by difficulty, an epoch takes."""
        settings = self.settings
        if epoch <= settings.grown_at * self.epochs:
            grown = epoch / (settings.grown_at * self.epochs) if settings.grown_at else 1.0
            return 0.0, min(1.0, settings.start_share + (1 - settings.start_share) * grown)
        if epoch > settings.drop_last_at * self.epochs:
            return settings.drop_last, 1.0
        return (settings.drop_first if epoch > settings.drop_first_at * self.epochs else 0.0), 1.0


def el2n(logits: Sequence[Float[Tensor, "N classes"]], labels: Int[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Return the difficulty of each image from the answers of several networks."""
    targets = F.one_hot(labels, logits[0].shape[1]).to(logits[0].dtype)
    return torch.stack([(F.softmax(one, dim=1) - targets).norm(dim=1) for one in logits]).mean(dim=0)


def by_difficulty(scores: Float[Tensor, " N"], labels: Int[Tensor, " N"]) -> tuple[Int[Tensor, " n"], ...]:
    """Return the rows of each class that there is, the easiest first; rows as easy as one another as they lie."""
    order = scores.argsort(stable=True)
    return tuple(order[labels[order] == label] for label in labels.unique())
