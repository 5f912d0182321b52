"""Settings of images that are compared with originals in every outer step, and move by SGD."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field

from medistill.recipe.outer_loop import OuterLoopRecipe
from medistill.recipe.section import AtMost, Count, CountOrNone, Fraction, Positive, Section


class ComparingRecipe(OuterLoopRecipe):
    """Images that are compared with a batch of originals of each class, step by step."""

    image_lr: Positive = 1.0
    """Learning rate of the images (`lr_img`)."""
    momentum: Fraction = 0.5
    """Momentum of the images' SGD."""
    batch_real: Annotated[Count, AtMost(65_536)] = 256
    """Originals of each class an outer step (`batch_real`)."""


class TrainedNetworksRecipe(Section):
    """Networks trained on the originals, in whose eyes images are compared."""

    count: Annotated[Count, AtMost(1000)] = 20
    """Networks (`pretrain_amount`)."""
    epochs: Annotated[Count, AtMost(1000)] = 60
    """Epochs of each (`pretrain_epochs`)."""
    batch_size: Annotated[Count, AtMost(65_536)] = 64
    """Images an update (`batch_size`)."""
    lr: Positive = 0.01
    """Learning rate of SGD (`lr`)."""
    momentum: Fraction = 0.9
    """Momentum of SGD (`momentum`)."""
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    """L2 penalty (`weight_decay`)."""


class BlendingRecipe(ComparingRecipe):
    """Images that are compared in the eyes of networks between their start and their end, and asked for their classes
    by the latter."""

    class_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the cross-entropy of the images to a trained network; 0 leaves it out."""
    trained: TrainedNetworksRecipe = TrainedNetworksRecipe()

    @property
    def compares_features(self) -> bool:
        return True

    def cut_down(self, *, experts: int, iterations: int) -> Self:
        fewer = self.trained.model_copy(update={"count": min(self.trained.count, experts)})
        return super().cut_down(experts=experts, iterations=iterations).model_copy(update={"trained": fewer})


class QueueRecipe(Section):
    """Networks that learn from originals while images are compared in their eyes."""

    first: Annotated[CountOrNone, AtMost(1000)] = 3
    """Networks that the queue begins with, beside the one that joins in the first step."""
    most: Annotated[Count, AtMost(1000)] = 100
    """Networks that it holds; the oldest makes way (`net_num`). Their parameters and momentum are kept in memory and in
    every checkpoint."""
    every: Annotated[Count, AtMost(100_000)] = 30
    """Outer steps after which another network joins (`net_generate_interval`)."""
    trained: Annotated[CountOrNone, AtMost(100)] = 2
    """Networks that learn at the end of an outer step (`fetch_net_num`); 0 leaves all as they began."""
    steps: Annotated[Count, AtMost(1000)] = 10
    """SGD steps of each of them (`model_train_steps`)."""
    batch_size: Annotated[Count, AtMost(65_536)] = 256
    """Originals of an SGD step, of all classes as they are frequent (`trained_bs`)."""
    lr: Positive = 0.01
    """Learning rate of SGD (`lr_net`)."""
    momentum: Fraction = 0.9
    """Momentum of SGD."""
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    """L2 penalty."""
