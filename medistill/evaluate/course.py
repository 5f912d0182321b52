"""A course: one network on its way through a training, asked on the way as if the training ended there."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn

from medistill.evaluate.protocol import diverged, micro_batch_of, probabilities
from medistill.networks.flat import FlatParameters
from medistill.networks.registry import NetworkSpec, build_network
from medistill.recipe import Recipe
from medistill.training.device import precision
from medistill.training.images import LabelledImages
from medistill.training.loop import Schedule, epochs
from medistill.training.tail import Tail


class Course:
    """A network in training at a constant rate, whose answers after a length are those of a training of that length.

    So one training tells what several lengths are worth. Only where the images have stages, which divide a training
    among them, is each length a training of its own.

    Args:
        data: what it is trained on.
        longest: the longest training, with the rate and the batch of all.
        numbers: makes its random numbers, the same at every call.
    """

    def __init__(
        self,
        data: LabelledImages,
        longest: Schedule,
        spec: NetworkSpec,
        recipe: Recipe,
        numbers: Callable[[], torch.Generator],
        device: torch.device,
    ) -> None:
        self.data, self.longest, self.spec, self.recipe = data, longest, spec, recipe
        self.numbers, self.device = numbers, device
        self.staged = len(data.stages()) > 1
        self.reached, self._tail = 0, Tail(longest.epochs)
        self._at: tuple[nn.Module, FlatParameters, Iterator[int]] | None = None

    def answer(self, schedule: Schedule, shown: LabelledImages, tick: Callable[[int], None]) -> np.ndarray:
        """Probabilities float32 (N, C) of the network at the end of a schedule that is no shorter than those before.

        Two lengths in updates may be the same whole passes: then both are the same training.

        Args:
            schedule: differs from the longest in its epochs alone.
            tick: called with the number of finished epochs.

        Raises:
            DivergedError: the parameters or the probabilities left the finite numbers.
        """
        if self._at is None or self.staged:
            self._at, self.reached = self._start(schedule if self.staged else self.longest), 0
        network, flat, walk = self._at
        if self.reached < schedule.epochs:
            self._tail = Tail(schedule.epochs)
        with precision(self.recipe.compute.precision, self.device):
            while self.reached < schedule.epochs:
                self.reached = next(walk)
                self._tail.add(self.reached, flat.values)
                tick(self.reached)
        stands = flat.values.clone()
        flat.load(self._tail.mean)
        told = probabilities(network, shown, self.spec, self.recipe, self.device)
        flat.load(stands)
        if not np.isfinite(told).all():
            raise diverged(schedule.lr)
        return told

    def _start(self, schedule: Schedule) -> tuple[nn.Module, FlatParameters, Iterator[int]]:
        numbers = self.numbers()
        network = build_network(self.spec, numbers, self.device)
        flat, size = FlatParameters(network), micro_batch_of(network, self.spec, self.recipe)
        walk = epochs(network, flat, self.data, schedule, self.recipe.augmentation, numbers, micro_batch=size)
        return network, flat, walk
