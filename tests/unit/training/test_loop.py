"""The training loop against torch.optim and torch's own data handling."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from medistill.networks.registry import NetworkSpec, build_network
from medistill.recipe import AugmentationRecipe, NetworkRecipe
from medistill.training.augmentation import augment, draw
from medistill.training.images import LabelledImages
from medistill.training.loop import Schedule, predict_logits, train
from medistill.training.randomness import derive_seed, generator

SPEC = NetworkSpec(NetworkRecipe(depth=2, width=4), 1, 8, 3)


def labelled(count: int = 21) -> LabelledImages:
    numbers = torch.Generator().manual_seed(1)
    images = torch.randn(count, 1, 8, 8, generator=numbers)
    weights = torch.rand(count, generator=numbers) + 0.5
    return LabelledImages.of_floats(images, torch.arange(count) % 3, weights)


def parameters(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in network.parameters()])


@pytest.mark.parametrize("micro_batch", [2, 5, 1000])
@pytest.mark.parametrize("augmentation", [AugmentationRecipe(operations=()), AugmentationRecipe()])
def test_equals_torch_sgd(micro_batch, augmentation):
    data = labelled()
    schedule = Schedule(4, 8, 0.1, momentum=0.9, weight_decay=1e-2, decay_epoch=2)
    mine = build_network(SPEC, generator(0, "network"))
    train(mine, data, schedule, augmentation, generator(0, "order"), micro_batch=micro_batch)

    theirs, numbers = build_network(SPEC, generator(0, "network")), generator(0, "order")
    optimiser = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-2)
    milestones = torch.optim.lr_scheduler.MultiStepLR(optimiser, [2], gamma=0.1)
    for _ in range(4):
        for rows in torch.randperm(21, generator=numbers).split(8):
            drawn = draw(augmentation, len(rows), numbers, torch.device("cpu"))
            logits = theirs(augment(data.pixels[rows], drawn))
            losses = F.cross_entropy(logits, data.labels[rows], reduction="none")
            optimiser.zero_grad()
            (losses * data.weights[rows]).mean().backward()
            optimiser.step()
        milestones.step()
    assert torch.allclose(parameters(mine), parameters(theirs), atol=2e-5)


def test_after_epoch_sees_each_epoch_and_snapshots_do_not_alias():
    seen = []
    train(
        build_network(SPEC, generator(0)),
        labelled(),
        Schedule(3, 8, 0.1),
        AugmentationRecipe(),
        generator(1),
        micro_batch=8,
        after_epoch=lambda epoch, flat: seen.append((epoch, flat.values.cpu().numpy().copy())),
    )
    assert [epoch for epoch, _ in seen] == [1, 2, 3]
    assert not np.array_equal(seen[0][1], seen[1][1])


def test_predict_equals_softmax_of_the_network():
    network, data = build_network(SPEC, generator(0)), labelled()
    told = predict_logits(network, data, micro_batch=4).softmax(dim=1)
    assert torch.allclose(told, F.softmax(network(data.pixels), dim=1), atol=1e-6)
    assert torch.allclose(told.sum(dim=1), torch.ones(21))


def test_seeds_are_the_same_on_every_machine():
    assert derive_seed(0, "expert", 3) == 4391609680479379240  # pinned: another value would change every published run
    assert derive_seed(0, "expert", 3) != derive_seed(0, "expert", 4)
    assert derive_seed(0, "expert", 3) != derive_seed(1, "expert", 3)
    assert torch.equal(torch.rand(3, generator=generator(5, "a")), torch.rand(3, generator=generator(5, "a")))
