"""Objectives of features: gradients in the images against autograd through student steps and encoder, in float64."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from medistill.artifacts.normalisation import Normalisation
from medistill.encoders.encoder import Encoder
from medistill.engine.coordinates import Adam
from medistill.engine.images import Images
from medistill.engine.importance import ImportanceSettings, ParameterGroups
from medistill.engine.inner_optimisers import MomentumSGD, Rates
from medistill.engine.learned_rates import LearnedRates
from medistill.engine.mask import MaskSettings
from medistill.engine.objectives.base import Evaluation, Objective
from medistill.engine.objectives.combined import Combined, Shares
from medistill.engine.objectives.encoded import DrawnViews, Encoded
from medistill.engine.objectives.trajectory import AlphaSettings, TrajectoryMatching
from medistill.engine.objectives.unrolled import Unrolled
from medistill.engine.sources.experts import ExpertSegments, SegmentSettings
from medistill.engine.sources.originals import Originals
from medistill.engine.sources.walks import Walks, WalkSettings
from medistill.engine.student import Student
from medistill.networks.registry import NetworkSpec, build_network
from medistill.recipe import AugmentationRecipe, NetworkRecipe
from medistill.training.augmentation import augment
from medistill.training.randomness import generator
from tests.factories.both_losses import Exactly
from tests.factories.drawn_corpus import drawn_corpus
from tests.factories.outer_problem import CPU, random_walks
from tests.factories.tiny_encoder import in_float64, stored_tiny, tiny_architecture
from tests.naive_students import Momentum, Sgd, naive_walk, named

CLASSES, SIZE, COUNT, ALPHA = 3, 12, 5, 0.3
NORMALISATION = Normalisation((0.5,), (0.25,))
SHOWN = torch.tensor([0, 1, 3, 4])
"""The third image takes no part."""
VIEWS = AugmentationRecipe(operations=("color", "crop", "cutout", "scale", "rotate"), mode="all")
PLAIN = AugmentationRecipe(operations=())


@pytest.fixture
def spec(tmp_path: Path) -> Iterator[NetworkSpec]:
    """A probe on a tiny encoder."""
    with tiny_architecture():
        encoder = stored_tiny(tmp_path / "tiny")
        yield NetworkSpec(NetworkRecipe(name="probe", encoder=encoder.sha256), 1, SIZE, CLASSES, encoder=encoder)


def network_of(spec: NetworkSpec) -> nn.Module:
    return build_network(spec, generator(0, "student")).double()


def matching(spec: NetworkSpec, folder: Path, *, rule: str = "none", direction: str = "descent") -> TrajectoryMatching:
    """Trajectory matching of two segments."""
    trajectories = random_walks(folder / "walks", build_network(spec, generator(0, "walk")))
    importance = ImportanceSettings(direction=direction)  # type: ignore[arg-type]
    segments = SegmentSettings(3, 2, 0, 2, 0.0, 3, iterations=6, stages=1)
    return TrajectoryMatching(
        student=Student(network_of(spec)),
        source=Exactly(ExpertSegments(trajectories, segments, PLAIN, 0, CPU)),  # type: ignore[arg-type]
        segments=2,
        alpha=AlphaSettings(ALPHA, 1e-3, 0.5),
        importance=importance,
        groups=ParameterGroups.of(importance, trajectories, CPU),
        mask=MaskSettings(rule),  # type: ignore[arg-type]
    )


def unrolled(spec: NetworkSpec, folder: Path) -> Unrolled:
    """The loss on the features of originals of a student with momentum."""
    corpus = drawn_corpus(folder / "corpus", size=SIZE)
    walks = Walks(spec, WalkSettings(4, 4, batch_syn=3), PLAIN, 0, CPU)
    return Unrolled(
        student=Student(network_of(spec)),
        walks=Exactly(walks),  # type: ignore[arg-type]
        originals=Originals(corpus, (0, 1, 2), 4, NORMALISATION, 0, CPU, spec.encoder),
        optimiser=MomentumSGD(5e-3),
        rates=LearnedRates(Rates(ALPHA, 0.8), Adam(0.003), momentum=True),
        augmentation=PLAIN,
        classes=CLASSES,
        seed=0,
    )


def images() -> Images:
    """Noise with soft labels."""
    rng = torch.Generator().manual_seed(1)
    pixels = torch.randn(COUNT, 1, SIZE, SIZE, generator=rng, dtype=torch.float64)
    own = F.one_hot(torch.arange(COUNT) % CLASSES, CLASSES).double()
    labels = F.softmax(3 * own + torch.randn(COUNT, CLASSES, generator=rng, dtype=torch.float64), dim=1)
    return Images(pixels, labels, torch.ones(COUNT, dtype=torch.float64))


def starting(asked: Objective[Any]) -> dict[str, Tensor]:
    values = {name: one.start.clone() for name, one in asked.coordinates().items()}
    return values if "importance" not in values else {**values, "importance": values["importance"].double()}


def encoded(asked: Objective[Any], spec: NetworkSpec, views: AugmentationRecipe = VIEWS) -> Encoded:
    assert spec.encoder is not None
    return Encoded(asked, in_float64(spec.encoder), NORMALISATION, views, seed=0)


def naive_features(encoder: Encoder, pixels: Tensor, drawn: DrawnViews) -> Tensor:
    """The features of the images that take part, with the graph of view and encoder alive."""
    views = augment(pixels[drawn.shown], drawn.views)
    return pixels.new_zeros(len(pixels), encoder.dimension).index_put(
        (drawn.shown,), encoder.features(views * 0.25 + 0.5)
    )


def naive_matching(asked: TrajectoryMatching, given: Images, drawn: DrawnViews, alpha: Tensor, w: Tensor) -> Tensor:
    """The mean loss of the segments, the graph of all student steps alive."""
    losses, network = [], asked.student.network
    weights = w.repeat_interleave(asked.groups.sizes)
    for segment in drawn.inner.segments:
        end = naive_walk(network, given, segment.start.clone().requires_grad_(), segment.steps, Sgd(alpha))
        error = weights * (end - segment.target)
        if asked.mask.rule == "unlike":
            smaller, larger = (pick(end.abs(), segment.target.abs()) for pick in (torch.minimum, torch.maximum))
            error = error * ((smaller >= 0.1 * larger) & (end * segment.target >= 0)).detach()
        losses.append(error.square().sum() / (segment.start - segment.target).square().sum())
    return torch.stack(losses).mean()


def naive_unrolled(asked: Unrolled, given: Images, drawn: Any, alpha: Tensor, momentum: Tensor) -> Tensor:
    """The loss on originals, each class counting alike, the graph of all student steps alive."""
    network, start = asked.student.network, drawn.walk.start.clone().requires_grad_()
    end = naive_walk(network, given, start, drawn.walk.steps, Momentum(alpha, momentum, 5e-3, torch.zeros_like(start)))
    parts = named(network, end)
    of_class: dict[int, list[Tensor]] = {}
    for row, label in enumerate(drawn.originals.labels.tolist()):
        logits = functional_call(network, parts, (drawn.originals.batch([row]).double(),))[0]
        of_class.setdefault(label, []).append(logits.logsumexp(dim=0) - logits[label])
    return torch.stack([torch.stack(losses).mean() for losses in of_class.values()]).mean()


def assert_same(found: Evaluation, loss: Tensor, leaves: dict[str, Tensor]) -> None:
    mine = {"images": found.grad_images, "labels": found.grad_labels, **found.grad_learned}
    assert mine.keys() == leaves.keys()
    assert found.loss == pytest.approx(loss.item(), rel=1e-12)
    for name, gradient in zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True):
        assert float((mine[name] - gradient).norm()) <= 1e-12 * float(gradient.norm()), name
    assert not found.grad_images[2].any()
    assert all(found.grad_images[row].any() for row in SHOWN.tolist())


@pytest.mark.parametrize("micro_batch", [1, 2, 7])
@pytest.mark.parametrize("rule", ["none", "unlike"])
@pytest.mark.parametrize("views", [VIEWS, PLAIN], ids=["views", "as they are"])
def test_trajectories_of_a_probe_are_matched_exactly(
    spec: NetworkSpec, tmp_path: Path, views: AugmentationRecipe, rule: str, micro_batch: int
) -> None:
    inner = matching(spec, tmp_path, rule=rule)
    assert inner.groups.names == ("weight", "bias")
    asked, given = encoded(inner, spec, views), images()
    values, drawn = starting(asked), asked.draw(3, SHOWN)
    leaves = {
        name: value.clone().requires_grad_()
        for name, value in {"images": given.pixels, "labels": given.labels, **values}.items()
    }
    seen = Images(naive_features(asked.encoder, leaves["images"], drawn), leaves["labels"], given.weights)
    loss = naive_matching(inner, seen, drawn, leaves["log_alpha"].exp(), leaves["importance"])
    assert_same(asked.evaluate(given, values, drawn, micro_batch), loss, leaves)


@pytest.mark.parametrize("micro_batch", [1, 7])
def test_the_loss_on_features_of_originals_is_unrolled_exactly(
    spec: NetworkSpec, tmp_path: Path, micro_batch: int
) -> None:
    inner = unrolled(spec, tmp_path)
    asked, given = encoded(inner, spec), images()
    values, drawn = starting(asked), asked.draw(3, SHOWN)
    assert drawn.inner.originals.stored(slice(None)).shape == (12, 22), "features"
    leaves = {
        name: value.clone().requires_grad_()
        for name, value in {"images": given.pixels, "labels": given.labels, **values}.items()
    }
    seen = Images(naive_features(asked.encoder, leaves["images"], drawn), leaves["labels"], given.weights)
    alpha, momentum = leaves["log_alpha"].exp(), leaves["momentum_logit"].sigmoid()
    loss = naive_unrolled(inner, seen, drawn.inner, alpha, momentum)
    assert_same(asked.evaluate(given, values, drawn, micro_batch), loss, leaves)


@pytest.mark.parametrize("micro_batch", [1, 7])
def test_usefulness_is_that_of_images_that_move_by_their_pixels(
    spec: NetworkSpec, tmp_path: Path, micro_batch: int
) -> None:
    """W moves along the derivative of <dl/dX, dL/dX>, both gradients taken through the encoder."""
    trajectory, real = matching(spec, tmp_path, direction="usefulness"), unrolled(spec, tmp_path)
    asked, given = encoded(Combined(trajectory, real, Shares(0.0, 1.0, 6)), spec), images()
    values, drawn = starting(asked), asked.draw(3, SHOWN)
    found = asked.evaluate(given, values, drawn, micro_batch)

    pixels, w = given.pixels.clone().requires_grad_(), values["importance"].clone().requires_grad_()
    seen = replace(given, pixels=naive_features(asked.encoder, pixels, drawn))
    alpha, own = values["log_alpha"].exp(), {name: values[f"real_{name}"] for name in real.coordinates()}
    rates = real.rates.at(own)
    matched = naive_matching(trajectory, seen, replace(drawn, inner=drawn.inner.trajectory), alpha, w)
    loss = naive_unrolled(
        real, seen, drawn.inner.real, torch.tensor(rates.alpha).double(), torch.tensor(rates.momentum).double()
    )
    (u,) = torch.autograd.grad(loss, pixels, retain_graph=True)
    (of_images,) = torch.autograd.grad(matched, pixels, create_graph=True)
    (along,) = torch.autograd.grad((u * of_images).sum(), w)
    assert float((found.grad_learned["importance"] + along / along.norm()).norm()) < 1e-9


def test_an_image_without_a_gradient_is_not_encoded_again(spec: NetworkSpec, tmp_path: Path) -> None:
    asked, given = encoded(matching(spec, tmp_path), spec), images()
    drawn = asked.draw(0, SHOWN)
    passed: list[int] = []
    hook = asked.encoder.network.register_forward_hook(lambda _, shown, __: passed.append(len(shown[0])))
    gradient = torch.zeros(COUNT, asked.encoder.dimension, dtype=torch.float64)
    gradient[4, 0] = float("nan")
    pulled = asked._pulled_back(given, drawn, gradient, 7)
    hook.remove()
    assert passed == [1]
    assert pulled[4].isnan().any(), "what is not finite is not hidden"
    assert not pulled[:4].any()


def test_views_are_drawn_by_step_and_the_encoder_runs_in_fp32_in_any_precision(
    spec: NetworkSpec, tmp_path: Path
) -> None:
    asked = encoded(matching(spec, tmp_path), spec)
    one, again, other = (asked.draw(step, SHOWN).views.numbers["brightness"] for step in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert spec.encoder is not None
    single = Encoded(asked.inner, spec.encoder, NORMALISATION, PLAIN, seed=0)
    given = images()
    given = replace(given, pixels=given.pixels.float())
    drawn = single.draw(0, SHOWN)
    plain = single._seen(given, drawn, 8).pixels
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(single._seen(given, drawn, 8).pixels, plain)
