"""DP-SGD: clipping against a loop over patients, influence, noise, empty updates, Poisson sampling."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch import Tensor, nn
from torch.nn import functional as F

from medistill.errors import UsageError
from medistill.networks.convnet import ConvNet
from medistill.networks.flat import FlatParameters
from medistill.networks.registry import NetworkSpec, build_network
from medistill.recipe import AugmentationRecipe, NetworkRecipe
from medistill.training import dp
from medistill.training.augmentation import augment, draw
from medistill.training.dp import PrivateSchedule, clipped_sum, train_privately
from medistill.training.images import LabelledImages
from medistill.training.secret import secret_generator, secret_normal, secret_uniform
from tests.factories.networks import PIXEL_NETWORKS

CLIP = 0.5
PLAIN = AugmentationRecipe(operations=())
UNITS = torch.tensor([3, 0, 1, 0, 2, 3, 3, 1, 0, 4])


def network() -> nn.Module:
    torch.manual_seed(3)
    return ConvNet(1, 8, 3, depth=2, width=4)


def images(count: int = len(UNITS)) -> LabelledImages:
    numbers = torch.Generator().manual_seed(1)
    return LabelledImages.of_floats(
        torch.randn(count, 1, 8, 8, generator=numbers), torch.randint(0, 3, (count,), generator=numbers)
    )


def fast(net: nn.Module, data: LabelledImages, units: Tensor, micro_batch: int = 100) -> Tensor:
    """The clipped sum over all units, without augmentation."""
    rows = units.argsort(stable=True)
    gradients = dp._image_gradients(net, data, rows, draw(PLAIN, len(rows), torch.Generator(), rows.device))
    return clipped_sum(FlatParameters(net).values, units[rows], gradients, CLIP, micro_batch)


def naive_unit(net: nn.Module, data: LabelledImages, rows: Tensor, pixels: Tensor) -> Tensor:
    """A unit's clipped gradient by plain back-propagation of the mean loss of its images."""
    loss = F.cross_entropy(net(pixels), data.labels[rows])
    flat = torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(net.parameters()))])
    return flat * min(1.0, CLIP / float(flat.norm()))


@pytest.mark.parametrize("micro_batch", [1, 2, 3, 100])
def test_the_sum_is_that_of_a_loop_over_patients(micro_batch: int) -> None:
    data, net, numbers = images(), network(), torch.Generator().manual_seed(5)
    rows = UNITS.argsort(stable=True)
    drawn = draw(AugmentationRecipe(), len(rows), numbers, rows.device)
    pixels = augment(data.pixels[rows], drawn)
    expected = sum(
        naive_unit(net, data, rows[UNITS[rows] == unit], pixels[UNITS[rows] == unit]) for unit in UNITS.unique()
    )
    found = clipped_sum(
        FlatParameters(net).values, UNITS[rows], dp._image_gradients(net, data, rows, drawn), CLIP, micro_batch
    )
    assert torch.allclose(found, expected, atol=1e-6)
    assert found.norm() > CLIP / 10


