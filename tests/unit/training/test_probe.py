"""The probe against scikit-learn's logistic regression, finite differences and what must not change it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from medistill.errors import DataError, DivergedError, UsageError
from medistill.training import probe
from medistill.training.images import LabelledImages
from medistill.training.probe import Probe, ProbeLayer, targets_of


def drawn(count: int, width: int, classes: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Features of unlike variances (N, D), labels and weights."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    features = rng.normal(size=(count, width)) + rng.normal(size=(classes, width))[labels]
    features *= np.geomspace(0.05, 3, width)
    return torch.from_numpy(features + 2), torch.from_numpy(labels), torch.from_numpy(rng.uniform(0.2, 2, count))


def targets(labels: Tensor, classes: int, soft: Tensor | None = None) -> Tensor:
    """What a probe is fitted to."""
    return targets_of(LabelledImages.of_floats(labels[:, None].float(), labels, soft_labels=soft), classes)


def test_label_values_are_refused() -> None:
    labels = torch.arange(4) % 2
    values = LabelledImages.of_floats(torch.ones(4, 3), labels, soft_labels=torch.ones(4, 2), label_kind="values")
    with pytest.raises(UsageError, match=r"labels are values to be trained on by the squared error"):
        targets_of(values, 2)


def fitted(features: Tensor, labels: Tensor, weights: Tensor, penalty: float) -> ProbeLayer:
    return Probe(features, targets(labels, int(labels.max()) + 1), weights).fit(penalty)


def objective(features: Tensor, targets: Tensor, weights: Tensor, penalty: float, layer: ProbeLayer) -> Tensor:
    """F as it is written."""
    losses = -(targets * torch.log_softmax(features @ layer.weight.T + layer.bias, dim=1)).sum(dim=1)
    return (weights * losses).sum() / weights.sum() + penalty / 2 * layer.weight.square().sum()


@pytest.mark.parametrize(
    ("count", "width", "classes"), [(300, 12, 2), (300, 12, 4), (20, 60, 2), (40, 100, 4), (2, 9, 2)]
)
@pytest.mark.parametrize("penalty", [0.01, 1.0, 100.0])
def test_it_is_the_optimum_of_scikit_learn(count: int, width: int, classes: int, penalty: float) -> None:
    features, labels, weights = drawn(count, width, classes)
    mine = fitted(features, labels, weights, penalty)
    # Of two classes they fit one row, which both rows of a softmax share: with twice the C it has the same penalty.
    scale = 2 if classes == 2 else 1
    theirs = LogisticRegression(C=scale / (penalty * float(weights.sum())), tol=1e-10, solver="newton-cholesky")
    theirs.fit(features.numpy(), labels.numpy(), sample_weight=weights.numpy())
    weight, bias = theirs.coef_, theirs.intercept_
    if classes == 2:
        weight, bias = np.vstack([-weight, weight]) / 2, np.array([-1, 1]) * bias / 2
    np.testing.assert_allclose(mine.weight.numpy(), weight, atol=1e-5)
    np.testing.assert_allclose(mine.bias.numpy(), bias - bias.mean(), atol=1e-5)


@pytest.mark.parametrize("count", [6, 80])
def test_nothing_near_it_is_better_and_its_slope_is_0_by_finite_differences(count: int) -> None:
    features, labels, weights = drawn(count, 15, 3)
    soft = torch.softmax(torch.randn(count, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64), dim=1)
    layer = Probe(features, targets(labels, 3, soft), weights).fit(0.05)
    numbers = torch.Generator().manual_seed(2)
    for _ in range(10):
        way = ProbeLayer(
            torch.randn(3, 15, generator=numbers, dtype=torch.float64),
            torch.randn(3, generator=numbers, dtype=torch.float64),
        )
        ahead, behind = (
            objective(
                features, soft, weights, 0.05, ProbeLayer(layer.weight + h * way.weight, layer.bias + h * way.bias)
            )
            for h in (1e-4, -1e-4)
        )
        assert abs(float(ahead - behind)) / 2e-4 < 1e-5
        assert min(ahead, behind) > objective(features, soft, weights, 0.05, layer)


def test_it_is_the_same_to_the_bit_every_time_and_whatever_the_scale_of_the_weights_or_the_start() -> None:
    features, labels, weights = drawn(60, 40, 3)
    first, again = (fitted(features, labels, weights, 0.1) for _ in range(2))
    assert torch.equal(first.weight, again.weight)
    assert torch.equal(first.bias, again.bias)
    other = fitted(features, labels, 7 * weights, 0.1)
    torch.testing.assert_close(other.weight, first.weight, atol=1e-6, rtol=0)
    same = Probe(features, targets(labels, 3), weights)
    from_near = same.fit(0.1, same.fit(3.0))
    torch.testing.assert_close(from_near.weight, first.weight, atol=1e-6, rtol=0)


@pytest.mark.parametrize("count", [30, 300])
def test_features_that_are_read_in_pieces_out_of_others_give_the_same_layer(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, labels, weights = drawn(count, 40, 3)
    at = torch.from_numpy(np.random.default_rng(3).permutation(2 * count)[:count])
    among = torch.full((2 * count, 40), torch.nan, dtype=torch.float64)
    among[at] = features
    first = fitted(features, labels, weights, 0.1)
    for bytes_at_once, exact in ((probe.AT_ONCE, True), (8 * 41 * 7, False)):
        monkeypatch.setattr(probe, "AT_ONCE", bytes_at_once)
        found = Probe(among, targets(labels, 3), weights, at).fit(0.1)
        torch.testing.assert_close(found.weight, first.weight, atol=0 if exact else 1e-6, rtol=0)
        torch.testing.assert_close(found.bias, first.bias, atol=0 if exact else 1e-6, rtol=0)
    assert [len(features[part]) for part in probe.pieces(count, 40)][:4] == [7] * 4


def test_an_image_of_weight_0_has_no_part_and_one_of_weight_2_counts_twice() -> None:
    features, labels, _ = drawn(30, 8, 2)
    weights = torch.ones(30, dtype=torch.float64)
    weights[:3], weights[3:6] = 0, 2
    alone = fitted(torch.cat([features[3:], features[3:6]]), torch.cat([labels[3:], labels[3:6]]), torch.ones(30), 0.1)
    torch.testing.assert_close(fitted(features, labels, weights, 0.1).weight, alone.weight, atol=1e-6, rtol=0)


@pytest.mark.parametrize("penalty", [1e-3, 10.0])
def test_few_images_and_a_class_without_any_give_finite_layers(penalty: float) -> None:
    features, labels, weights = drawn(4, 500, 2)
    layer = Probe(features.half(), targets(labels, 3), weights).fit(penalty)
    assert torch.isfinite(layer.weight).all()
    probabilities = torch.softmax(features @ layer.weight.T + layer.bias, dim=1)
    assert (probabilities[:, 2] < 1e-3).all()
    assert torch.equal(probabilities[:, :2].argmax(dim=1), labels)


def test_features_by_which_nothing_can_be_told_are_refused() -> None:
    features, labels, weights = drawn(5, 4, 2)
    with pytest.raises(DataError, match="features of all 5 images are the same"):
        fitted(features[:1].expand(5, 4), labels, weights, 1.0)
    features[2, 1] = torch.nan
    with pytest.raises(DivergedError, match="not finite"):
        fitted(features, labels, weights, 1.0)


def test_a_penalty_that_float64_cannot_deal_with_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medistill.training.probe.MOST_STEPS", 2)
    with pytest.raises(DivergedError, match="penalty of 1e-06 has not come to its end after 2 steps"):
        fitted(*drawn(200, 12, 4), 1e-6)
