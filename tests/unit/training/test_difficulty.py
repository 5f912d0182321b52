"""Difficulty: scores and orders against NumPy, the published schedule, and what a network is shown by it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medistill.networks.registry import NetworkSpec, build_network
from medistill.recipe import AugmentationRecipe, NetworkRecipe
from medistill.recipe.experts import SelectionRecipe
from medistill.training.difficulty import Curriculum, by_difficulty, el2n
from medistill.training.images import LabelledImages
from medistill.training.loop import Schedule, train

PUBLISHED = SelectionRecipe(start_share=0.75, drop_first=0.1, drop_last=0.2)
LABELS = torch.tensor([1, 0, 1, 1, 0, 1, 0, 1, 1, 0])


def test_scores_are_the_lengths_of_the_errors() -> None:
    rng = np.random.default_rng(3)
    answers = [rng.standard_normal((10, 2)) for _ in range(3)]
    expected = np.zeros(10)
    for logits in answers:
        for row, label in enumerate(LABELS.tolist()):
            shares = np.exp(logits[row]) / np.exp(logits[row]).sum()
            shares[label] -= 1
            expected[row] += np.sqrt((shares**2).sum()) / 3
    found = el2n([torch.from_numpy(logits) for logits in answers], LABELS)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


def test_each_class_is_ordered_by_itself_and_ties_stay_as_they_lie() -> None:
    scores = torch.tensor([0.5, 0.4, 0.5, 0.1, 0.3, 0.5, 0.4, 0.9, 0.0, 0.2])
    zeros, ones = by_difficulty(scores, LABELS)
    assert zeros.tolist() == [9, 4, 1, 6]
    assert ones.tolist() == [8, 3, 0, 2, 5, 7]


def published(epoch: int) -> tuple[float, float]:
    """From which to which share the released code takes at an epoch of 100."""
    if epoch <= 20:
        return 0.0, min(1.0, 0.75 + 0.25 * epoch / 20)
    if epoch <= 40:
        return 0.0, 1.0
    return (0.1, 1.0) if epoch <= 60 else (0.2, 1.0)


def test_the_schedule_is_the_published_one() -> None:
    curriculum = Curriculum(PUBLISHED, 100, (torch.arange(40), torch.arange(40, 60)))
    for epoch in range(100):
        assert curriculum.shares(epoch) == pytest.approx(published(epoch)), epoch
        first, last = published(epoch)
        expected = [*range(int(first * 40), int(last * 40)), *range(40 + int(first * 20), 40 + int(last * 20))]
        assert curriculum.rows(epoch).tolist() == expected


def test_a_small_class_is_never_left_out() -> None:
    settings = SelectionRecipe(start_share=0.01, drop_first=0.9, drop_last=0.99)
    curriculum = Curriculum(settings, 10, (torch.tensor([4]), torch.tensor([0, 2])))
    assert {epoch: curriculum.rows(epoch).tolist() for epoch in (0, 5, 9)} == {0: [4, 0], 5: [4, 2], 9: [4, 2]}
    assert SelectionRecipe(start_share=1, grown_at=0).selects is False
    assert Curriculum(SelectionRecipe(start_share=0.5, grown_at=0), 10, ()).shares(0) == (0.0, 1.0)


def trained(curriculum: Curriculum | None) -> tuple[list[set[int]], torch.Tensor]:
    """Which images a network saw in each epoch, and its parameters at the end."""
    seen: list[set[int]] = [set()]

    class Watched(LabelledImages):
        def batch(self, rows):
            seen[-1] |= set(rows.tolist())
            return super().batch(rows)

    rng = torch.Generator().manual_seed(0)
    images = torch.randn(10, 1, 8, 8, generator=rng)
    data = Watched.of_floats(images, LABELS)
    network = build_network(NetworkSpec(NetworkRecipe(width=3, depth=1), 1, 8, 2), rng)
    schedule = Schedule(epochs=5, batch_size=4, lr=0.1, curriculum=curriculum)
    plain = AugmentationRecipe(operations=())
    flat = train(network, data, schedule, plain, rng, micro_batch=3, after_epoch=lambda *_: seen.append(set()))
    return seen[:-1], flat.values


def test_a_network_sees_the_rows_of_its_epoch_and_no_others() -> None:
    order = by_difficulty(torch.linspace(1, 0, 10), LABELS)
    settings = SelectionRecipe(start_share=0.5, grown_at=0.2, drop_first=0.25, drop_last=0.5)
    curriculum = Curriculum(settings, 5, order)
    seen, _ = trained(curriculum)
    assert [sorted(rows) for rows in seen] == [sorted(curriculum.rows(epoch).tolist()) for epoch in range(5)]
    assert [len(rows) for rows in seen] == [5, 10, 10, 8, 5]


def test_a_curriculum_of_all_images_in_their_order_is_none_to_the_bit() -> None:
    everything = Curriculum(SelectionRecipe(), 5, (torch.arange(10),))
    assert torch.equal(trained(everything)[1], trained(None)[1])
