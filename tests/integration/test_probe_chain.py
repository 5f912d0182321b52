"""Methods with outer steps through the whole chain with a probe: features of originals, resuming, what the set says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.trajectories import Trajectories
from medistill.encoders.encoder import Encoder
from medistill.errors import RecipeError
from medistill.privacy.accounting import Guarantee
from medistill.recipe import Recipe, load_recipe, override_recipe
from medistill.training.encoded import seen_by
from medistill.training.images import LabelledImages
from medistill.workflow.distill import distill
from medistill.workflow.experts import followed_experts, train_experts
from tests.factories.drawn_corpus import CLASSES, drawn_corpus
from tests.factories.stopping import Stops
from tests.factories.tiny_encoder import stored_tiny, tiny_architecture

SMALL = ("method.experts.lr=0.001", "method.student_lr=0.001", "method.checkpoint_every=1")
STEPS = ("method.student_steps=4", "method.batch_real=6", "method.student_lr=0.001", "method.checkpoint_every=1")
WINDOWS = (*STEPS, "method.window=2")
METHODS = {
    "iadd": ["method.name=iadd", *SMALL],
    "mtt": ["method.name=mtt", *SMALL],
    "pp": ["method.name=pp", *SMALL],
    "ftd": ["method.name=ftd", *SMALL],
    "satm": ["method.name=satm", "method.sharpness=0.5", *SMALL],
    "pdd": ["method.name=pdd", "method.stages=2", *SMALL],
    "datm": ["method.name=datm", *SMALL],
    "both": ["method.name=iadd", "method.real.weight=0.5", "method.importance.direction=usefulness", *SMALL],
    "unrolled": ["method.name=unrolled", "method.pool=2", "method.labels=soft", *WINDOWS],
    "bptt": ["method.name=bptt", *STEPS],
    "rat-bptt": ["method.name=rat-bptt", *WINDOWS],
    "at-bptt": ["method.name=at-bptt", "method.window_spread=1", *WINDOWS],
}


@pytest.fixture
def encoder(tmp_path: Path, private_cache: Path) -> Iterator[Encoder]:
    with tiny_architecture():
        yield stored_tiny(tmp_path / "tiny")


def recipe_of(tiny_recipe: Recipe, encoder: Encoder, *settings: str) -> Recipe:
    probe = ["network.name=probe", f"network.encoder={encoder.sha256}"]
    return override_recipe(tiny_recipe, [*settings, *probe], "test")


def experts(corpus: Corpus, recipe: Recipe) -> Trajectories | None:
    return followed_experts(corpus, recipe, device="cpu")


@pytest.mark.parametrize("method", METHODS)
def test_images_move_and_the_set_says_its_encoder(
    method: str, tiny_recipe: Recipe, encoder: Encoder, phantom_corpus: Corpus, tmp_path: Path
) -> None:
    recipe = recipe_of(tiny_recipe, encoder, *METHODS[method])
    made = distill(phantom_corpus, experts(phantom_corpus, recipe), recipe, out=tmp_path / "run", device="cpu")
    known = DistilledSet.load(tmp_path / "run").provenance
    assert known.network == "probe"
    assert known.encoder is not None
    assert (known.encoder.sha256, known.encoder.licence) == (encoder.sha256, encoder.description.licence)
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    assert len(history["loss"]) == recipe.method.outer_steps
    assert "skipped" not in history
    assert all(0 <= auc <= 1 for auc in history["auc"])
    still = override_recipe(recipe, [f"method.{'real.' if method == 'both' else ''}image_lr=1e-12"], "test")
    start = distill(phantom_corpus, experts(phantom_corpus, still), still, out=tmp_path / "still", device="cpu")
    moved = np.abs(made.images - start.images).reshape(len(made.images), -1).max(axis=1)
    assert (moved > 0).all()


@pytest.mark.parametrize("method", ["datm", "both", "unrolled"])
def test_interrupted_and_resumed_to_the_same_bits(
    method: str, tiny_recipe: Recipe, encoder: Encoder, phantom_corpus: Corpus, tmp_path: Path
) -> None:
    recipe = recipe_of(tiny_recipe, encoder, *METHODS[method])
    walks = experts(phantom_corpus, recipe)
    whole = distill(phantom_corpus, walks, recipe, out=tmp_path / "whole", device="cpu")
    with pytest.raises(KeyboardInterrupt):
        distill(phantom_corpus, walks, recipe, out=tmp_path / "killed", device="cpu", progress=Stops(3))
    resumed = distill(phantom_corpus, walks, recipe, out=tmp_path / "killed", device="cpu", resume=True)
    assert resumed.images.tobytes() == whole.images.tobytes()
    for name in ("set/images.safetensors", "history.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_experts_learn_from_the_features_of_originals_as_they_are(
    tiny_recipe: Recipe, encoder: Encoder, phantom_corpus: Corpus
) -> None:
    settings = ["method.experts.momentum=0", "method.experts.weight_decay=0", "method.experts.batch_size=4096"]
    recipe = recipe_of(tiny_recipe, encoder, *METHODS["mtt"], *settings)
    trajectories = train_experts(phantom_corpus, recipe, device="cpu")
    walk = [trajectories.snapshot(0, epoch) for epoch in (0, 1)]
    rows, cpu = phantom_corpus.rows("train"), torch.device("cpu")
    grey = torch.from_numpy(np.array(phantom_corpus.images[rows])).double() / 255
    seen = torch.stack([encoder.features(one[None].float())[0] for one in grey]).half().double()
    labels = torch.from_numpy(phantom_corpus.labels[rows])
    theta = torch.from_numpy(walk[0]).double().requires_grad_()
    classes = len(phantom_corpus.class_names)
    weight, bias = theta[: classes * encoder.dimension].view(classes, -1), theta[classes * encoder.dimension :]
    (gradient,) = torch.autograd.grad(F.cross_entropy(seen @ weight.T + bias, labels), theta)
    expected = theta.detach() - recipe.method.experts.lr * gradient
    torch.testing.assert_close(torch.from_numpy(walk[1]).double(), expected, atol=1e-6, rtol=1e-4)
    other = override_recipe(recipe, ["augmentation.operations=[]"], "test")
    assert train_experts(phantom_corpus, other, device="cpu").key == trajectories.key
    images = LabelledImages.of_split(phantom_corpus, "train", trajectories.normalisation, cpu)
    torch.testing.assert_close(seen_by(encoder, images, cpu).batch(slice(None)).double(), seen, atol=1e-2, rtol=1e-2)


def test_dp_experts_on_features_have_the_same_guarantee(tiny_recipe: Recipe, encoder: Encoder, tmp_path: Path) -> None:
    pytest.importorskip("opacus", reason="the extra dp is not installed")
    corpus = drawn_corpus(tmp_path / "corpus")
    settings = [
        *("privacy.mode=dp", "privacy.epsilon=4", "privacy.delta=0.001", "privacy.units=40"),
        *("method.experts.batch_size=20", "method.init=noise", "data.image_size=16", "network.depth=2"),
        f"data.classes={json.dumps(CLASSES)}",
    ]
    pixels = override_recipe(tiny_recipe, [*METHODS["mtt"], *settings], "test")
    recipe = recipe_of(tiny_recipe, encoder, *METHODS["mtt"], *settings)
    made = distill(corpus, experts(corpus, recipe), recipe, out=tmp_path / "run", device="cpu")
    known, expected = Guarantee.of_set(made.provenance), Guarantee.of(pixels)
    assert known == expected
    assert known is not None
    assert made.provenance.encoder is not None
    assert made.provenance.corpus == corpus.content


def test_fresh_networks_of_a_probe_are_refused() -> None:
    with pytest.raises(
        RecipeError, match=r"method\.name = dm compares the features of networks that begin with random"
    ):
        load_recipe("covid-xray-dm", ["network.name=probe"])
