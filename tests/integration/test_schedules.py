"""Schedules chosen on patients who are not tested: who scores them, what is kept, and what follows for the verdict."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from medistill.artifacts.atomic import sha256_file
from medistill.artifacts.cache import cache_folder
from medistill.artifacts.classifier import Classifier
from medistill.artifacts.corpus import Corpus
from medistill.artifacts.kept import keep_json, read_checked_json
from medistill.errors import DivergedError, UsageError
from medistill.evaluate.arms import Arms
from medistill.evaluate.course import Course
from medistill.evaluate.evaluation import Evaluation, load_evaluation
from medistill.evaluate.protocol import scheduled
from medistill.evaluate.schedule_choice import Candidate, ScheduleChoice
from medistill.networks.registry import network_spec
from medistill.networks.restored import restored_network
from medistill.progress import Silent
from medistill.recipe import load_recipe, override_recipe
from medistill.sharing.bundle import evaluations_of
from medistill.training.context import Context
from medistill.training.fresh_network import TrainingSet, train_and_predict
from medistill.training.images import LabelledImages
from medistill.training.randomness import generator
from medistill.workflow import course_trials, trials
from medistill.workflow.across import evaluate_across
from medistill.workflow.evaluate import evaluate
from medistill.workflow.received import receive
from medistill.workflow.tested import as_tested
from medistill.workflow.train_classifier import train_classifier
from tests.factories.drawn_corpus import drawn_corpus, drawn_set
from tests.factories.heard import Heard

SETTINGS = (
    "data.image_size=16",
    "network.depth=2",
    "network.width=4",
    "evaluate.networks=1",
    "evaluate.bootstrap=100",
    "method.ipc=2",
    "schedule.choose=validation",
    "schedule.rates=0.01,0.05",
    "schedule.batch_sizes=8",
    "schedule.updates=4",
    "schedule.most_updates=16",
    "schedule.networks=3",
)


@pytest.fixture
def corpus(tmp_path) -> Corpus:
    return drawn_corpus(tmp_path / "corpus")


@pytest.fixture(scope="module")
def recipe():
    return load_recipe("demo", SETTINGS)


@pytest.fixture
def asked(monkeypatch) -> list:
    """What every network of a search was trained on and scored on, as pixels."""
    seen, real = [], Course.predict

    def predict(course, schedule, shown, tick):
        seen.append((course.data.stored(slice(None)), shown.stored(slice(None))))
        return real(course, schedule, shown, tick)

    monkeypatch.setattr(Course, "predict", predict)
    return seen


def rows_of(pixels: torch.Tensor, corpus: Corpus) -> set[int]:
    """Rows of the corpus whose images these are; -1 for distilled ones."""
    known = {image.tobytes(): row for row, image in enumerate(corpus.images)}
    return {known.get(image.numpy().tobytes(), -1) for image in pixels}


def test_no_patient_who_is_tested_or_was_trained_on_scores_a_way(corpus, recipe, tmp_path, asked):
    made = drawn_set(corpus)
    evaluate(made, corpus, recipe, out=tmp_path / "run")
    test = set(corpus.groups[corpus.rows("test")].tolist())
    scored: set[int] = set()
    for trained_on, shown in asked:
        learnt, judged = rows_of(trained_on, corpus) - {-1}, rows_of(shown, corpus)
        assert judged
        assert -1 not in judged
        patients = set(corpus.groups[sorted(judged)].tolist())
        assert not patients & test
        assert not patients & set(corpus.groups[sorted(learnt)].tolist())
        scored |= judged if len(learnt) > len(made.labels) else set()
    everybody = {*corpus.rows("train").tolist(), *corpus.rows("val").tolist()}
    assert scored == everybody, "all originals are scored on every patient of train and val, a third at a time"


def test_every_arm_is_searched_alike_and_says_what_it_took(corpus, recipe, tmp_path):
    made = drawn_set(corpus, soft=True)
    found = evaluate(made, corpus, recipe, out=tmp_path / "run")
    assert [choice.arm for choice in found.schedules] == ["raw", "random", "kmeans", "hard", "distilled"]
    for choice in found.schedules:
        rates = {0.01, 0.05} | ({made.student_lr} if choice.arm in ("hard", "distilled") else set())
        shortest = choice.trials[0].candidate.updates
        assert {trial.candidate.lr for trial in choice.trials if trial.candidate.updates == shortest} == rates
        assert all(len(trial.scores) == 3 for trial in choice.trials)
        best = max(trial.score for trial in choice.trials)
        assert next(trial for trial in choice.trials if trial.candidate == choice.chosen).score == best
        assert (
            found.arm(choice.arm).epochs
            == scheduled(choice.chosen, found.arm(choice.arm).images, recipe.evaluate).epochs
        )
    assert load_evaluation(tmp_path / "run" / "evaluation" / "evaluation.json") == found


@pytest.mark.parametrize("arm", ["random", "distilled"])
def test_a_search_that_was_interrupted_goes_on_and_ends_alike(corpus, recipe, tmp_path, asked, arm):
    made = drawn_set(corpus)
    whole = evaluate(made, corpus, recipe, out=tmp_path / "whole")
    assert len(asked) == sum(3 * len(choice.trials) for choice in whole.schedules), "nothing was in the cache"
    trained = len(asked)
    kept = searched(tmp_path / "whole", arm)
    assert kept.stat().st_mode & 0o777 == 0o600
    stored = read_checked_json(kept, "trials")
    keep_json(kept, {**stored, "trials": stored["trials"][:1]}, private=True)
    again = evaluate(made, corpus, recipe, out=tmp_path / "whole")
    assert len(asked) - trained == 3 * (len(stored["trials"]) - 1)
    assert untimed(again) == untimed(whole)
    text = kept.read_text()
    for damaged in (text.replace("0.0", "0.1", 1), "{}", "nothing"):
        kept.write_text(damaged)
        trained = len(asked)
        assert untimed(evaluate(made, corpus, recipe, out=tmp_path / "whole")) == untimed(whole)
        assert len(asked) - trained == 3 * len(stored["trials"])


def searched(run: Path, arm: str) -> Path:
    """Where what was tried on an arm is kept: of originals in the cache, for every set of the corpus."""
    place = run / "evaluation" if arm == "distilled" else cache_folder() / "yardsticks"
    [found] = place.rglob(f"schedules/{arm}.json")
    return found


def test_originals_are_trained_once_for_all_sets(corpus, recipe, tmp_path, asked):
    one = drawn_set(corpus)
    first = evaluate(one, corpus, recipe, out=tmp_path / "first")
    trained = len(asked)
    other = replace(one, images=one.images[::-1].copy(), labels=one.labels[::-1].copy())
    second = evaluate(other, corpus, recipe, out=tmp_path / "second")
    assert {len(of_pixels) for of_pixels, _ in asked[trained:]} == {len(one.labels)}, "only the set is searched anew"
    assert untimed(first)[:-1] == untimed(second)[:-1]
    assert first.arm("raw").macro_auc == second.arm("raw").macro_auc
    more = override_recipe(recipe, ["method.ipc=3"], "test")
    trained = len(asked)
    larger = drawn_set(corpus, ipc=3)
    evaluate(larger, corpus, more, out=tmp_path / "third")
    again = {len(of_pixels) for of_pixels, _ in asked[trained:]}
    assert again == {len(larger.labels)}, "as many random originals as the set has, but all originals are the same"


def test_damage_among_what_all_sets_share_opens_no_folder_of_another_set(corpus, recipe, tmp_path):
    short = override_recipe(recipe, ["schedule.choose=fixed", "evaluate.epochs=2", "evaluate.raw_epochs=2"], "test")
    one = drawn_set(corpus)
    evaluate(one, corpus, short, out=tmp_path / "run")
    for path in cache_folder().rglob("raw_000.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    other = replace(one, images=one.images[::-1].copy(), labels=one.labels[::-1].copy())
    with pytest.raises(UsageError, match="holds the evaluation of something else"):
        evaluate(other, corpus, short, out=tmp_path / "run")


def test_a_length_on_the_way_is_what_a_training_of_that_length_gives(corpus, recipe):
    made, place = drawn_set(corpus), torch.device("cpu")
    _, data = Arms(made, corpus, recipe, place).material("raw", 0)
    spec, shown = network_spec(corpus, recipe), LabelledImages.of_split(corpus, "val", made.normalisation, place)
    lengths = [scheduled(Candidate(8, 0.05, updates), len(data), recipe.evaluate) for updates in (20, 40, 80)]
    context = Context(corpus, recipe, spec, place, corpus.path, Silent())
    course = Course(data, lengths[-1], lambda: generator(0, "course"), context)
    for schedule in lengths:
        alone = train_and_predict(TrainingSet(data, schedule), shown, spec, recipe, generator(0, "course"), place)
        on_the_way = course.predict(schedule, shown, lambda epoch: None)
        np.testing.assert_array_equal(on_the_way, alone)


def untimed(evaluation: Evaluation) -> list[ScheduleChoice]:
    return [replace(one, seconds=0.0) for one in evaluation.schedules]


def test_two_lengths_of_the_same_passes_are_the_same_training(corpus, recipe):
    data = Arms(drawn_set(corpus), corpus, recipe, torch.device("cpu")).of_rows(corpus.rows("train"))
    schedule = scheduled(Candidate(8, 0.05, 4), len(data), recipe.evaluate)
    context = Context(corpus, recipe, network_spec(corpus, recipe), torch.device("cpu"), corpus.path, Silent())
    course = Course(data, schedule, lambda: generator(0, "course"), context)
    first, second = (course.predict(schedule, data, lambda epoch: None) for _ in range(2))
    assert np.array_equal(first, second)


def test_no_verdict_against_originals_that_were_not_trained_to_their_end(corpus, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(course_trials, "macro_auc", _rises_with_each_call())
    found = evaluate(drawn_set(corpus), corpus, recipe, out=tmp_path / "run")
    assert all(choice.still_rising for choice in found.schedules)
    assert found.non_inferiority == "cannot be judged"
    assert "not trained to their end" in found.reason


def _rises_with_each_call():
    calls = iter(range(10_000))
    return lambda *_: next(calls) / 100


def test_rates_that_all_diverge_are_named(corpus, recipe, tmp_path):
    wild = override_recipe(recipe, ["schedule.rates=1e30"], "test")
    with pytest.raises(DivergedError, match="no way of training arm raw") as caught:
        evaluate(drawn_set(corpus), corpus, wild, out=tmp_path / "run")
    assert "schedule.rates" in caught.value.do


def test_a_diverging_rate_beside_a_good_one_is_survived(corpus, recipe, tmp_path):
    wild = override_recipe(recipe, ["schedule.rates=0.01,1e30", 'evaluate.arms=["raw"]'], "test")
    found = evaluate(drawn_set(corpus), corpus, wild, out=tmp_path / "run")
    raw = found.schedules[0]
    assert raw.chosen.lr == 0.01
    assert any("diverged" in trial.reason for trial in raw.trials)


def test_updates_are_whole_passes_and_a_small_set_is_one_batch(recipe):
    raw = scheduled(Candidate(64, 0.01, 100), 1206, recipe.evaluate)
    assert (raw.batch_size, raw.epochs, raw.epochs * 19 >= 100, (raw.epochs - 1) * 19 < 100) == (64, 6, True, True)
    small = scheduled(Candidate(64, 0.01, 100), 20, recipe.evaluate)
    assert (small.batch_size, small.epochs) == (20, 100)


def test_patients_are_dealt_out_evenly_and_whole(corpus, recipe):
    fold = trials.deal_out(corpus, recipe)
    inside = np.concatenate([corpus.rows("train"), corpus.rows("val")])
    assert (fold[corpus.rows("test")] == -1).all()
    assert set(fold[inside]) == {0, 1, 2}
    for patient in np.unique(corpus.groups[inside]):
        assert len(np.unique(fold[inside[corpus.groups[inside] == patient]])) == 1
    for c in range(len(corpus.class_names)):
        counts = np.bincount(fold[inside[corpus.labels[inside] == c]], minlength=3)
        assert counts.max() - counts.min() <= max(np.bincount(corpus.groups[inside]))


def test_a_recipe_may_fix_the_schedule(corpus, recipe, tmp_path):
    fixed = override_recipe(recipe, ["schedule.choose=fixed", "evaluate.epochs=3", "evaluate.raw_epochs=2"], "test")
    found = evaluate(drawn_set(corpus), corpus, fixed, out=tmp_path / "run")
    assert found.schedules == ()
    assert Arms(drawn_set(corpus), corpus, fixed, torch.device("cpu")).epochs("raw") == 2


def test_a_classifier_is_trained_as_the_report_of_the_set_says(corpus, recipe, tmp_path):
    made, only = drawn_set(corpus), override_recipe(recipe, ["evaluate.arms=[]"], "test")
    made.save(tmp_path / "run" / "set")
    digest = sha256_file(tmp_path / "run" / "set" / "images.safetensors")
    found = evaluate(replace(made, provenance={}), corpus, only, out=tmp_path / "run")
    keep_json(tmp_path / "run/evaluation/evaluation.json", {**found.as_json(), "set_digest": digest}, private=True)
    received = receive(tmp_path / "run")
    [choice] = found.schedules
    assert received.schedules == {found.network: choice.chosen}
    assert receive(tmp_path / "run" / "set").schedules == received.schedules, "the set inside its run is the same set"
    heard = Heard()
    train_classifier(made, only, out=tmp_path / "model", schedules=received.schedules, progress=heard)
    [said] = heard.said
    assert "as those of the set's own report were" in said
    assert f"{choice.chosen.updates} updates of up to {choice.chosen.batch_size} images" in said
    classifier = Classifier.load(tmp_path / "model")
    assert classifier.provenance.lr == choice.chosen.lr
    assert classifier.epochs == scheduled(choice.chosen, len(made.labels), only.evaluate).epochs
    images = torch.from_numpy(classifier.normalisation.apply(np.asarray(corpus.images[corpus.rows("test")])))
    with torch.no_grad():
        told = restored_network(classifier)(images).softmax(dim=1).numpy()
    stored = load_file(tmp_path / "run/evaluation/networks/distilled_000.safetensors")
    np.testing.assert_allclose(told, stored["test"], atol=1e-6)
    fixed = override_recipe(only, ["schedule.choose=fixed", "evaluate.epochs=3"], "test")
    for settings, schedules, why in (
        (fixed, received.schedules, "as schedule.choose=fixed asks"),
        (override_recipe(only, ["evaluate.epochs=3"], "test"), {}, "no report of the set says"),
    ):
        heard, out = Heard(), tmp_path / why
        assert train_classifier(made, settings, out=out, schedules=schedules, progress=heard).epochs == 3
        assert "for 3 epochs" in heard.said[0]
        assert why in heard.said[0]


def test_other_networks_too_are_trained_as_the_report_of_the_set_says(corpus, recipe, tmp_path):
    made = drawn_set(corpus)
    only = override_recipe(recipe, ["evaluate.arms=[]", 'evaluate.across=["convnet"]'], "test")
    made.save(tmp_path / "run" / "set")
    digest = sha256_file(tmp_path / "run" / "set" / "images.safetensors")
    [found] = evaluate_across(made, corpus, only, out=tmp_path / "run")
    stored = tmp_path / "run/across/convnet/evaluation/evaluation.json"
    keep_json(stored, {**found.as_json(), "set_digest": digest}, private=True)
    schedules = receive(tmp_path / "run").schedules
    [choice] = found.schedules
    assert schedules == {found.network: choice.chosen}
    (tmp_path / "run/evaluation").mkdir()
    (tmp_path / "run/evaluation/evaluation.json").write_text("{}", encoding="utf-8")  # as of another version
    assert receive(tmp_path / "run").schedules == schedules
    elsewhere = as_tested(corpus, made_from="another corpus")
    [there] = evaluate_across(made, elsewhere, only, out=tmp_path / "elsewhere", schedules=schedules)
    assert there.arms[0].epochs == scheduled(choice.chosen, len(made.labels), only.evaluate).epochs
    assert there.arms[0].epochs != only.evaluate.epochs


def test_the_evaluations_in_a_bundle_are_read_where_they_can_be(corpus, recipe, tmp_path):
    found = evaluate(
        drawn_set(corpus), corpus, override_recipe(recipe, ["evaluate.arms=[]"], "t"), out=tmp_path / "run"
    )
    told = {"evaluation": found.as_json(), "across": [found.as_json()]}
    assert evaluations_of({"report.json": json.dumps(told).encode()}) == [found, found]
    older = {**told, "across": [{**found.as_json(), "schema": 1}]}
    for spoilt in ({}, {"report.json": b"{"}, {"report.json": b"[]"}, {"report.json": json.dumps(older).encode()}):
        assert evaluations_of(spoilt) == []


def test_a_large_corpus_is_seen_once_at_least_and_each_length_is_longer(corpus, recipe, tmp_path):
    """36 training images in batches of 8 take five updates: lengths of 1 and 2 updates would be one pass both."""
    short = override_recipe(recipe, ["schedule.updates=1", "schedule.most_updates=20", "schedule.least_gain=0"], "test")
    found = evaluate(drawn_set(corpus), corpus, short, out=tmp_path / "run")
    lengths = {choice.arm: sorted({trial.candidate.updates for trial in choice.trials}) for choice in found.schedules}
    assert lengths["raw"][0] == 5
    assert set(lengths["raw"]) <= {5, 10, 20}
    assert lengths["distilled"][0] == 1
