"""Taught originals: a batch of each class, with what a frozen teacher sees in each image beside it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from medistill.engine.sources.originals import Originals
from medistill.training.device import sent
from medistill.training.images import LabelledImages


@dataclass(frozen=True, eq=False)
class TaughtOriginals:
    """A source of training images whose labels are target vectors.

    Attributes:
        originals: what is drawn.
        targets: (N, width) of all images of the corpus, may be a memory map; a batch alone is read.
    """

    originals: Originals
    targets: np.ndarray

    @property
    def count(self) -> int:
        """How many are drawn for an outer step."""
        return self.originals.count

    def draw(self, iteration: int, shown: Int[Tensor, " M"], number: int = 0) -> LabelledImages:
        """Draw the same as the originals are without a teacher; arguments as for `Originals.draw`."""
        images = self.originals.draw(iteration, shown, number)
        taught = sent(torch.from_numpy(self.targets[self.originals.rows(iteration, number)]), images.labels.device)
        return replace(images, soft_labels=taught.float(), label_kind="targets")
