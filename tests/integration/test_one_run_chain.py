"""A set made once more, with coins: one that leaks is found out, and scores know the coins through it alone."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from medistill.artifacts.corpus import LEFT_OUT, Corpus
from medistill.errors import DataError
from medistill.networks.registry import network_spec
from medistill.privacy.attack_registry import all_attacks
from medistill.privacy.attacks.one_run import OneRunAttack
from medistill.privacy.signals import OneRunSignals
from medistill.progress import Silent
from medistill.recipe import AuditRecipe, Recipe, load_recipe
from medistill.studies.audit.context import AuditContext
from medistill.studies.audit.signals import AuditSignals
from medistill.training.device import choose_device
from medistill.workflow.distill import distill
from medistill.workflow.one_run import one_run_recipe, plan_one_run
from tests.factories.drawn_corpus import CLASSES, drawn_corpus
from tests.factories.flat_corpus import save_flat
from tests.factories.tiny_encoder import stored_tiny, tiny_architecture

CANARIES, PATIENTS = 60, 80


def noise(folder: Path) -> Corpus:
    """Two images each of 80 training patients and of 20 others; noise whose classes are drawn too."""
    rng, people = np.random.default_rng(0), PATIENTS + 20
    return save_flat(
        folder,
        images=rng.integers(0, 256, (2 * people, 1, 8, 8)).astype(np.uint8),
        labels=np.repeat(np.arange(people) % 2, 2),
        groups=np.repeat(rng.permutation(1000)[:people], 2),
        splits=np.repeat([0, 1, 2], [2 * PATIENTS, 20, 20]),
        views=["PA"] * (2 * people),
        class_names=("a", "b"),
        site_names=("east",),
    )


def quantised(*overrides: str) -> Recipe:
    """Means of two patients at least, at as many components as there are pixels: hardly anything hides in them."""
    return load_recipe(
        "demo",
        [
            "data.image_size=8", "network.width=4", "network.depth=1", "schedule.choose=fixed", "method.name=ddoq",
            "method.labels=hard", "method.quantise.components=40", "method.quantise.min_cluster_size=2",
            "method.ipc=8", "evaluate.epochs=5", "evaluate.raw_epochs=40", "evaluate.raw_lr=0.05", "audit.networks=1",
            f"audit.one_run_canaries={CANARIES}", *overrides,
        ],
    )  # fmt: skip


def signals_of(corpus: Corpus, recipe: Recipe, folder: Path) -> AuditSignals:
    made = distill(corpus, None, recipe, out=folder / "run", device="cpu")
    spec, out = network_spec(corpus, recipe), folder / "membership"
    return AuditSignals(
        AuditContext(corpus, recipe, spec, choose_device("cpu"), out, Silent(), made, None, built_in=False)
    )


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> tuple[AuditSignals, OneRunSignals]:
    folder = tmp_path_factory.mktemp("one run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDISTILL_CACHE", str(folder / "cache"))
        signals = signals_of(noise(folder / "corpora"), quantised(), folder)
        made = signals.one_run
    assert made is not None
    return signals, made


def test_a_set_of_means_of_two_gives_itself_away(asked: tuple[AuditSignals, OneRunSignals]) -> None:
    found = OneRunAttack().run(asked[0]).one_run
    assert found is not None
    assert (found.canaries, found.inside, found.reason) == (CANARIES, int(asked[1].inside.sum()), "")
    assert (found.delta, found.confidence) == (1e-5, 0.95)
    assert found.of("distilled").epsilon > 1
    assert found.of("random").right > 0.8 * found.of("random").guesses
    assert {one.tests for one in found.bounds} == {12, 3, 6}  # three rules for each score of each source
    assert (found.stated_epsilon, found.stated_reason) == (None, "the set states no differential privacy")


def test_every_canary_is_asked_about_alike_and_those_who_are_in_score_higher(
    asked: tuple[AuditSignals, OneRunSignals],
) -> None:
    made = asked[1]
    kinds = {(one.source, one.attack, one.beside) for one in made.scores}
    assert kinds == {
        *(("distilled", attack, beside) for attack in ("distance", "loss") for beside in (False, True)),
        ("random", "distance", False), ("raw", "loss", False), ("raw", "loss", True),
    }  # fmt: skip
    for one in made.scores:
        assert one.values.shape == (CANARIES,)
        assert np.isfinite(one.values).all()  # of patients out as of patients in
    near = next(
        one.values for one in made.scores if (one.attack, one.source, one.beside) == ("distance", "distilled", 0)
    )
    assert near[made.inside].mean() > near[~made.inside].mean() + 0.1


def test_scores_are_means_over_the_images_of_a_patient_of_the_distance_to_the_set_made_once_more(
    asked: tuple[AuditSignals, OneRunSignals], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made again by hand, and the distances taken by NumPy."""
    monkeypatch.setenv("MEDISTILL_CACHE", str(tmp_path / "cache"))
    signals, made = asked
    corpus, plan = signals.context.corpus, plan_one_run(signals.context.corpus, signals.context.recipe)
    again = distill(
        plan.corpus(corpus), None, one_run_recipe(signals.context.recipe), out=tmp_path / "run", device="cpu"
    )
    grey = again.normalisation.grey(again.images).reshape(len(again.labels), -1).clip(-0.5, 1.5)
    middle = (again.weights / again.weights.sum()) @ grey
    expected = []
    for patient in plan.patients:
        rows = np.flatnonzero(corpus.groups == patient)
        of_images = []
        for row in rows:
            image = corpus.images[row].ravel() / 255
            near = grey[again.labels == corpus.labels[row]]
            of_images.append(np.log(((image - middle) ** 2).sum() / ((image - near) ** 2).sum(axis=1).min()))
        expected.append(np.mean(of_images))
    alone = next(
        one.values for one in made.scores if (one.attack, one.source, one.beside) == ("distance", "distilled", 0)
    )
    assert alone == pytest.approx(np.array(expected), abs=1e-4)


