"""Experts trained side by side are those trained one by one."""

from __future__ import annotations

import pytest
import torch

from medistill.networks.flat import FlatParameters
from medistill.networks.registry import NetworkSpec, build_network
from medistill.recipe import AugmentationRecipe, NetworkRecipe
from medistill.training.batched import train_batched
from medistill.training.images import LabelledImages
from medistill.training.loop import Schedule, train
from medistill.training.randomness import generator

PLAIN = Schedule(2, 8, 0.05)


def labelled(dtype: torch.dtype) -> LabelledImages:
    numbers = torch.Generator().manual_seed(5)
    images = torch.randn(21, 1, 16, 16, generator=numbers).to(dtype)
    labels = torch.randint(3, (21,), generator=numbers)
    return LabelledImages.of_floats(images, labels, torch.rand(21, generator=numbers).to(dtype))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize(
    ("schedule", "augmentation", "network", "micro_batch"),
    [
        (PLAIN, AugmentationRecipe(), NetworkRecipe(depth=2, width=4), 8),
        (PLAIN, AugmentationRecipe(mode="all"), NetworkRecipe(depth=2, width=4), 3),
        (Schedule(3, 8, 0.05, 0.9, 1e-2, decay_epoch=2), AugmentationRecipe(), NetworkRecipe(depth=2, width=4), 8),
        (Schedule(2, 8, 0.05, sharpness=0.1), AugmentationRecipe(), NetworkRecipe(depth=2, width=4), 3),
        (Schedule(2, 8, 0.05, sharpness=0.1, surrogate_gap=0.3), AugmentationRecipe(), NetworkRecipe(depth=1), 8),
    ],
    ids=["plain", "micro-batches", "momentum and decay", "SAM", "GSAM"],
)
def test_together_is_one_by_one(schedule, augmentation, network, micro_batch, dtype, tolerance):
    data, spec, count = labelled(dtype), NetworkSpec(network, 1, 16, 3), 3

    def fresh(k: int) -> tuple[torch.nn.Module, torch.Generator]:
        numbers = generator(0, "expert", k)
        return build_network(spec, numbers).to(dtype), numbers

    alone: list[list[torch.Tensor]] = []
    for k in range(count):
        walk: list[torch.Tensor] = []
        one, numbers = fresh(k)
        train(
            one,
            data,
            schedule,
            augmentation,
            numbers,
            micro_batch=micro_batch,
            after_epoch=lambda epoch, flat, walk=walk: walk.append(flat.values.clone()),
        )
        alone.append(walk)
    networks, generators = zip(*(fresh(k) for k in range(count)), strict=True)
    starts = torch.stack([FlatParameters(one).values for one in networks])
    walks: list[torch.Tensor] = []
    end = train_batched(
        networks,
        data,
        schedule,
        augmentation,
        generators,
        micro_batch=micro_batch,
        after_epoch=lambda epoch, values: walks.append(values.clone()),
    )
    together = torch.stack(walks, dim=1)
    expected = torch.stack([torch.stack(walk) for walk in alone])
    assert together.shape == expected.shape == (count, schedule.epochs, starts.shape[1])
    assert torch.equal(end, together[:, -1])
    moved = (expected[:, -1] - starts).norm(dim=1)
    assert bool((moved > 1e-3).all())
    error = (together - expected).norm(dim=2) / expected.norm(dim=2)
    assert float(error.max()) <= tolerance
