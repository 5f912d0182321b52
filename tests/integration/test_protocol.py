"""The protocol on drawn images: which arms there are, what they cost, what is trained again, and other networks."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

from medistill.artifacts.atomic import read_tensors, write_tensors
from medistill.artifacts.cache import cache_folder
from medistill.artifacts.corpus import Corpus
from medistill.errors import ArtifactError, DivergedError, RecipeError, UsageError
from medistill.evaluate.arms import Arms
from medistill.evaluate.evaluation import load_evaluation
from medistill.evaluate.network_keys import arm_stores
from medistill.evaluate.predictions import load_arms, load_truth
from medistill.networks.convnet import ConvNet
from medistill.networks.registry import REGISTRY, network_spec
from medistill.progress import Silent, SilentTask
from medistill.recipe import Recipe, load_recipe, override_recipe
from medistill.recipe.arms import ARMS, Arm
from medistill.training import ensemble
from medistill.training.context import Context
from medistill.workflow import evaluate as workflow
from medistill.workflow.across import check_across, evaluate_across
from medistill.workflow.evaluate import evaluate
from medistill.workflow.run_log import RunLog
from tests.factories.drawn_corpus import drawn_corpus, drawn_set
from tests.factories.heard import Heard

CPU = torch.device("cpu")


@pytest.fixture
def corpus(tmp_path) -> Corpus:
    return drawn_corpus(tmp_path / "corpus")


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    settings = [
        "data.image_size=16",
        "network.depth=2",
        "network.width=4",
        "evaluate.networks=2",
        "evaluate.epochs=4",
    ]
    return load_recipe(
        "demo", [*settings, "evaluate.raw_epochs=3", "schedule.choose=fixed", "evaluate.bootstrap=100", "method.ipc=2"]
    )


@pytest.fixture
def trainings(monkeypatch) -> Counter:
    """How many networks of each arm have been trained, counted where they are."""
    counted: Counter = Counter()
    real = ensemble.do

    def count(job, *others):
        outputs = real(job, *others)
        counted[job.group] += 1
        return outputs

    monkeypatch.setattr(ensemble, "do", count)
    return counted


def small(width: int = 2):
    """A registry entry's constructor that makes a small ConvNet in place of a network that takes long."""
    return lambda spec: ConvNet(spec.channels, spec.image_size, spec.classes, depth=1, width=width)


class Exploding(nn.Module):
    """Its logits leave the finite numbers at once."""

    def __init__(self, spec) -> None:
        super().__init__()
        self.out = nn.Linear(spec.channels * spec.image_size**2, spec.classes)

    def forward(self, images):
        return self.out(images.flatten(1)) * 1e38 * 10


def test_every_arm_is_trained_as_the_protocol_says(corpus, recipe):
    made = drawn_set(corpus, soft=True)
    arms = Arms(made, corpus, recipe, CPU)
    assert arms.names == ("raw", "random", "kmeans", "hard", "distilled")
    sets = {arm: arms.training_set(arm, 0) for arm in arms.names}
    for arm in ("random", "kmeans"):
        assert sets[arm].data.labels.tolist() == made.labels.tolist()
        pixels = {image.tobytes() for image in corpus.images[corpus.rows("train")]}
        assert {image.tobytes() for image in sets[arm].data.stored(slice(None)).numpy()} <= pixels
        assert sets[arm].schedule.lr == recipe.evaluate.lr
        another = arms.training_set(arm, 1).data.stored(slice(None))
        assert torch.equal(arms.training_set(arm, 0).data.stored(slice(None)), sets[arm].data.stored(slice(None)))
        assert arm == "kmeans" or not torch.equal(another, sets[arm].data.stored(slice(None)))
    assert sets["hard"].data.soft_labels is None
    assert torch.equal(sets["hard"].data.stored(slice(None)), sets["distilled"].data.stored(slice(None)))
    assert sets["hard"].schedule == sets["distilled"].schedule
    assert sets["hard"].schedule.lr == made.student_lr
    assert sets["distilled"].data.soft_labels is not None
    assert len(sets["raw"].data) == len(corpus.rows("train"))
    told = {arm: (one.schedule.epochs, one.schedule.decay_epoch, one.schedule.momentum) for arm, one in sets.items()}
    assert told == {arm: (3, 2, 0.9) if arm == "raw" else (4, 3, 0.9) for arm in arms.names}


