"""A queue of networks that learn from originals while images are compared in their eyes (IDM).

It begins with a few fresh networks, and takes in another one every so many outer steps; where it is full the oldest
makes way (Zhao, Li, Qin, Yu 2023). In each step one of them sees the images, and then some of them take a few SGD steps
on batches of originals, without augmentation. What they are is in the state of the run; who is in the queue, who is
drawn and what it learns from depend on the outer step alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from medistill.engine.coordinates import Coordinate, TakenOver, Values
from medistill.engine.sources.fresh import FreshNetworks
from medistill.networks.flat import FlatParameters
from medistill.training.device import sent
from medistill.training.images import LabelledImages
from medistill.training.randomness import generator
from medistill.training.sgd import sgd_step_

TENANTS, ACCURACY = "queue_tenants", "queue_accuracy"
"""Coordinates: the number of the trained network in each place, from 1, 0 for none; and its accuracy on the batches
that it learned from last, in percent."""


@dataclass(frozen=True)
class QueueSettings:
    """How the queue grows and its networks learn.

    Attributes:
        first: networks that it begins with, beside the one that joins in the first step.
        most: networks that it holds.
        every: outer steps after which another one joins.
        trained: networks that learn in a step.
        steps: SGD steps of each.
        batch: originals of an SGD step.
        lr: learning rate.
        momentum: of SGD.
        weight_decay: L2 penalty.
    """

    first: int
    most: int
    every: int
    trained: int
    steps: int
    batch: int
    lr: float
    momentum: float
    weight_decay: float

    def present(self, iteration: int) -> range:
        """Return the numbers of the networks that are in the queue after ``iteration`` finished outer steps."""
        joined = self.first + 1 + iteration // self.every
        return range(max(0, joined - self.most), joined)

    def joined(self, number: int) -> tuple[int, int]:
        """Return how many outer steps were finished when a network joined, and which of that step's it is."""
        return (0, number + 1) if number < self.first else ((number - self.first) * self.every, 0)


Learning = tuple[tuple[int, tuple[Int[Tensor, " B"], ...]], ...]
"""Numbers of the networks that learn in an outer step, each with the rows of the originals of every SGD step."""


@dataclass(frozen=True)
class Queue:
    """A source of networks as they join, and what became of them since.

    Attributes:
        fresh: source of those that join, by the step in which they do.
        originals: what they learn from.
        settings: how it grows and learns.
        iterations: outer steps of the run.
        parameters: of a network, P.
        seed: of the run.
    """

    fresh: FreshNetworks
    originals: LabelledImages
    settings: QueueSettings
    iterations: int
    parameters: int
    seed: int

    @property
    def places(self) -> int:
        """How many networks it holds at most in this run."""
        return min(self.settings.most, self.settings.present(max(0, self.iterations - 1)).stop)

    def coordinates(self) -> dict[str, Coordinate]:
        """Return a network's parameters and velocity (2, P) for each place, who has it, and accuracies."""
        device = self.originals.labels.device
        starts = {self._name(place): torch.zeros(2, self.parameters, device=device) for place in range(self.places)}
        starts[TENANTS] = torch.zeros(self.places, dtype=torch.int64)
        starts[ACCURACY] = torch.zeros(self.places, dtype=torch.float64)
        return {name: Coordinate(start, TakenOver()) for name, start in starts.items()}

    def draw(self, iteration: int, shown: Int[Tensor, " M"], number: int = 0) -> nn.Module:
        """Return the network whose turn it is to see the images, as it was when it joined."""
        return self._joining(self.seeing(iteration))

    def seeing(self, iteration: int) -> int:
        """Draw the number of the network that sees the images in an outer step."""
        present = self.settings.present(iteration)
        rng = generator(self.seed, "queue", iteration)
        return present[int(torch.randint(len(present), (), generator=rng))]

    def learning(self, iteration: int) -> Learning:
        """Draw the numbers of the networks that learn at the end of an outer step, and what from."""
        settings, rng = self.settings, generator(self.seed, "queue learns", iteration)
        present, device = settings.present(iteration), self.originals.labels.device
        chosen = torch.randperm(len(present), generator=rng)[: settings.trained].tolist()
        return tuple((present[one], self._batches(rng, device)) for one in chosen)

    def now(self, learned: Values, number: int, joining: nn.Module) -> tuple[nn.Module, float]:
        """Return a network as it is now, and its accuracy in training, in percent; 0 of one that has not learned yet.

        Args:
            learned: the coordinates of the run.
            number: of the network.
            joining: the network as it joined, whose parameters are overwritten.
        """
        place = number % self.places
        if int(learned[TENANTS][place]) != number + 1:
            return joining, 0.0
        FlatParameters(joining).load(learned[self._name(place)][0])
        return joining, float(learned[ACCURACY][place])

    def after(self, learned: Values, learning: Learning, micro_batch: int) -> dict[str, Tensor]:
        """Return the queue's coordinates after some of its networks have learned."""
        tenants, accuracy = learned[TENANTS].clone(), learned[ACCURACY].clone()
        after = {self._name(place): learned[self._name(place)] for place in range(self.places)}
        for number, batches in learning:
            place = number % self.places
            before = after[self._name(place)] if int(tenants[place]) == number + 1 else self._beginning(number)
            after[self._name(place)], accuracy[place] = self._taught(number, before, batches, micro_batch)
            tenants[place] = number + 1
        return {**after, TENANTS: tenants, ACCURACY: accuracy}

    def _taught(
        self, number: int, before: Float[Tensor, "2 P"], batches: Sequence[Int[Tensor, " B"]], micro_batch: int
    ) -> tuple[Float[Tensor, "2 P"], float]:
        """Return a network's parameters and velocity after SGD steps, and its accuracy on their batches, in percent."""
        settings, network = self.settings, self._joining(number).requires_grad_(True).train()
        flat, velocity = FlatParameters(network), before[1].clone()
        flat.load(before[0])
        right = torch.zeros((), dtype=torch.int64, device=velocity.device)
        for rows in batches:
            flat.gradient.zero_()
            for some in rows.split(micro_batch):
                labels = self.originals.labels[some]
                logits = network(self.originals.batch(some)).float()
                (F.cross_entropy(logits, labels, reduction="sum") / len(rows)).backward()
                right += (logits.argmax(dim=1) == labels).sum()
            decay, momentum = settings.weight_decay, settings.momentum
            sgd_step_(flat.values, velocity, flat.gradient, lr=settings.lr, momentum=momentum, weight_decay=decay)
        return torch.stack([flat.values, velocity]), 100 * int(right) / sum(len(rows) for rows in batches)

    def _batches(self, rng: torch.Generator, device: torch.device) -> tuple[Int[Tensor, " B"], ...]:
        """Draw the rows of each SGD step, without repeats in a step."""
        count, size = len(self.originals), self.settings.batch
        steps = range(self.settings.steps)
        return tuple(sent(torch.randperm(count, generator=rng)[:size], device) for _ in steps)

    def _joining(self, number: int) -> nn.Module:
        """Return a network as it joins."""
        iteration, of_step = self.settings.joined(number)
        return self.fresh.draw(iteration, torch.arange(0), of_step)

    def _beginning(self, number: int) -> Float[Tensor, "2 P"]:
        """Return the parameters of a network as it joins, and no velocity."""
        theta = FlatParameters(self._joining(number)).values
        return torch.stack([theta, torch.zeros_like(theta)])

    def _name(self, place: int) -> str:
        """Return the coordinate of a place."""
        return f"queue_{place:03d}"
