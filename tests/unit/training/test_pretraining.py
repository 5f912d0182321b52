"""Pretraining on target vectors, and the last layer after it: against torch's own training and scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn import functional as F

from medistill.errors import DivergedError, UsageError
from medistill.evaluate.course import Course
from medistill.networks.features import features, last_layer
from medistill.networks.registry import NetworkSpec, build_network
from medistill.progress import Silent
from medistill.recipe import NetworkRecipe, Recipe, load_recipe
from medistill.training.context import Context
from medistill.training.fresh_network import TrainingSet, probabilities, train_and_predict, train_network
from medistill.training.images import LabelledImages
from medistill.training.loop import Schedule
from medistill.training.pretraining import pretrained_spec, with_classes
from medistill.training.probe import targets_of
from medistill.training.randomness import generator

CPU = torch.device("cpu")
COUNT, SIZE, CLASSES, WIDTH, PENALTY = 9, 8, 3, 5, 0.1
RECIPE = load_recipe("demo", [f"schedule.penalty={PENALTY}"])
SPEC = NetworkSpec(NetworkRecipe(depth=2, width=4), 1, SIZE, CLASSES)
LABELS = torch.arange(COUNT) % CLASSES


def taught(size: int = SIZE) -> LabelledImages:
    rng = torch.Generator().manual_seed(4)
    images, targets = (torch.randn(*shape, generator=rng) for shape in ((COUNT, 1, size, size), (COUNT, WIDTH)))
    weights = 0.5 + torch.rand(COUNT, generator=rng)
    return LabelledImages.of_floats(images, LABELS, weights, soft_labels=targets, label_kind="targets")


def by_torch(data: LabelledImages, spec: NetworkSpec, schedule: Schedule) -> nn.Module:
    """A network with an output for each number of a target, trained by the mean squared error, unaugmented."""
    rng = generator(0, "network")
    network = build_network(spec, rng)
    optimiser = torch.optim.SGD(network.parameters(), lr=schedule.lr, momentum=schedule.momentum)
    assert data.soft_labels is not None
    for _ in range(schedule.epochs):
        for rows in torch.randperm(COUNT, generator=rng).split(schedule.batch_size):
            optimiser.zero_grad()
            errors = F.mse_loss(network(data.pixels[rows]), data.soft_labels[rows], reduction="none").mean(dim=1)
            (errors * data.weights[rows]).mean().backward()
            optimiser.step()
    return network


def test_it_is_torchs_training_and_scikit_learns_logistic_regression() -> None:
    """The recipe augments: a target belongs to the image as it is, so that nothing of that is seen here."""
    assert RECIPE.augmentation.operations
    data, schedule = taught(), Schedule(4, 4, 0.05, 0.9)
    found, _ = train_network(TrainingSet(data, schedule), SPEC, RECIPE, generator(0, "network"), CPU)
    body = by_torch(data, pretrained_spec(SPEC, data), schedule)
    seen = features(body, data.pixels).detach().double().numpy()
    fitted = LogisticRegression(C=1 / (PENALTY * float(data.weights.sum())), tol=1e-10, max_iter=10_000)
    size = np.sqrt(((seen - seen.mean(axis=0)) ** 2).mean())
    fitted.fit(seen / size, LABELS.numpy(), sample_weight=data.weights.numpy())
    torch.testing.assert_close(features(found, data.pixels), features(body, data.pixels), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(
        found(data.pixels).softmax(dim=1).detach().numpy(), fitted.predict_proba(seen / size), atol=2e-3
    )


@pytest.mark.parametrize(("name", "size"), [("convnet", 8), ("resnet18", 16), ("alexnet", 16)])
def test_a_network_keeps_its_layers_and_gets_a_last_one_for_the_classes(name: Any, size: int) -> None:
    spec, data = NetworkSpec(NetworkRecipe(name=name, depth=2, width=4), 1, size, CLASSES), taught(size)
    body = build_network(pretrained_spec(spec, data), torch.Generator().manual_seed(1))
    before = {key: value.clone() for key, value in body.state_dict().items()}
    made = with_classes(body, data, spec, 1e-3, 4)
    layer, old = last_layer(body, data.pixels[:1])
    assert old is not None
    assert made(data.pixels).shape == (COUNT, CLASSES)
    after = made.state_dict()
    assert after.keys() == before.keys()
    for key, value in before.items():
        assert torch.equal(after[key], value) == (not key.startswith(f"{layer}."))
        assert torch.equal(body.state_dict()[key], value)
    fresh = build_network(spec, torch.Generator().manual_seed(0))
    fresh.load_state_dict(after)  # as a classifier is restored
    assert float(made(data.pixels).argmax(dim=1).eq(LABELS).float().mean()) > 0.8


def test_networks_on_other_labels_are_left_as_they_are() -> None:
    network, data = build_network(SPEC, torch.Generator().manual_seed(1)), taught()
    hard = LabelledImages.of_floats(data.pixels, LABELS)
    assert with_classes(network, hard, SPEC, PENALTY, 4) is network
    assert pretrained_spec(SPEC, hard) is SPEC


def test_a_course_predicts_what_a_training_of_each_length_would(tmp_path: Path) -> None:
    data = taught()
    context = Context(None, RECIPE, SPEC, CPU, tmp_path, Silent())  # type: ignore[arg-type]  # no corpus is asked

    def schedule(epochs: int) -> Schedule:
        return Schedule(epochs, COUNT, 0.05, 0.9, tail=True)

    course = Course(data, schedule(8), lambda: generator(0, "course"), context)
    shown = LabelledImages.of_floats(data.pixels + 0.1, LABELS)
    for epochs in (4, 8):
        alone = train_and_predict(TrainingSet(data, schedule(epochs)), shown, SPEC, RECIPE, generator(0, "course"), CPU)
        found = course.predict(schedule(epochs), shown, lambda _: None)
        assert found.shape == (COUNT, CLASSES)
        np.testing.assert_allclose(found, alone, atol=1e-5)


def test_a_network_that_sees_no_difference_is_named() -> None:
    data, spec = taught(), pretrained_spec(SPEC, taught())
    network = build_network(spec, torch.Generator().manual_seed(1))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    with pytest.raises(DivergedError, match=r"sees no difference among its 9 images.*lower the learning rate"):
        with_classes(network, data, SPEC, PENALTY, 4)
    with pytest.raises(DivergedError, match=r"trained at learning rate 1e\+20 diverged"):
        train_network(TrainingSet(data, Schedule(3, 4, 1e20)), SPEC, RECIPE, generator(0, "network"), CPU)


class Pooled(nn.Module):
    """A network without a linear layer."""

    def __init__(self, channels: int, size: int, classes: int) -> None:
        super().__init__()
        self.only = nn.Conv2d(channels, classes, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.only(images).mean(dim=(2, 3))


def test_networks_without_a_last_linear_layer_and_probes_are_refused() -> None:
    own = NetworkSpec(NetworkRecipe(), 1, SIZE, CLASSES, factory=Pooled)
    with pytest.raises(UsageError, match=r"target vectors.*Expected.*ends in a linear layer with a bias"):
        train_network(TrainingSet(taught(), Schedule(1, 4, 0.01)), own, RECIPE, generator(0, "network"), CPU)
    with pytest.raises(UsageError, match=r"a probe for images whose labels are values"):
        targets_of(taught(), CLASSES)


def test_probabilities_are_of_the_classes() -> None:
    recipe: Recipe = RECIPE
    network, _ = train_network(TrainingSet(taught(), Schedule(2, 4, 0.05)), SPEC, recipe, generator(0, "n"), CPU)
    found = probabilities(network, taught(), SPEC, recipe, CPU)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert found.shape == (COUNT, CLASSES)
