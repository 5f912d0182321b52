"""Own originals beside what others sent: weights, labels and grey values, against scikit-learn and by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.label_kind import LabelKind
from medistill.artifacts.normalisation import Normalisation
from medistill.encoders.encoder import Encoder
from medistill.encoders.features import features_of
from medistill.errors import DivergedError, UsageError
from medistill.evaluate.home_guard import HomeGuard, balanced_mean
from medistill.networks.registry import network_spec
from medistill.progress import Silent
from medistill.recipe import Recipe, load_recipe, override_recipe
from medistill.recipe.exchange import ExchangeRecipe
from medistill.sharing.merge_source import MergeSource
from medistill.studies.exchange.blend import Sent, blended, unblendable
from medistill.studies.exchange.choice import (
    OwnPatients,
    Way,
    answers,
    best_way,
    losses_of,
    offered_weights,
    penalties_of,
    tried_weights,
    way_beside,
)
from medistill.studies.exchange.sites import plan_exchange
from medistill.studies.exchange.small_hospital import hospital_answers
from medistill.studies.exchange.sources import Sources
from medistill.studies.exchange.study import exchange_study
from medistill.training.context import Context
from medistill.training.encoded import features_at
from medistill.training.fresh_network import TrainingSet
from medistill.training.penalty import Penalty
from medistill.training.randomness import generator
from tests.factories.drawn_corpus import CLASSES, drawn_corpus, drawn_set
from tests.factories.sited_corpus import corpus_of
from tests.factories.tiny_encoder import stored_tiny, tiny_architecture


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return drawn_corpus(tmp_path / "corpus")


@pytest.fixture
def encoder(tmp_path: Path) -> Iterator[Encoder]:
    with tiny_architecture():
        yield stored_tiny(tmp_path / "encoder")


def context_of(corpus: Corpus, recipe: Recipe, out: Path) -> Context:
    return Context(corpus, recipe, network_spec(corpus, recipe, None), torch.device("cpu"), out, Silent())


def probing(corpus: Corpus, encoder: Encoder, out: Path, *more: str) -> Context:
    classes = f"data.classes={list(CLASSES)}".replace("'", '"')
    settings = [classes, "data.image_size=16", f"network.encoder={encoder.sha256}", *more]
    return context_of(corpus, load_recipe("exchange-encoded", settings), out)


def test_a_probe_of_both_is_that_of_scikit_learn_with_these_weights(
    corpus: Corpus, encoder: Encoder, tmp_path: Path
) -> None:
    context = probing(corpus, encoder, tmp_path, "schedule.penalties=[0.01, 1.0]")
    rows, held, sent = corpus.rows("train")[:20], corpus.rows("test"), drawn_set(corpus)
    sent = replace(sent, weights=np.linspace(0.5, 1.5, len(sent.labels)).astype(np.float32))
    data = blended(rows, Sent.of(sent, context), 3.0, Normalisation.of(corpus.images[rows]), context)
    shown = features_at(corpus, held, encoder, context.device)
    found = answers(TrainingSet(data, Penalty(1.0)), shown, context, lambda: generator(0, "none"))
    whole = features_of(corpus, encoder, context.device, Silent()).astype(np.float64)
    grey = torch.from_numpy(sent.normalisation.grey(sent.images)).float()
    theirs = encoder.encoded(grey).double().numpy()
    features = np.concatenate([whole[rows], theirs])
    labels = np.concatenate([corpus.labels[rows], sent.labels])
    weights = np.concatenate([np.ones(len(rows)), 3.0 * sent.weights])
    assert penalties_of(context) == (1.0, 0.01)
    for told, penalty in zip(found, penalties_of(context), strict=True):
        other = LogisticRegression(C=1 / (penalty * weights.sum()), tol=1e-10, max_iter=10_000)
        other.fit(features, labels, sample_weight=weights)
        np.testing.assert_allclose(told, other.predict_proba(whole[held]), atol=1e-5)


def test_pixels_of_both_are_the_same_grey_values_in_the_normalisation_of_the_originals(
    corpus: Corpus, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    context, rows = context_of(corpus, tiny_recipe, tmp_path), corpus.rows("train")[:5]
    sent, own = drawn_set(corpus, soft=True), Normalisation((0.2,), (0.1,))
    data = blended(rows, Sent.of(sent, context), 0.3, own, context)
    grey = np.concatenate([corpus.images[rows] / 255, sent.normalisation.grey(sent.images)])
    np.testing.assert_allclose(own.grey(data.batch(slice(None)).numpy()), grey, atol=1e-5)
    np.testing.assert_allclose(data.weights.numpy(), [1] * 5 + [0.3] * len(sent.labels), rtol=1e-6)
    assert data.soft_labels is not None
    np.testing.assert_array_equal(data.soft_labels[:5].argmax(dim=1), corpus.labels[rows])
    np.testing.assert_array_equal(data.soft_labels[5:], sent.soft_labels)
    assert len(blended(rows, None, 1.0, own, context)) == 5


def test_losses_are_those_of_scikit_learn_with_classes_alike_often() -> None:
    rng = np.random.default_rng(0)
    labels, found = rng.integers(0, 3, 30), rng.dirichlet(np.ones(3), (2, 30))
    alike = (1 / np.bincount(labels))[labels]
    for told, one in zip(balanced_mean(losses_of(found, labels), labels), found, strict=True):
        assert told == pytest.approx(log_loss(labels, one, sample_weight=alike))


def test_the_smallest_loss_is_chosen_and_what_diverged_is_not() -> None:
    own = OwnPatients(np.array([0, 0, 0, 1]), np.arange(4))

    def four(*means: list[float]) -> np.ndarray:
        """Losses of four patients with these means, where the one of the rare class weighs as much as the others."""
        return np.array(means)[..., None] + np.array([0.1, -0.1, 0, 0])

    losses = four([0.5, np.nan], [0.4, 0.3])
    assert best_way(losses, own, (0.1, 1.0), (10.0, 0.1)) == Way(1.0, 0.1)
    assert best_way(four([0.3], [np.nan]), own, (0.1, 1.0), (None,)) == Way(0.1, None)
    rare = four([0.5], [0.5]) + np.array([[[0.0, 0, 0, 0.3]], [[0.2, 0.2, 0.2, 0]]])
    assert best_way(rare, own, (0.1, 1.0), (None,)) == Way(1.0, None)
    with pytest.raises(DivergedError, match=r"every weight .* makes a network diverge"):
        best_way(np.full((1, 2, 4), np.nan), own, (1.0,), (10.0, 0.1))


def test_the_guard_tries_to_use_nothing_and_each_weight_under_its_best_penalty() -> None:
    own = OwnPatients(np.arange(6) % 2, np.arange(6))
    spread = np.array([0.1, -0.1, 0, 0, -0.1, 0.1])
    losses = np.array([[0.9, 0.5], [0.2, np.nan], [0.21, 0.19]])[..., None] + np.zeros(6)
    losses[2] += spread  # which cannot be told from the row above
    settings = ExchangeRecipe(weights=(1.0, 0.3), guard="home")
    assert tried_weights(settings) == offered_weights(settings) == (0.0, 0.3, 1.0)
    found = way_beside(losses, own, (10.0, 0.1), settings)
    seen = HomeGuard(0.3, 1.0, pytest.approx(0.31), pytest.approx(0.05, abs=0.02))
    assert found == Way(0.3, 10.0, guard=seen)
    told = ExchangeRecipe(weights=(1.0, 0.3), guard="off")
    assert offered_weights(told) == (1.0, 0.3)
    assert way_beside(losses, own, (10.0, 0.1), told) == Way(1.0, 0.1, guard=seen)
    harm = losses[[2, 1, 0]]
    assert way_beside(harm, own, (10.0, 0.1), settings).weight == 0
    assert way_beside(harm, own, (10.0, 0.1), told).weight == 0.3  # of what is on offer
    nothing = ExchangeRecipe(weights=(1.0, 0.0), guard="off")
    assert way_beside(harm[[0, 2]], own, (10.0, 0.1), nothing).weight == 0


def labelled(corpus: Corpus, kind: LabelKind) -> DistilledSet:
    """A set whose labels are of that kind; target vectors are of a teacher's width, not of as many as classes."""
    made = drawn_set(corpus, soft=True)
    assert made.soft_labels is not None
    width = 7 if kind == "targets" else made.soft_labels.shape[1]
    vectors = np.random.default_rng(0).normal(size=(len(made.labels), width)).astype(np.float32)
    return made if kind == "probabilities" else replace(made, soft_labels=vectors, label_kind=kind)


