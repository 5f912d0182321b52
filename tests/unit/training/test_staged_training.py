"""Training on sets with stages and soft labels, against torch.optim on the rows that each stage should show."""

from __future__ import annotations

import pytest
import torch

from medistill.networks.registry import NetworkSpec, build_network
from medistill.recipe import AugmentationRecipe, NetworkRecipe
from medistill.training.images import LabelledImages
from medistill.training.loop import Schedule, train
from medistill.training.randomness import generator

SPEC = NetworkSpec(NetworkRecipe(depth=1, width=4), 1, 8, 3)
PLAIN = AugmentationRecipe(operations=())
IMAGES = torch.randn(9, 1, 8, 8, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(9) % 3
SOFT = torch.rand(9, 3, generator=torch.Generator().manual_seed(2)).softmax(dim=1)


def trained(data: LabelledImages, epochs: int = 5) -> torch.Tensor:
    network = build_network(SPEC, generator(0, "network"))
    schedule = Schedule(epochs, 4, 0.1, momentum=0.9, decay_epoch=3)
    return train(network, data, schedule, PLAIN, generator(0, "order"), micro_batch=2).values


def by_torch(rows_of_epoch: list[torch.Tensor], targets: torch.Tensor) -> torch.Tensor:
    network, numbers = build_network(SPEC, generator(0, "network")), generator(0, "order")
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    criterion = torch.nn.CrossEntropyLoss()
    for epoch, shown in enumerate(rows_of_epoch):
        optimiser.param_groups[0]["lr"] = 0.01 if epoch >= 3 else 0.1
        for rows in shown[torch.randperm(len(shown), generator=numbers)].split(4):
            optimiser.zero_grad()
            criterion(network(IMAGES[rows]), targets[rows]).backward()
            optimiser.step()
    return torch.cat([p.detach().reshape(-1) for p in network.parameters()])


@pytest.mark.parametrize("soft", [None, SOFT])
@pytest.mark.parametrize("numbers", [(0, 1, 2), (1, 3, 7)])
def test_each_part_of_the_epochs_shows_the_stages_up_to_its_own(soft, numbers):
    """Five epochs in three stages: 1, 2 and 2. Gaps between a set's stage numbers make no empty part."""
    stage = torch.tensor([*numbers, *numbers, numbers[2], numbers[0], numbers[1]])
    data = LabelledImages.of_floats(IMAGES, LABELS, soft_labels=soft, stage=stage)
    first, second, third = torch.tensor([0, 3, 7]), torch.tensor([0, 1, 3, 4, 7, 8]), torch.arange(9)
    expected = by_torch([first, second, second, third, third], LABELS if soft is None else soft)
    assert torch.allclose(trained(data), expected, atol=2e-5)


def test_label_values_are_trained_on_by_half_the_squared_error():
    values = 2 * SOFT - 1
    data = LabelledImages.of_floats(IMAGES, LABELS, soft_labels=values, label_kind="values")
    network, numbers = build_network(SPEC, generator(0, "network")), generator(0, "order")
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for _ in range(3):
        for rows in torch.randperm(9, generator=numbers).split(4):
            optimiser.zero_grad()
            wanted = values[rows]
            (torch.nn.functional.mse_loss(network(IMAGES[rows]), wanted, reduction="sum") / 2 / len(rows)).backward()
            optimiser.step()
    expected = torch.cat([p.detach().reshape(-1) for p in network.parameters()])
    assert torch.allclose(trained(data, epochs=3), expected, atol=2e-5)


def test_more_stages_than_epochs_end_on_the_whole_set():
    data = LabelledImages.of_floats(IMAGES, LABELS, stage=torch.arange(9))
    expected = by_torch([torch.arange(5), torch.arange(9)], LABELS)
    assert torch.allclose(trained(data, epochs=2), expected, atol=2e-5)


def test_one_stage_is_no_stage_to_the_bit():
    staged = LabelledImages.of_floats(IMAGES, LABELS, stage=torch.zeros(9, dtype=torch.int64))
    assert torch.equal(trained(staged), trained(LabelledImages.of_floats(IMAGES, LABELS)))


def test_certain_soft_labels_train_like_hard_ones():
    certain = LabelledImages.of_floats(IMAGES, LABELS, soft_labels=torch.nn.functional.one_hot(LABELS).float())
    assert torch.allclose(trained(certain), trained(LabelledImages.of_floats(IMAGES, LABELS)), atol=1e-5)