def test_hard_labels_are_an_arm_only_where_labels_are_soft_and_controls_are_chosen(corpus, recipe):
    few = override_recipe(recipe, ['evaluate.arms=["kmeans"]'], "test")
    assert Arms(drawn_set(corpus), corpus, few, CPU).names == ("kmeans", "distilled")
    assert Arms(drawn_set(corpus, soft=True), corpus, few, CPU).names == ("kmeans", "hard", "distilled")


def test_an_arm_is_one_line(corpus, recipe, trainings, tmp_path, monkeypatch):
    """Written down and asked for, it is trained, compared, stored and told of; nothing else has to know it."""
    monkeypatch.setitem(ARMS, "again", Arm("again", "Others", "other originals", "as many originals", "at random"))
    wider = recipe.evaluate.model_copy(update={"arms": ("raw", "again")})
    asked = recipe.model_copy(update={"evaluate": wider})
    found = evaluate(drawn_set(corpus), corpus, asked, out=tmp_path, device="cpu")
    assert trainings == {"raw": 2, "again": 2, "distilled": 2}
    assert [result.arm for result in found.arms] == ["raw", "distilled", "again"]
    assert found.arm("again").images == found.arm("distilled").images
    assert found.difference("again").accuracy.value is not None
    assert [arm.arm for arm in load_arms(tmp_path / "evaluation")] == ["raw", "distilled", "again"]


def test_each_network_draws_its_own_k_means(corpus, recipe):
    arms = Arms(drawn_set(corpus, ipc=5), corpus, recipe, CPU)
    drawn = {arms.training_set("kmeans", number).data.stored(slice(None)).numpy().tobytes() for number in range(4)}
    assert len(drawn) > 1


def test_costs_are_those_of_the_files(corpus, recipe, tmp_path):
    made = drawn_set(corpus, soft=True)
    made.save(tmp_path / "set")
    stored = sum(tensor.nbytes for tensor in load_file(tmp_path / "set" / "images.safetensors").values())
    evaluation = evaluate(made, corpus, recipe, out=tmp_path, device="cpu")
    train = corpus.rows("train")
    costs = {arm.arm: (arm.images, arm.bytes, arm.epochs, arm.images_seen) for arm in evaluation.arms}
    assert costs == {
        "raw": (len(train), corpus.images[train].nbytes, 3, 3 * len(train)),
        "random": (6, 6 * 16 * 16, 4, 24),
        "kmeans": (6, 6 * 16 * 16, 4, 24),
        "hard": (6, stored - made.soft_labels.nbytes, 4, 24),
        "distilled": (6, stored, 4, 24),
    }
    assert all(0 < arm.seconds_a_network < 60 for arm in evaluation.arms)
    assert evaluation.network == "ConvNet, depth 2, width 4"
    network = ConvNet(1, 16, 3, depth=2, width=4)
    assert evaluation.parameters == sum(parameter.numel() for parameter in network.parameters())
    shares = {arm.arm: arm.accuracy.value for arm in evaluation.arms}
    assert evaluation.hard_label_recovery.value == pytest.approx(shares["raw"] - shares["hard"])
    assert evaluation.improvement_over_random.value == pytest.approx(shares["distilled"] - shares["random"])