@pytest.mark.parametrize("scale", [1.0, 1e4, float("inf")])
@pytest.mark.parametrize("many", [1, 40])
def test_one_patient_moves_the_sum_by_the_clip_at_most(scale: float, many: int) -> None:
    net, data = network(), images()
    without = fast(net, data, UNITS)
    moved = []
    for seed in range(4):
        pixels = scale * torch.randn(many, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
        wrong = torch.full((many,), seed % 3)
        more = LabelledImages.of_floats(torch.cat([data.pixels, pixels]), torch.cat([data.labels, wrong]))
        with_one = fast(net, more, torch.cat([UNITS, torch.full((many,), 5)]), micro_batch=7)
        assert (with_one - without).norm() <= CLIP * (1 + 1e-5)
        moved.append(with_one)
    assert all((one - other).norm() <= 2 * CLIP * (1 + 1e-5) for one, other in pairwise(moved))
    if scale == 1e4 or (scale == 1 and many == 1):
        assert max((one - without).norm() for one in moved) > 0.1 * CLIP  # it does count


def schedule(**changed: float) -> PrivateSchedule:
    settings = {"epochs": 1, "steps": 1, "expected_batch": 4, "lr": 0.1}
    settings |= {"sample_rate": 1.0, "clip": CLIP, "noise_multiplier": 2.0}
    return PrivateSchedule(**{**settings, **changed})  # type: ignore[arg-type]


def test_the_sum_is_divided_by_the_public_batch_not_by_the_patients_taken() -> None:
    net, data = network(), images()
    before, expected = FlatParameters(net).values.clone(), fast(net, data, UNITS) / 4
    weighty = schedule(noise_multiplier=0.0, weight_decay=0.01)
    after = train_privately(net, data, UNITS, weighty, PLAIN, micro_batch=9, after_epoch=lambda *_: None).values
    assert torch.allclose(after, before - 0.1 * (expected + 0.01 * before), atol=1e-6)


@pytest.mark.parametrize("name", PIXEL_NETWORKS)
def test_one_patient_moves_an_update_of_any_network_by_its_share_at_most(name: str) -> None:
    spec = NetworkSpec(NetworkRecipe(name=name, depth=2, width=8), 1, 32, 2)
    pixels = torch.randn(3, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    labels, units = torch.tensor([0, 1, 0]), torch.tensor([0, 1, 1])

    def after(images: int) -> Tensor:
        some = LabelledImages.of_floats(pixels[:images], labels[:images])
        net = build_network(spec, torch.Generator().manual_seed(0))
        plan = schedule(noise_multiplier=0.0)
        return train_privately(
            net, some, units[:images], plan, PLAIN, micro_batch=2, after_epoch=lambda *_: None
        ).values

    share = 0.1 * CLIP / 4
    assert 0.1 * share < (after(3) - after(1)).norm() <= share * (1 + 1e-3)


def test_a_network_that_cannot_be_taken_image_by_image_is_refused() -> None:
    class Looks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(64, 3)

        def forward(self, images: Tensor) -> Tensor:
            return self.linear(images.flatten(1)) * (1 if images.sum().item() < 1e9 else 2)

    with pytest.raises(UsageError, match="no patient's influence could be bounded"):
        train_privately(Looks(), images(), UNITS, schedule(), PLAIN, micro_batch=4, after_epoch=lambda *_: None)


def test_an_update_that_takes_nobody_is_noise_of_the_right_size() -> None:
    net, walk = network(), []
    walk.append(FlatParameters(net).values.clone())
    train_privately(
        net, images(), UNITS, schedule(sample_rate=1e-12, epochs=40), PLAIN, micro_batch=4,
        after_epoch=lambda _, flat: walk.append(flat.values.clone()),
    )  # fmt: skip
    steps = torch.stack([later - earlier for earlier, later in pairwise(walk)]) / (0.1 * 2.0 * CLIP / 4)
    assert kstest(steps.flatten().double().numpy(), "norm").pvalue > 1e-4
    assert steps.std() == pytest.approx(1, abs=4 / np.sqrt(2 * steps.numel()))
    follow = (steps[1:] * steps[:-1]).mean()
    assert abs(follow) < 5 / np.sqrt(steps[1:].numel())


def test_patients_are_taken_by_poisson_sampling_with_all_their_images(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Tensor] = []

    def seen(values: Tensor, units: Tensor, *_: object) -> Tensor:
        taken.append(units)
        return torch.zeros_like(values)

    monkeypatch.setattr(dp, "clipped_sum", seen)
    units, steps, rate = torch.arange(50).repeat(3), 400, 0.2
    plan = schedule(steps=steps, sample_rate=rate)
    train_privately(network(), images(150), units, plan, PLAIN, micro_batch=4, after_epoch=lambda *_: None)
    assert all((found.unique(return_counts=True)[1] == 3).all() for found in taken)
    sizes = np.array([len(found) // 3 for found in taken])
    expected, variance = 50 * rate, 50 * rate * (1 - rate)
    assert abs(sizes.mean() - expected) < 5 * np.sqrt(variance / steps)
    assert sizes.var() == pytest.approx(variance, rel=0.4)  # a sample of fixed size has none


def test_secret_numbers_have_their_distribution_and_no_seed() -> None:
    for draw_some, distribution in ((secret_uniform, "uniform"), (secret_normal, "norm")):
        torch.manual_seed(0)
        first = draw_some(20_001)
        torch.manual_seed(0)
        second = draw_some(20_001)
        assert len(first) == 20_001
        assert not torch.equal(first, second)
        assert kstest(first.double().numpy(), distribution).pvalue > 1e-4
        assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.05
    assert torch.isfinite(secret_normal(100_000)).all()
    assert secret_generator().initial_seed() != secret_generator().initial_seed()