@pytest.mark.parametrize("kind", ["values", "targets"])
def test_labels_that_are_no_classes_never_stand_beside_originals(
    kind: LabelKind, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    cells = [(site, name, split, 4) for site in "ew" for name in "AB" for split in ("train", "val", "test")]
    corpus = corpus_of(tmp_path / "corpus", *cells)
    context, sites = context_of(corpus, tiny_recipe, tmp_path), plan_exchange(corpus, images=2)
    sent = labelled(corpus, kind)
    sets = {site.name: MergeSource(site.name, sent, "0" * 64, sender=site.name) for site in sites}
    told = [Sources(sites, sets, {}, context)._own_and_others(site) for site in sites]
    assert [(data, "values or target vectors" in reason) for data, reason in told] == [(None, True)] * 2
    with pytest.raises(UsageError, match="values or target vectors, which cannot stand beside the classes"):
        hospital_answers(sites[0], sent, corpus.rows("test"), context)
    assert unblendable(labelled(corpus, "probabilities")) == ""
    data, _ = Sources(
        sites, {**sets, "e": replace(sets["e"], distilled=labelled(corpus, "probabilities"))}, {}, context
    )._own_and_others(sites[1])
    assert data is not None


def test_united_sets_count_alike_by_site_unless_the_recipe_counts_images(tiny_recipe: Recipe, tmp_path: Path) -> None:
    cells = [(site, name, split, 4) for site in "enw" for name in "AB" for split in ("train", "val", "test")]
    corpus = corpus_of(tmp_path / "corpus", *cells)
    sites = plan_exchange(corpus, images=2)
    counts = {"e": 1, "n": 2, "w": 6}  # images of each class
    sets = {name: MergeSource(name, drawn_set(corpus, ipc=n), f"{n:064d}", sender=name) for name, n in counts.items()}

    def sums(united: DistilledSet, *names: str) -> list[float]:
        """Of the weights of each site and class, site after site."""
        senders = np.repeat(np.arange(len(names)), [2 * counts[name] for name in names])
        return [united.weights[(senders == k) & (united.labels == c)].sum() for k in range(len(names)) for c in (0, 1)]

    for balance, whole, others in (("sites", [3.0] * 6, [4.0] * 4), ("images", [1.0, 1, 2, 2, 6, 6], [2.0, 2, 6, 6])):
        recipe = override_recipe(tiny_recipe, [f"exchange.balance={balance}"], "test")
        sources = Sources(sites, sets, {}, context_of(corpus, recipe, tmp_path))
        np.testing.assert_allclose(sums(sources.united, *"enw"), whole, rtol=1e-6)
        given = sources.others_of("e")
        assert given is not None
        np.testing.assert_allclose(sums(given, *"nw"), others, rtol=1e-6)
        alone = sources.others_of("e", "n")
        assert alone is not None
        assert alone is sets["w"].distilled
    unseen = [one for one in sources.all() if one.without]
    assert [(one.site, one.without, one.name) for one in unseen] == [
        (mine, other, f"own_and_unseen_{names[mine]}_{names[other]}")
        for names in ({site.name: site.folder for site in sites},)
        for mine in "enw"
        for other in "enw"
        if other != mine
    ]
    [first, *_] = unseen
    assert first.data is not None
    [third] = {"e", "n", "w"} - {first.site, first.without}
    assert first.data.sent == 2 * counts[third]
    assert len({one.random_names for one in unseen}) == 6
    none = override_recipe(tiny_recipe, ["exchange.left_out=none"], "test")
    assert not [one for one in Sources(sites, sets, {}, context_of(corpus, none, tmp_path)).all() if one.without]


@pytest.mark.parametrize(("recipe", "name"), [("covid-xray-krr-st", "KRR-ST"), ("covid-xray-frepo", "FRePo")])
def test_a_method_whose_labels_are_no_classes_is_refused_before_anything_is_read(
    recipe: str, name: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=f"{name} makes sets whose labels are values or target vectors"):
        exchange_study(tmp_path / "none", load_recipe(recipe, ["exchange.hospital=e"]), out=tmp_path / "study")
    assert not (tmp_path / "study").exists()