def test_what_is_asked_for_later_is_trained_and_nothing_else(corpus, recipe, trainings, tmp_path):
    made, out = drawn_set(corpus, soft=True), tmp_path / "grown"
    first = override_recipe(recipe, ['evaluate.arms=["raw"]', "evaluate.networks=1"], "test")
    evaluate(made, corpus, first, out=out, device="cpu")
    assert trainings == {"raw": 1, "hard": 1, "distilled": 1}
    trainings.clear()
    evaluate(made, corpus, recipe, out=out, device="cpu")
    assert trainings == {"raw": 1, "random": 2, "kmeans": 2, "hard": 1, "distilled": 1}
    trainings.clear()
    changes = ["evaluate.margin=0.2", "evaluate.specificity=0.8", 'evaluate.across=["alexnet"]']
    evaluate(made, corpus, override_recipe(recipe, changes, "test"), out=out, device="cpu")
    assert not trainings
    evaluate(made, corpus, recipe, out=tmp_path / "whole", device="cpu")
    for grown, whole in zip(*(load_arms(folder / "evaluation") for folder in (out, tmp_path / "whole")), strict=True):
        np.testing.assert_array_equal(grown.test, whole.test)
        assert not np.array_equal(whole.test[0], whole.test[1]), "networks of an arm draw numbers of their own"