def test_what_was_scored_is_kept_and_nothing_is_made_anew(
    asked: tuple[AuditSignals, OneRunSignals], monkeypatch: pytest.MonkeyPatch
) -> None:
    signals, made = asked
    assert sorted(path.name for path in signals.context.out.iterdir() if path.name.startswith("one_run")) == [
        "one_run.safetensors"
    ]  # the set that was made is gone
    monkeypatch.setattr("medistill.studies.audit.one_run.make_once_more", None)
    again = AuditSignals(signals.context).one_run
    assert again is not None
    assert [asdict(one) | {"values": one.values.tolist()} for one in again.scores] == [
        asdict(one) | {"values": one.values.tolist()} for one in made.scores
    ]


def test_an_attack_that_is_new_is_asked_anew(
    asked: tuple[AuditSignals, OneRunSignals], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was kept knows nothing of it."""
    context = replace(asked[0].context, out=tmp_path / "membership")
    shutil.copytree(asked[0].context.out, context.out)

    def refused(*_: object) -> None:
        raise DataError("making once more", expected="nothing", do="nothing")

    monkeypatch.setattr("medistill.studies.audit.one_run.make_once_more", refused)
    assert AuditSignals(context).one_run.reason == ""
    others = tuple(one for one in all_attacks() if one.name != "distance")
    monkeypatch.setattr("medistill.studies.audit.one_run.all_attacks", lambda: others)
    assert "making once more" in AuditSignals(context).one_run.reason


def test_coins_are_fair_independent_and_a_patients_images_go_together(tmp_path: Path) -> None:
    corpus = noise(tmp_path)
    plans = [plan_one_run(corpus, quantised(f"seed={seed}")) for seed in range(200)]
    assert 0.47 < np.mean([plan.inside.mean() for plan in plans]) < 0.53
    assert 0.05 < np.mean([(plan.inside[0] & plan.inside[1]) for plan in plans]) < 0.45
    plan = plans[0]
    inside, splits = plan.corpus(corpus), plan.corpus(corpus).splits
    assert inside.content != corpus.content
    for patient, coin in zip(plan.patients, plan.inside, strict=True):
        assert set(splits[corpus.groups == patient]) == {0 if coin else LEFT_OUT}
    others = ~np.isin(corpus.groups, plan.patients)
    assert np.array_equal(splits[others], corpus.splits[others])


def test_none_is_made_unasked_and_too_few_patients_are_told(
    asked: tuple[AuditSignals, OneRunSignals],
) -> None:
    context = asked[0].context
    unasked = quantised("audit.one_run_canaries=0")
    assert OneRunAttack().run(AuditSignals(replace(context, recipe=unasked))).one_run is None
    rows, splits = context.corpus.rows("train"), context.corpus.splits.copy()
    twelve = np.unique(context.corpus.groups[rows])[:12]
    splits[rows[~np.isin(context.corpus.groups[rows], twelve)]] = LEFT_OUT
    few = replace(context, corpus=replace(context.corpus, splits=splits), recipe=quantised("audit.one_run_canaries=20"))
    found = OneRunAttack().run(AuditSignals(few)).one_run
    assert found is not None
    assert found.bounds == ()
    assert found.reason == "coins were tossed for 12 patients, and 20 are needed"


def test_a_private_set_is_asked_in_features_and_held_to_its_promise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDISTILL_CACHE", str(tmp_path / "cache"))
    with tiny_architecture():
        encoder = stored_tiny(tmp_path / "encoder")
        recipe = load_recipe(
            "covid-xray-private",
            [
                f"data.classes={json.dumps(CLASSES)}", "data.image_size=16", f"network.encoder={encoder.sha256}",
                "method.iterations=3", "method.levels=2", "method.space=encoder", "privacy.epsilon=4",
                "privacy.units=40", "privacy.delta=0.001", "audit.networks=1", "audit.one_run_canaries=30",
            ],
        )  # fmt: skip
        corpus = drawn_corpus(tmp_path / "corpus")
        made = distill(corpus, None, recipe, out=tmp_path / "run", device="cpu", use="shadow")
        spec, out = network_spec(corpus, recipe), tmp_path / "membership"
        context = AuditContext(corpus, recipe, spec, choose_device("cpu"), out, Silent(), made, None, built_in=False)
        signals = AuditSignals(context)
        evidence = OneRunAttack().run(signals)
        found, scored = evidence.one_run, {one.attack for one in signals.one_run.scores}
    assert scored >= {"distance", "distance in features", "whitened distance in features", "loss", "tracing"}
    assert (found.canaries, found.delta, found.stated_reason) == (30, 0.001, "")
    assert found.stated_epsilon == pytest.approx(4, abs=0.01)
    assert {one.source for one in found.bounds} == {"distilled", "random", "raw"}
    assert found.of("distilled").epsilon <= 4
    assert OneRunAttack().judge(evidence, signals.facts, AuditRecipe()) == (), "30 right guesses would show less than 4"
    assert "was not tested: had every guess about 30 people been right" in OneRunAttack().leaves_open(evidence)
