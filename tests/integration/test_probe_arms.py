"""Probes as networks of the protocol: every arm, the choice of the penalty, what is kept, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from sklearn.linear_model import LogisticRegression

from medistill.artifacts.atomic import sha256_file
from medistill.artifacts.classifier import Classifier
from medistill.artifacts.corpus import LEFT_OUT, Corpus, save_corpus
from medistill.artifacts.kept import keep_json
from medistill.encoders import features
from medistill.encoders.encoder import Encoder
from medistill.encoders.store import remove_encoder
from medistill.errors import DataError, DivergedError, UsageError
from medistill.evaluate.arms import Arms
from medistill.evaluate.evaluation import load_evaluation
from medistill.evaluate.metrics import macro_auc
from medistill.networks.registry import network_spec
from medistill.progress import Silent
from medistill.recipe import Recipe, load_recipe, override_recipe
from medistill.training.context import Context
from medistill.training.encoded import seen_by
from medistill.training.fresh_network import TrainingSet, train_network
from medistill.training.penalty import Penalty
from medistill.workflow import penalty_trials
from medistill.workflow.across import evaluate_across
from medistill.workflow.evaluate import evaluate
from medistill.workflow.evaluate_classifier import evaluate_classifier
from medistill.workflow.received import receive
from medistill.workflow.report import write_report
from medistill.workflow.tested import as_tested
from medistill.workflow.train_classifier import train_classifier
from tests.factories.drawn_corpus import drawn_corpus, drawn_set
from tests.factories.tiny_encoder import stored_tiny, tiny_architecture

CPU = torch.device("cpu")
PENALTIES = (0.01, 1.0, 100.0)


@pytest.fixture
def encoder(tmp_path: Path) -> Iterator[Encoder]:
    with tiny_architecture():
        yield stored_tiny(tmp_path / "encoder")


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return drawn_corpus(tmp_path / "corpus")


@pytest.fixture
def recipe(encoder: Encoder) -> Recipe:
    settings = [
        "data.image_size=16",
        "network.name=probe",
        f"network.encoder={encoder.sha256}",
        "evaluate.networks=3",
        "evaluate.bootstrap=100",
        "method.ipc=2",
        "schedule.choose=validation",
        "schedule.networks=3",
        f"schedule.penalties={','.join(map(str, PENALTIES))}",
    ]
    return load_recipe("demo", settings)


def seen(corpus: Corpus, rows: np.ndarray, encoder: Encoder) -> np.ndarray:
    """Features of rows, encoded here, rounded as the cache keeps them."""
    grey = torch.from_numpy(np.asarray(corpus.images[rows])).float() / 255
    found: np.ndarray = encoder.encoded(grey).half().double().numpy()
    return found


def test_every_arm_is_fitted_and_that_on_all_originals_is_scikit_learns(
    corpus: Corpus, recipe: Recipe, encoder: Encoder, tmp_path: Path
) -> None:
    found = evaluate(drawn_set(corpus, soft=True), corpus, recipe, out=tmp_path / "run")
    counts = {arm.arm: (len(arm.network_accuracy), arm.settled, arm.epochs) for arm in found.arms}
    assert counts == {
        "raw": (1, True, 0), "random": (3, False, 0), "kmeans": (3, False, 0), "hard": (1, True, 0),
        "distilled": (1, True, 0),
    }  # fmt: skip
    assert found.arm("distilled").macro_auc_spread is None
    assert found.beats_random in ("yes", "no"), "the spread of the random arm judges alone"
    assert [choice.arm for choice in found.schedules] == ["raw", "random", "kmeans", "hard", "distilled"]
    for choice in found.schedules:
        assert [trial.candidate for trial in choice.trials] == [Penalty(100.0), Penalty(1.0), Penalty(0.01)]
        assert next(t for t in choice.trials if t.candidate == choice.chosen).score == max(
            t.score for t in choice.trials
        )
        assert not choice.still_rising
    assert load_evaluation(tmp_path / "run" / "evaluation" / "evaluation.json") == found
    train, test = corpus.rows("train"), corpus.rows("test")
    penalty = found.schedules[0].chosen.penalty
    theirs = LogisticRegression(C=1 / (penalty * len(train)), tol=1e-10, solver="newton-cholesky")
    theirs.fit(seen(corpus, train, encoder), corpus.labels[train])
    expected = macro_auc(theirs.predict_proba(seen(corpus, test, encoder)), corpus.labels[test])
    assert found.arm("raw").macro_auc.value == pytest.approx(expected, abs=1e-9)


def test_the_report_says_that_probes_were_fitted(corpus: Corpus, recipe: Recipe, tmp_path: Path) -> None:
    evaluate(drawn_set(corpus), corpus, recipe, out=tmp_path / "run")
    write_report(tmp_path / "run")
    html = (tmp_path / "run" / "report.html").read_text()
    for said in ("L2 penalty", "comes out alike whatever the seed", "Under which penalty each arm was fitted"):
        assert said in html
    for unsaid in ("random initial values", "stochastic gradient descent", "momentum 0.9", " 0 epochs"):
        assert unsaid not in html


def test_a_search_that_was_interrupted_goes_on_and_networks_on_originals_are_kept_for_all_sets(
    corpus: Corpus, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, real = [], penalty_trials.Probe.of
    counted = SimpleNamespace(of=lambda data, classes: begun.append(len(data)) or real(data, classes))
    monkeypatch.setattr(penalty_trials, "Probe", counted)
    made = drawn_set(corpus)
    first = evaluate(made, corpus, recipe, out=tmp_path / "run")
    assert begun == [36, 36, 36] + [6] * 3 + [6] * 3 + [6], "three folds, three draws, three draws, the one set"
    kept = tmp_path / "run" / "evaluation" / "schedules" / "distilled.json"
    kept.unlink()
    begun.clear()
    again = evaluate(made, corpus, recipe, out=tmp_path / "run")
    assert begun == [6]
    assert [replace(c, seconds=0) for c in again.schedules] == [replace(c, seconds=0) for c in first.schedules]
    begun.clear()
    other = replace(made, images=made.images[::-1].copy(), labels=made.labels[::-1].copy())
    evaluate(other, corpus, recipe, out=tmp_path / "other")
    assert begun == [6], "of originals nothing is fitted again"


def test_a_penalty_at_the_edge_is_said_and_one_between_is_not(
    corpus: Corpus, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    heard = Silent()
    monkeypatch.setattr(heard, "say", said.append, raising=False)
    for best in PENALTIES:
        monkeypatch.setattr(
            penalty_trials._Path, "go_on", lambda path, at, best=best: path.scores.update({at: -abs(np.log(at / best))})
        )
        found = evaluate(drawn_set(corpus), corpus, recipe, out=tmp_path / str(best), progress=heard)
        recipe = recipe.model_copy(update={"seed": recipe.seed + 1})
        assert {choice.chosen.penalty for choice in found.schedules} == {best}
        assert all(choice.at_edge == (best != 1.0) for choice in found.schedules)
        assert any("at the edge" in words for words in said) == (best != 1.0)
        said.clear()


def test_images_are_encoded_once_for_all_that_shares_their_pixels(
    corpus: Corpus, recipe: Recipe, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded, real = [], features._write
    monkeypatch.setattr(features, "_write", lambda *args: encoded.append(1) or real(*args))
    evaluate(drawn_set(corpus), corpus, recipe, out=tmp_path / "run")
    whole = as_tested(corpus, made_from="another")
    evaluate(drawn_set(corpus), whole, recipe, out=tmp_path / "elsewhere")
    halved = replace(corpus, content="half", splits=np.where(np.arange(72) % 2, corpus.splits, LEFT_OUT))
    features.features_of(halved, encoder, CPU, Silent())
    assert encoded == [1]
    part = drawn_corpus(tmp_path / "more", each=28)
    features.carry_features(corpus, corpus_of_rows(corpus, tmp_path / "part"), encoder, CPU, Silent())
    assert encoded == [1]
    with pytest.raises(DataError, match="not among those of the whole"):
        features.carry_features(corpus, part, encoder, CPU, Silent())


def corpus_of_rows(corpus: Corpus, folder: Path) -> Corpus:
    """Every third image, backwards, as a corpus of its own."""
    rows = np.arange(len(corpus.labels))[::-3]
    return save_corpus(folder, corpus.images[rows], corpus.columns.of_rows(rows.tolist()), corpus.facts, ())


def test_features_that_are_carried_are_those_that_would_be_encoded(
    corpus: Corpus, encoder: Encoder, tmp_path: Path
) -> None:
    part = corpus_of_rows(corpus, tmp_path / "part")
    features.carry_features(corpus, part, encoder, CPU, Silent())
    kept = features.features_of(part, encoder, CPU, Silent())
    np.testing.assert_allclose(kept.astype(float), seen(part, np.arange(len(part.labels)), encoder), atol=2e-3)


def test_a_fixed_penalty_and_other_networks_beside_a_probe(corpus: Corpus, recipe: Recipe, tmp_path: Path) -> None:
    fixed = override_recipe(recipe, ["schedule.choose=fixed", "schedule.penalty=0.5"], "test")
    found = evaluate(drawn_set(corpus), corpus, fixed, out=tmp_path / "run")
    assert found.schedules == ()
    spec = network_spec(corpus, fixed)
    arms = Arms(drawn_set(corpus), corpus, fixed, CPU, encoder=spec.encoder)
    assert {arms.schedule(arm) for arm in arms.names} == {Penalty(0.5)}
    small = ["network.depth=2", "network.width=4", "evaluate.epochs=2", "evaluate.raw_epochs=2"]
    [other] = evaluate_across(
        drawn_set(corpus), corpus,
        override_recipe(fixed, [*small, 'evaluate.across=["convnet"]'], "test"), out=tmp_path / "run",
    )  # fmt: skip
    assert other.network == "ConvNet, depth 2, width 4"
    assert [len(arm.network_accuracy) for arm in other.arms] == [3] * 4
    assert not other.fitted


def test_a_classifier_is_the_probe_of_the_report_and_asks_for_its_encoder(
    corpus: Corpus, recipe: Recipe, encoder: Encoder, tmp_path: Path
) -> None:
    made, only = drawn_set(corpus), override_recipe(recipe, ["evaluate.arms=[]"], "test")
    made.save(tmp_path / "run" / "set")
    digest = sha256_file(tmp_path / "run" / "set" / "images.safetensors")
    found = evaluate(made, corpus, only, out=tmp_path / "run")
    keep_json(tmp_path / "run/evaluation/evaluation.json", {**found.as_json(), "set_digest": digest}, private=True)
    schedules = receive(tmp_path / "run").schedules
    assert schedules == {found.network: found.schedules[0].chosen}
    train_classifier(made, only, out=tmp_path / "model", schedules=schedules)
    classifier = Classifier.load(tmp_path / "model")
    assert classifier.provenance.penalty == found.schedules[0].chosen.penalty
    assert (classifier.provenance.lr, classifier.epochs) == (None, 0)
    assert classifier.recipe.network.encoder == encoder.sha256
    assert {name: array.shape for name, array in classifier.weights.items()} == {
        "weight": (3, encoder.dimension), "bias": (3,),
    }  # fmt: skip
    tested = evaluate_classifier(classifier, corpus, only, out=tmp_path / "tested")
    stored = load_file(tmp_path / "run/evaluation/networks/distilled_000.safetensors")
    again = load_file(tmp_path / "tested/evaluation/networks/distilled_000.safetensors")
    np.testing.assert_allclose(again["test"], stored["test"], atol=1e-6)
    assert tested.arms[0].settled
    elsewhere = as_tested(corpus, made_from="another")
    there = evaluate(made, elsewhere, recipe, out=tmp_path / "there", schedules=schedules)
    alone = Arms(made, elsewhere, only, CPU, schedules={"distilled": found.schedules[0].chosen}, encoder=encoder)
    assert there.arms[0].epochs == alone.epochs("distilled") == 0
    remove_encoder(encoder.sha256)
    with pytest.raises(
        UsageError,
        match=rf"encoder of this classifier is not on this machine: SHA-256 {encoder.sha256}.*get it \(tests\)",
    ):
        evaluate_classifier(classifier, corpus, only, out=tmp_path / "again")
    for use in (
        lambda: evaluate(made, corpus, only, out=tmp_path / "third"),
        lambda: train_classifier(made, only, out=tmp_path / "second"),
    ):
        with pytest.raises(UsageError, match=f"encoder {encoder.sha256[:12]} is not in the cache"):
            use()


def test_a_way_to_train_that_a_stranger_states_for_another_kind_of_network_is_not_gone(
    corpus: Corpus, recipe: Recipe, tmp_path: Path
) -> None:
    small = ["network.name=convnet", "network.encoder=", "network.depth=2", "network.width=4", "evaluate.epochs=2"]
    plain = override_recipe(recipe, small, "test")
    words = network_spec(corpus, plain).words
    classifier = train_classifier(drawn_set(corpus), plain, out=tmp_path / "model", schedules={words: Penalty(1.0)})
    assert classifier.epochs == 2


def test_an_encoder_that_sees_nothing_or_no_numbers_is_named(
    corpus: Corpus, recipe: Recipe, encoder: Encoder, tmp_path: Path
) -> None:
    made = drawn_set(corpus)
    spec = network_spec(corpus, recipe)
    context = Context(corpus, recipe, spec, CPU, tmp_path, Silent())
    for parameter in encoder.network.parameters():
        parameter.data.zero_()
    data = Arms(made, corpus, recipe, CPU).material("distilled", 0)[1]
    dead = seen_by(encoder, data, CPU)
    assert (dead.pixels == dead.pixels[0]).all()
    with pytest.raises(DataError, match="features of all 6 images are the same"):
        train_network(TrainingSet(dead, Penalty(1.0)), context.spec, recipe, torch.Generator(), CPU)
    for parameter in encoder.network.parameters():
        parameter.data.fill_(torch.nan)
    with pytest.raises(DivergedError, match="features that are not finite"):
        seen_by(encoder, data, CPU)
    with pytest.raises(DivergedError, match="not finite"):
        features.features_of(corpus, encoder, CPU, Silent())