def test_answers_that_are_not_what_was_kept_are_told_and_made_again(corpus, recipe, trainings, tmp_path):
    """Halves that changed places within a file, and two files that did: both once changed an AUC unnoticed."""

    made, hears = drawn_set(corpus), Heard()
    first = evaluate(made, corpus, recipe, out=tmp_path, device="cpu").as_json()
    networks = tmp_path / "evaluation" / "networks"
    trainings.clear()
    path = networks / "distilled_000.safetensors"
    arrays, metadata = read_tensors(path, "answers")
    half = len(arrays["test"]) // 2
    write_tensors(path, arrays | {"test": np.concatenate([arrays["test"][half:], arrays["test"][:half]])}, metadata)
    kept = cache_folder() / "yardsticks"
    [raw], [random] = (list(kept.rglob(f"{arm}_000.safetensors")) for arm in ("raw", "random"))
    raw.rename(raw.with_name("aside"))
    random.rename(raw)
    raw.with_name("aside").rename(random)
    again = evaluate(made, corpus, recipe, out=tmp_path, device="cpu", progress=hears).as_json()
    assert trainings == {"raw": 1, "random": 1, "distilled": 1}
    told = " ".join(line for line in hears.said if "checksum" in line)
    assert all(name in told for name in ("raw_000", "random_000", "distilled_000"))
    assert [one["macro_auc"] for one in again["arms"]] == [one["macro_auc"] for one in first["arms"]]
    record = tmp_path / "evaluation" / "evaluation.json"
    record.write_text(record.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(ArtifactError, match=r"evaluation\.json .*checksum does not fit"):
        load_evaluation(record)
    path = tmp_path / "evaluation" / "truth.safetensors"
    arrays, metadata = read_tensors(path, "truth")
    write_tensors(path, arrays | {"test_labels": np.roll(arrays["test_labels"], 1)}, metadata)
    with pytest.raises(ArtifactError, match=r"truth\.safetensors .*checksum does not fit"):
        load_truth(tmp_path / "evaluation")


def test_a_set_of_another_corpus_or_split_may_know_the_test_patients_and_that_is_said(corpus, recipe, tmp_path):
    for known, warned in (({"corpus": corpus.content}, False), ({"corpus": "0" * 64}, True), ({}, True)):
        heard, made = Heard(), replace(drawn_set(corpus), provenance=known)
        evaluate(made, corpus, recipe, out=tmp_path, device="cpu", progress=heard)
        assert (workflow.OTHER_CORPUS in heard.said) is warned


def test_an_interrupted_evaluation_trains_only_what_is_missing(corpus, recipe, trainings, tmp_path):
    class Stops(Silent):
        def task(self, title, total, *, done=0):
            class Task(SilentTask):
                def advance(self, steps=1, *, figures=""):
                    if figures == "kmeans, network 2 of 2":
                        raise KeyboardInterrupt

            return Task()

    with pytest.raises(KeyboardInterrupt):
        evaluate(drawn_set(corpus), corpus, recipe, out=tmp_path, device="cpu", progress=Stops())
    assert trainings == {"raw": 2, "random": 2, "kmeans": 1}
    trainings.clear()
    evaluate(drawn_set(corpus), corpus, recipe, out=tmp_path, device="cpu")
    assert trainings == {"kmeans": 1, "distilled": 2}


def test_a_finished_evaluation_of_another_set_is_not_overwritten(corpus, recipe, trainings, tmp_path):
    evaluate(drawn_set(corpus), corpus, recipe, out=tmp_path, device="cpu")
    before, _ = (tmp_path / "evaluation" / "evaluation.json").read_bytes(), trainings.clear()
    other = replace(drawn_set(corpus), student_lr=0.03)
    with pytest.raises(UsageError, match="another set"):
        evaluate(other, corpus, recipe, out=tmp_path, device="cpu")
    assert not trainings
    assert (tmp_path / "evaluation" / "evaluation.json").read_bytes() == before


def test_whatever_decides_a_network_makes_the_stored_one_stale(corpus, recipe):
    made = drawn_set(corpus, soft=True)

    def key(made=made, corpus=corpus, settings=(), place="cpu"):
        chosen = override_recipe(recipe, list(settings), "test")
        spec = network_spec(corpus, chosen)
        context = Context(corpus, chosen, spec, torch.device(place), corpus.path, Silent())
        return arm_stores(context, Arms(made, corpus, chosen, torch.device("cpu")))["distilled"].key

    changed = [
        key(made=replace(made, **{name: value}))
        for name, value in (
            ("images", made.images + 1),
            ("labels", made.labels[::-1].copy()),
            ("weights", made.weights * 2),
            ("stage", made.stage + 1),
            ("student_lr", 0.03),
            ("soft_labels", made.soft_labels[::-1].copy()),
            ("soft_labels", None),
            ("normalisation", replace(made.normalisation, std=(0.5,))),
        )
    ]
    settings = ["seed=1", "network.width=6", "augmentation.mode=all", "compute.precision=bf16"]
    settings += [f"evaluate.{name}={value}" for name, value in (("epochs", 5), ("lr", 0.02), ("raw_lr", 0.02))]
    changed += [key(settings=[one]) for one in settings]
    changed += [key(corpus=replace(corpus, content="0" * 64)), key(place="cuda")]
    assert len({key(), *changed}) == 1 + len(changed)
    assert key(settings=["evaluate.networks=9", "evaluate.margin=0.3", "evaluate.smallest_cell=3"]) == key()


def test_progress_and_log_tell_every_arm_and_network_and_the_images_add_up(corpus, recipe, tmp_path):
    told = []

    class Hears(Silent):
        def task(self, title, total, *, done=0):
            class Task(SilentTask):
                def advance(self, steps=1, *, figures=""):
                    told.append((title, total, steps))

            return Task()

    log = RunLog(tmp_path / "log.jsonl", Hears())
    evaluation = evaluate(drawn_set(corpus), corpus, recipe, out=tmp_path, device="cpu", progress=log)
    seen = sum(2 * arm.images_seen for arm in evaluation.arms)
    assert {(title, total) for title, total, _ in told} == {("Evaluating on convnet", seen)}
    assert sum(steps for _, _, steps in told) == seen
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    begun = [line["figures"] for line in lines if line["event"] == "progress"]
    expected = [f"{arm.arm}, network {k} of 2" for arm in evaluation.arms for k in (1, 2)]
    assert list(dict.fromkeys(begun)) == expected
    said = " ".join(line["message"] for line in lines if line["event"] == "say")
    assert all(f"Arm {arm.arm} on convnet: " in said for arm in evaluation.arms)
    assert lines[-2] == {**lines[-2], "event": "end", "total": seen, "done": seen, "figures": expected[-1]}


def test_other_networks_lie_beside_and_are_trained_once(corpus, recipe, trainings, tmp_path, monkeypatch):
    for name, width in (("resnet18", 2), ("alexnet", 3)):
        monkeypatch.setitem(REGISTRY, name, replace(REGISTRY[name], construct=small(width)))
    wide = override_recipe(recipe, ['evaluate.across=["resnet18"]'], "test")
    (first,) = evaluate_across(drawn_set(corpus), corpus, wide, out=tmp_path, device="cpu")
    assert first.network == "ResNet-18"
    assert load_evaluation(tmp_path / "across" / "resnet18" / "evaluation" / "evaluation.json") == first
    assert sum(trainings.values()) == 8
    trainings.clear()
    wider = override_recipe(recipe, ['evaluate.across=["resnet18", "alexnet", "resnet18"]'], "test")
    again, second = evaluate_across(drawn_set(corpus), corpus, wider, out=tmp_path, device="cpu")
    assert again == first
    assert sum(trainings.values()) == 8
    assert (second.network, second.parameters > first.parameters) == ("AlexNet", True)
    assert {arm.arm for arm in second.arms} == {"raw", "random", "kmeans", "distilled"}


def test_a_network_whose_probabilities_are_not_finite_has_diverged(corpus, recipe, tmp_path, monkeypatch):
    """Its parameters may still be: the last step before they are not."""

    class Overflows(ConvNet):
        def forward(self, images):
            return super().forward(images) if self.training else super().forward(images) * torch.inf

    def construct(spec):
        return Overflows(spec.channels, spec.image_size, spec.classes, depth=2, width=2)

    monkeypatch.setitem(REGISTRY, "resnet18", replace(REGISTRY["resnet18"], construct=construct))
    wide = override_recipe(recipe, ['evaluate.across=["resnet18"]'], "test")
    assert evaluate_across(drawn_set(corpus), corpus, wide, out=tmp_path, device="cpu") == ()
    assert "diverged" in json.loads((tmp_path / "across" / "resnet18" / "failed.json").read_text())["reason"]
    assert not list((tmp_path / "across").rglob("raw_*"))


def test_images_too_small_for_a_network_are_refused_before_anything_is_trained(corpus, recipe, trainings, tmp_path):
    wide = override_recipe(recipe, ['evaluate.across=["alexnet", "vgg11"]'], "test")
    with pytest.raises(RecipeError, match=r"vgg11 with data\.image_size = 16.*at least 32 pixels"):
        evaluate_across(drawn_set(corpus), corpus, wide, out=tmp_path, device="cpu")
    assert not trainings
    check_across(corpus, recipe)


def test_a_network_that_diverges_is_told_of_and_the_others_go_on(corpus, recipe, tmp_path, monkeypatch):
    monkeypatch.setitem(REGISTRY, "resnet18", replace(REGISTRY["resnet18"], construct=Exploding))
    monkeypatch.setitem(REGISTRY, "alexnet", replace(REGISTRY["alexnet"], construct=small()))
    wide = override_recipe(recipe, ['evaluate.across=["resnet18", "alexnet"]', "network.name=resnet18"], "test")
    (made,) = evaluate_across(drawn_set(corpus), corpus, wide, out=tmp_path, device="cpu")
    assert made.network == "AlexNet"
    failed = json.loads((tmp_path / "across" / "resnet18" / "failed.json").read_text())
    assert failed["network"] == "ResNet-18"
    assert "raw, network 1 of 2: " in failed["reason"]
    assert "diverged" in failed["reason"]
    with pytest.raises(DivergedError, match="raw, network 1 of 2"):
        evaluate(drawn_set(corpus), corpus, wide, out=tmp_path / "main", device="cpu")
    monkeypatch.setitem(REGISTRY, "resnet18", replace(REGISTRY["resnet18"], construct=small()))
    assert len(evaluate_across(drawn_set(corpus), corpus, wide, out=tmp_path, device="cpu")) == 2
    assert not (tmp_path / "across" / "resnet18" / "failed.json").exists()
