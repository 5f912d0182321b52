"""Passes: what a network is trained on between two outer steps, the distilled images or originals."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn import functional as F

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.normalisation import Normalisation
from medistill.encoders.encoder import Encoder
from medistill.engine.images import Images
from medistill.engine.loops import DrawnTraining
from medistill.engine.segment import StudentSteps
from medistill.recipe import AugmentationRecipe
from medistill.training.augmentation import draw
from medistill.training.device import sent
from medistill.training.encoded import seen_by
from medistill.training.images import LabelledImages
from medistill.training.randomness import generator


@dataclass(frozen=True)
class ImagePasses:
    """Passes over the distilled images that take part, shuffled anew each time.

    Attributes:
        passes: between two outer steps.
        batch: images of a step, the last of a pass may have fewer.
        augmentation: drawn anew for every step.
        seed: of the run.
    """

    passes: int
    batch: int
    augmentation: AugmentationRecipe
    seed: int

    def largest(self, shown: int) -> int:
        """Return the most images of a step."""
        return min(self.batch, shown)

    def draw(self, iteration: int, shown: Int[Tensor, " M"]) -> DrawnTraining | None:
        """Draw the passes before an outer iteration; None where there are none."""
        if not self.passes:
            return None
        rng = generator(self.seed, "passes over the images", iteration)
        batches: list[Tensor] = []
        for _ in range(self.passes):
            order = sent(torch.randperm(len(shown), generator=rng), shown.device)
            batches.extend(shown[order].split(self.batch))
        return DrawnTraining(_steps(batches, self.augmentation, rng))


@dataclass(frozen=True)
class OriginalPasses:
    """A pass over originals, drawn anew from all training images of the classes, each as likely.

    Attributes:
        corpus: whose training split it is.
        class_ids: classes of the corpus that are drawn from, ascending.
        count: originals between two outer steps; all where there are fewer.
        batch: of a step, the last may have fewer.
        augmentation: drawn anew for every step.
        normalisation: of what is drawn.
        classes: outputs of the network.
        seed: of the run.
        device: where they are put.
        encoder: what sees them; a batch is then of features.
    """

    corpus: Corpus
    class_ids: tuple[int, ...]
    count: int
    batch: int
    augmentation: AugmentationRecipe
    normalisation: Normalisation
    classes: int
    seed: int
    device: torch.device
    encoder: Encoder | None = None

    @cached_property
    def _rows(self) -> np.ndarray:
        train = self.corpus.rows("train")
        return train[np.isin(self.corpus.labels[train], self.class_ids)]

    def largest(self, shown: int) -> int:
        """Return the most originals of a step."""
        return min(self.batch, self.count, len(self._rows))

    def draw(self, iteration: int, shown: Int[Tensor, " M"]) -> DrawnTraining:
        """Draw the pass before an outer iteration."""
        rng = generator(self.seed, "pass over originals", iteration)
        rows = self._rows[torch.randperm(len(self._rows), generator=rng)[: self.count].numpy()]
        images = LabelledImages.of_corpus(self.corpus, rows, self.normalisation, self.device)
        seen = seen_by(self.encoder, images, self.device)
        labels = F.one_hot(seen.labels, self.classes).float()
        batches = list(torch.arange(len(seen), device=self.device).split(self.batch))
        originals = Images(seen.batch(slice(None)), labels, torch.ones_like(labels[:, 0]))
        return DrawnTraining(_steps(batches, self.augmentation, rng), originals)


def _steps(batches: list[Tensor], augmentation: AugmentationRecipe, rng: torch.Generator) -> StudentSteps:
    """Return the steps of some batches, with an augmentation of each image."""
    return StudentSteps(batches, [draw(augmentation, len(rows), rng, rows.device) for rows in batches])
