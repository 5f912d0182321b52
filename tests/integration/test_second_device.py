"""Every method, an expert, an encoding and an evaluation network on a second device, without a GPU.

It is torch's ``meta`` (`tests.factories.second_device`): a CPU tensor that strayed, or a wait for the device that
`WAITS` does not name, fails here as it would fail, or cost, on CUDA. Numbers are made up: nothing is said of results.
What cannot be had here: compiled steps; bfloat16.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.normalisation import Normalisation
from medistill.encoders import features
from medistill.encoders.encoder import Encoder
from medistill.evaluate.protocol import small_schedule
from medistill.method_names import method_names
from medistill.methods.registry import find_method
from medistill.networks.registry import build_network, network_spec
from medistill.progress import Silent
from medistill.recipe import Recipe, load_recipe
from medistill.recipe.method import field_of, settings_kind
from medistill.recipe.rendering import RenderingRecipe
from medistill.training import dp, loop
from medistill.training.context import Context
from medistill.training.dp import PrivateSchedule, train_privately
from medistill.training.fresh_network import TrainingSet, train_and_predict
from medistill.training.images import LabelledImages
from medistill.training.loop import Schedule, train
from medistill.training.randomness import generator
from medistill.workflow.experts import followed_experts
from tests.factories.drawn_corpus import CLASSES, drawn_corpus, drawn_set
from tests.factories.second_device import META, RefusedError, Watched
from tests.factories.tiny_encoder import stored_tiny, tiny_architecture

RUN = "once a run, before its first outer step or after its last"
SCORE = "once a validation score or a checkpoint"
LOSS = "the loss of an outer step, once, when it is over"
MOVE = "once for each coordinate of an outer step, before it moves"
CLASSES_READ = "once a step, of which class each image is: what classes are compared decides what is done"
FITTED = "kernel and probe are solved in float64, and every solution is looked at before it is used"
PIECE = "once for each piece of a corpus, whose features or codes go to disk"
TRAINED = "once a network, when it is trained or has answered"
WAITS = {
    "methods.comparing.compare.Compared.class_ids": RUN,
    "methods.comparing.trained_networks._parameters": RUN,
    "methods.latent.decoder._grey": RUN,
    "methods.latent.decoder.rendered": RUN,
    "methods.matching.match._plan": RUN,
    "methods.optimising.outer_run._validator": RUN,
    "methods.optimising.outer_run.distilled": RUN,
    "methods.optimising.problem._counts": RUN,
    "methods.optimising.start.start_digest": RUN,
    "methods.quantising.teacher._jobs.parameters": RUN,
    "methods.krr_st.KrrSt.first_targets": RUN,
    "methods.quantising.teacher.soft_labels": RUN,
    "methods.rendering.render._digest": RUN,
    "methods.rendering.render._refuse_misfits": RUN,
    "methods.unrolling.unroll._plan": RUN,
    "engine.problem.DistillationProblem._up_to": RUN,
    "engine.sources.encoded_originals.class_shares": "the number of classes of a batch is its largest label",
    "engine.checkpoint.save_checkpoint": SCORE,
    "engine.objectives.trajectory.TrajectoryMatching.validation_figures": SCORE,
    "engine.objectives.trajectory.TrajectoryMatching.evaluate": LOSS,
    "engine.objectives.trajectory.TrajectoryMatching.step_figures": "the share of the parameters that are kept",
    "engine.objectives.trajectory.TrajectoryMatching.progress_figures": "the share of the parameters that are kept",
    "engine.objectives.unrolled.Unrolled.loss": LOSS,
    "engine.learned_rates.LearnedRates.gradients": LOSS,
    "engine.objectives.base.Evaluation.finite": "once a step, whether it may be taken",
    "engine.objectives.combined.Combined.evaluate": "the norms by which two losses are mixed",
    "engine.objectives.combined._running": "the norms by which two losses are mixed",
    "engine.objectives.combined.Resting.update": MOVE,
    "engine.objectives.class_term.ClassTerm.evaluate": LOSS,
    "engine.objectives.feature_targets.FeatureTargets.evaluate": LOSS,
    "engine.objectives.fourier.Fourier.distance": LOSS,
    "engine.objectives.gradient.GradientMatching.evaluate": LOSS,
    "engine.objectives.linear_gradient.LinearGradient.evaluate": LOSS,
    "engine.objectives.mean_features.MeanFeatures.distance": LOSS,
    "engine.objectives.ridge.Ridge.evaluate": LOSS,
    "engine.objectives.smooth.total_variation": LOSS,
    "engine.objectives.pooled_ridge.PooledRidge.evaluate": LOSS,
    "engine.objectives.mmd.Mmd.distance": CLASSES_READ,
    "engine.objectives.gradient.GradientMatching._groups": CLASSES_READ,
    "engine.objectives.encoded.Encoded._pulled_back": "images that an objective did not touch pass no encoder",
    "engine.objectives.pooled_ridge.PooledRidge._trained": "a network that left the finite numbers makes way",
    "engine.loops.Loops.after": "a network that left the finite numbers is not remembered",
    "engine.coordinates.Adam.update": MOVE,
    "engine.coordinates.largest_magnitude": MOVE,
    "engine.lamb.Lamb.update": MOVE,
    "engine.growing_mask.GrowingMask.grown": "once a segment, whether any parameter is left to be matched",
    "engine.scope.MatchScope.length": "once a segment, with which step the walk back begins",
    "engine.sources.windows.NormWindow.of": "once a step, where its window lies by the norms of all gradients",
    "engine.sources.queue.Queue._taught": "once a network that has learned, its accuracy, by which it is drawn",
    "engine.ridge_solution._solved": FITTED,
    "training.pretraining.with_classes": FITTED,
    "training.probe.Probe._value": FITTED,
    "training.probe.Probe._walk": FITTED,
    "training.probe.Probe._curvature": FITTED,
    "training.probe._refuse_useless": FITTED,
    "encoders.features._write.pieces": PIECE,
    "quantisation.codes._check": PIECE,
    "quantisation.codes.decoded": PIECE,
    "quantisation.codes.encode.of": PIECE,
    "quantisation.codes.errors": RUN,
    "quantisation.pca.fit_pca": "once a pass over the corpus, whether another one pays",
    "quantisation.autoencoder.state_of": RUN,
    "quantisation.autoencoder_training._step": "the loss of a batch, since a diverged one must not be kept",
    "quantisation.autoencoder_training._finite": "once an epoch, whether it may be kept",
    "denoising.denoiser.state_of": RUN,
    "denoising.denoiser_training.train_denoiser": "once in fifty updates, whether their losses were finite",
    "denoising.denoiser_training._finite": "once in fifty updates, whether they may be kept",
    "selection.region_scores.NoiseErrors.maps": "once a batch of originals, whether the scores are finite",
    "selection.region_scores.best_regions": PIECE,
    "training.encoded.seen_by": "once a set, whether its features are finite",
    "training.images.LabelledImages.stages": "once a network, which images join in which stage",
    "training.fresh_network.finished": TRAINED,
    "training.fresh_network.probabilities": TRAINED,
}
"""All that may wait for the device -> why."""

PLAIN = ("network.width=4", "network.depth=2", "data.image_size=16", "schedule.choose=fixed", "evaluate.raw_epochs=1")
SMALL = {
    "ipc": 2, "iterations": 2, "validate_every": 2, "validate_epochs": 1, "validate_networks": 1, "batch_real": 6,
    "syn_steps": 2, "expert_epochs": 2, "max_start_epoch": 2, "experts.count": 1, "experts.epochs": 4,
    "student_steps": 4, "window": 2, "window_spread": 1, "student_lr": 0.001, "pool": 2, "kept.threshold": 1000,
    "unrolled.student_steps": 4, "unrolled.window": 2, "unrolled.pool": 2, "unrolled.batch_real": 6,
    "loops": 2, "network_epochs": 1, "pool_age": 2, "pool_networks": 2, "frequencies": 8, "former_epochs": 2,
    "queue.every": 1, "queue.first": 2, "queue.most": 2, "queue.steps": 2, "trained.count": 1, "trained.epochs": 1,
    "selection.epochs": 1, "selection.networks": 1, "levels": 2, "min_patients": 3,
    "quantise.min_cluster_size": 2, "quantise.components": 8, "quantise.refine": 2, "autoencoder.width": 8,
    "denoiser.updates": 2, "denoiser.width": 8, "autoencoder.levels": 2, "autoencoder.epochs": 1,
    "autoencoder.latent_channels": 1,
}  # fmt: skip
"""Settings that make a run short, for the methods that have them."""
OWN = {
    "pdd": ["method.stages=2"],
    "satm": ["method.segments=2"],
    "h-glad": ['method.layers=["code"]'],
    "private-means": ["privacy.epsilon=4", "privacy.units=40", "privacy.delta=0.001"],
}
MORE = {
    "both losses, mixed, and usefulness": ("iadd", ["method.real.weight=0.5", "method.real.student_steps=4",
        "method.real.window=2", "method.real.batch_real=6", "method.importance.direction=usefulness"]),
    "a weight for each parameter": ("iadd", ["method.importance.granularity=scalar"]),
    "soft labels": ("rat-bptt", ["method.labels=soft"]),
    "students by Adam": ("unrolled", ["method.inner=adam", "method.labels=soft"]),
    "images that begin as centroids": ("mtt", ["method.init=quantised"]),
    "an autoencoder's centroids": ("ddoq", ["method.quantise.encoder=autoencoder", "method.autoencoder.levels=3"]),
    "tiles": ("dc", ["method.tiles=2"]),
}  # fmt: skip
"""Options of methods that lead elsewhere than their defaults."""


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return drawn_corpus(tmp_path / "corpus")


@pytest.fixture
def encoder(tmp_path: Path, private_cache: Path) -> Iterator[Encoder]:
    with tiny_architecture():
        yield stored_tiny(tmp_path / "encoder")


def recipe_of(method: str, encoder: Encoder, *more: str) -> Recipe:
    """Two outer steps of a method, as short as its settings allow."""
    kind = settings_kind(method)
    own = [f"method.{key}={value}" for key, value in SMALL.items() if field_of(kind, key) is not None]
    probe = ["network.name=probe", f'network.encoder="{encoder.sha256}"'] if issubclass(kind, RenderingRecipe) else []
    if method == "private-means":
        classes = f"data.classes={list(CLASSES)}".replace("'", '"')
        return load_recipe("covid-xray-private", [classes, "data.image_size=16", probe[1], *own[1:], *OWN[method]])
    taught = [f"method.teacher={encoder.sha256}"] if method == "krr-st" else []
    return load_recipe("demo", [*PLAIN, f"method.name={method}", *own, *probe, *taught, *OWN.get(method, []), *more])


def distilled(method: str, recipe: Recipe, corpus: Corpus, out: Path) -> Watched:
    """Distil on the second device; experts are trained before, where the method follows any."""
    experts = followed_experts(corpus, recipe, device="cpu")
    out.mkdir()
    context = Context(corpus, recipe, network_spec(corpus, recipe), META, out, Silent())
    with Watched(WAITS, {"training.probe.Probe._walk": 0.0}) as watched:  # a probe that is settled at once
        find_method(method).distil(context, range(len(CLASSES)), experts, {})
    return watched


@pytest.mark.parametrize("method", method_names())
def test_every_method_takes_outer_steps(method: str, encoder: Encoder, corpus: Corpus, tmp_path: Path) -> None:
    recipe = recipe_of(method, encoder)
    watched = distilled(method, recipe, corpus, tmp_path / "run")
    assert watched.waits["methods.optimising.outer_run.distilled"] >= 3 or not recipe.method.outer_steps


@pytest.mark.parametrize("option", MORE)
def test_options_that_lead_elsewhere(option: str, encoder: Encoder, corpus: Corpus, tmp_path: Path) -> None:
    method, settings = MORE[option]
    assert distilled(method, recipe_of(method, encoder, *settings), corpus, tmp_path / "run").waits


@pytest.mark.parametrize(
    ("method", "fewer", "more"),
    [
        ("mtt", ["method.syn_steps=2"], ["method.syn_steps=4"]),
        ("unrolled", ["method.student_steps=4", "method.window=2"], ["method.student_steps=6", "method.window=3"]),
        ("at-bptt", ["method.student_steps=4"], ["method.student_steps=7"]),
        ("dsa", ["method.network_epochs=1"], ["method.network_epochs=3"]),
    ],
)
def test_a_students_steps_are_not_waited_for(
    method: str, fewer: list[str], more: list[str], encoder: Encoder, corpus: Corpus, tmp_path: Path
) -> None:
    few = distilled(method, recipe_of(method, encoder, *fewer), corpus, tmp_path / "few")
    many = distilled(method, recipe_of(method, encoder, *more), corpus, tmp_path / "many")
    assert many.waits == few.waits
    assert many.sent == few.sent


def trained_on(device: torch.device, corpus: Corpus, recipe: Recipe, batch: int, **more: object) -> None:
    """Train a network for two epochs on the originals."""
    normalisation = Normalisation.of(corpus.images[corpus.rows("train")])
    data = LabelledImages.of_split(corpus, "train", normalisation, device)
    network = build_network(network_spec(corpus, recipe), generator(0), device)
    train(network, data, Schedule(2, batch, 0.01, **more), recipe.augmentation, generator(1), micro_batch=batch)


def test_an_expert_is_not_waited_for_at_all(encoder: Encoder, corpus: Corpus) -> None:
    for batch in (4, 36):
        with Watched({}) as watched:
            trained_on(META, corpus, recipe_of("mtt", encoder), batch, sharpness=0.01, tail=True)
        assert not watched.waits


def trained_privately(network: nn.Module, corpus: Corpus, recipe: Recipe, data: LabelledImages) -> Tensor:
    """Train for an epoch of two updates, which take about half of the patients each, and no more at once than 8."""
    units = torch.from_numpy(np.unique(corpus.units("train", "patient"), return_inverse=True)[1])
    schedule = PrivateSchedule(1, 2, len(units) // 2, 0.5, 0.01, 1.0, 0.5, momentum=0.9, weight_decay=1e-4)
    return train_privately(
        network, data, units, schedule, recipe.augmentation, micro_batch=8, after_epoch=lambda *_: None
    ).values


def test_an_update_under_differential_privacy_is_not_waited_for_at_all(encoder: Encoder, corpus: Corpus) -> None:
    recipe = recipe_of("mtt", encoder)
    normalisation = Normalisation.of(corpus.images[corpus.rows("train")])
    data = LabelledImages.of_split(corpus, "train", normalisation, META)
    network = build_network(network_spec(corpus, recipe), generator(0), META)
    with Watched({}) as watched:
        after = trained_privately(network, corpus, recipe, data)
    assert after.device == META
    assert not watched.waits
    assert not watched.sent


@pytest.mark.parametrize("stray", ["rows", "noise"])
def test_an_update_whose_rows_or_noise_stayed_behind_is_refused(
    stray: str, encoder: Encoder, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = {"rows": torch.int64, "noise": torch.float32}
    moved = dp.sent
    monkeypatch.setattr(dp, "sent", lambda one, device: one if one.dtype == kinds[stray] else moved(one, device))
    recipe = recipe_of("mtt", encoder)
    data = LabelledImages.of_split(corpus, "train", Normalisation.of(corpus.images[corpus.rows("train")]), META)
    network = build_network(network_spec(corpus, recipe), generator(0), META)
    with Watched({}), pytest.raises(RefusedError, match="takes a CPU tensor"):
        trained_privately(network, corpus, recipe, data)


def test_an_epoch_that_would_wait_for_its_order_is_refused(
    encoder: Encoder, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "sent", lambda tensor, device: tensor.to(device))
    with Watched({}), pytest.raises(RefusedError, match=r"waits until numbers are on the device, in training\.loop"):
        trained_on(META, corpus, recipe_of("mtt", encoder), 36)


def test_an_epoch_whose_order_stayed_behind_is_refused(
    encoder: Encoder, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "sent", lambda tensor, device: tensor)
    with Watched({}), pytest.raises(RefusedError, match=r"index\.Tensor takes a CPU tensor \(36,\)"):
        trained_on(META, corpus, recipe_of("mtt", encoder), 36)


def test_an_encoding_waits_for_each_piece_alone(
    encoder: Encoder, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "PIECE", 24)
    with Watched(WAITS) as watched:
        seen = features.features_of(corpus, encoder, META, Silent())
    assert seen.shape == (len(corpus.images), encoder.dimension)
    assert watched.waits == {"encoders.features._write.pieces": 2 * len(corpus.images) / 24}


@pytest.mark.parametrize("soft", [False, True])
def test_an_evaluation_network_waits_when_it_is_trained_and_has_answered(
    soft: bool, encoder: Encoder, corpus: Corpus
) -> None:
    made, recipe = drawn_set(corpus, soft=soft), recipe_of("mtt", encoder)
    spec = network_spec(corpus, recipe)
    with Watched(WAITS) as watched:
        shown = LabelledImages.of_split(corpus, "test", made.normalisation, META)
        training = TrainingSet(LabelledImages.of_set(made, META), small_schedule(recipe.evaluate, lr=0.01, epochs=5))
        answers = train_and_predict(training, shown, spec, recipe, generator(0), META)
    assert answers.shape == (len(shown), len(CLASSES))
    names = ("images.LabelledImages.stages", "fresh_network.finished", "fresh_network.probabilities")
    assert watched.waits == Counter(f"training.{name}" for name in names)


def asked(name: str) -> object:
    """What a name of `WAITS` stands for; of a function within another one, that other one."""
    module, found = "medistill", None
    for part in name.split("."):
        if found is not None:
            found = getattr(found, part) if hasattr(found, part) else found
            continue
        try:
            import_module(f"{module}.{part}")
            module = f"{module}.{part}"
        except ModuleNotFoundError:
            found = getattr(import_module(module), part)
    return found


@pytest.mark.parametrize("name", WAITS)
def test_nothing_is_named_that_there_is_no_more(name: str) -> None:
    assert callable(asked(name)) or isinstance(asked(name), property | cached_property)
