"""A course: one network on its way through a training, asked on the way as if the training ended there."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn

from medistill.networks.flat import FlatParameters
from medistill.networks.registry import build_network
from medistill.training.context import Context
from medistill.training.device import precision
from medistill.training.fresh_network import TrainingSet, diverged, finished, micro_batch_of, probabilities
from medistill.training.images import LabelledImages
from medistill.training.loop import Schedule, epochs
from medistill.training.pretraining import pretrained_spec, shown_as
from medistill.training.tail import Tail


class Course:
    """A network in training at a constant rate, which predicts after a length as a training of that length would.

    So one training tells what several lengths are worth. Only where the images have stages, which divide a training
    among them, is each length a training of its own.

    Args:
        data: what it is trained on.
        longest: the longest training, with the rate and the batch of all.
        rng: returns what decides its random numbers, the same at every call.
        context: network, augmentation, precision and device.
    """

    def __init__(
        self,
        data: LabelledImages,
        longest: Schedule,
        rng: Callable[[], torch.Generator],
        context: Context,
    ) -> None:
        self.data, self.longest, self.rng, self.context = data, longest, rng, context
        self.staged = len(data.stages()) > 1
        self.reached, self._tail = 0, Tail(longest.epochs)
        self._at: tuple[nn.Module, FlatParameters, Iterator[int]] | None = None

    def predict(self, schedule: Schedule, shown: LabelledImages, tick: Callable[[int], None]) -> np.ndarray:
        """Return probabilities float32 (N, C) at the end of a schedule that is no shorter than those before.

        Two lengths in updates may be the same whole passes: then both are the same training.

        Args:
            schedule: differs from the longest in its epochs alone.
            shown: what the network is asked about.
            tick: called with the number of finished epochs.

        Raises:
            DivergedError: the parameters or the probabilities left the finite numbers.
        """
        if self._at is None or self.staged:
            self._at, self.reached = self._start(schedule if self.staged else self.longest), 0
        network, flat, walk = self._at
        if self.reached < schedule.epochs:
            self._tail = Tail(schedule.epochs)
        with precision(self.context.recipe.compute.precision, self.context.device):
            while self.reached < schedule.epochs:
                self.reached = next(walk)
                self._tail.add(self.reached, flat.values)
                tick(self.reached)
        stands = flat.values.clone()
        flat.load(self._tail.mean)
        spec, recipe = self.context.spec, self.context.recipe
        try:
            ended = finished(network, flat, TrainingSet(self.data, schedule), spec, recipe)
            found = probabilities(ended, shown, spec, recipe, self.context.device)
        finally:
            flat.load(stands)
        if not np.isfinite(found).all():
            raise diverged(schedule)
        return found

    def _start(self, schedule: Schedule) -> tuple[nn.Module, FlatParameters, Iterator[int]]:
        rng, spec, recipe = self.rng(), self.context.spec, self.context.recipe
        network = build_network(pretrained_spec(spec, self.data), rng, self.context.device)
        flat, size = FlatParameters(network), micro_batch_of(network, spec, recipe)
        walk = epochs(network, flat, self.data, schedule, shown_as(recipe, self.data), rng, micro_batch=size)
        return network, flat, walk
