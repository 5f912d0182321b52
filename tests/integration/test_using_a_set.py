"""A recipient's way: train on a set, test on images of one's own, unite sets, export; nothing half-written is left."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from typer.testing import CliRunner, Result

from medistill.artifacts.atomic import sha256_file
from medistill.artifacts.classifier import Classifier, ClassifierProvenance
from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.errors import ArtifactError, DataError, UsageError
from medistill.evaluate.evaluation import load_evaluation
from medistill.evaluate.schedule_choice import Candidate
from medistill.networks.restored import restored_network
from medistill.progress import Silent, SilentTask
from medistill.recipe import Recipe, load_recipe
from medistill.workflow.evaluate import OTHER_CORPUS, evaluate
from medistill.workflow.evaluate_classifier import OWN_THRESHOLDS, evaluate_classifier
from medistill.workflow.export import export_dd_ranking
from medistill.workflow.merge import merge
from medistill.workflow.prepare import prepare
from medistill.workflow.received import ReceivedSet, receive
from medistill.workflow.report import write_report
from medistill.workflow.share import share
from medistill.workflow.train_classifier import train_classifier
from medistill_cli.main import app
from tests.factories.drawn_corpus import drawn_corpus, drawn_set
from tests.factories.heard import Heard
from tests.settings_restored import settings_restored

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guide" / "using-a-set.md"


class Impatient(Silent):
    """Wants to stop at the third safe point."""

    def task(self, title: str, total: int, *, done: int = 0) -> SilentTask:
        class Third(SilentTask):
            steps = 0

            def advance(self, steps: int = 1, *, figures: str = "") -> None:
                self.steps += 1
                if self.steps == 3:
                    raise KeyboardInterrupt

        return Third()


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return drawn_corpus(tmp_path / "corpus")


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    settings = [
        "data.image_size=16",
        "network.depth=2",
        "network.width=4",
        "evaluate.networks=2",
        "evaluate.epochs=4",
        "schedule.choose=fixed",
    ]
    return load_recipe("demo", [*settings, "evaluate.arms=[]", "evaluate.bootstrap=100", "method.ipc=2"])


def _told(distilled: DistilledSet, recipe: Recipe, number: int = 0) -> DistilledSet:
    """The set with a provenance as a run writes it, and other images for another number."""
    provenance = {"recipe": recipe.model_dump(mode="json"), "synthetic_source": True, "privacy": "None was sought."}
    return replace(distilled, images=distilled.images + np.float32(number), provenance=provenance)


def test_a_classifier_is_the_first_network_that_an_evaluation_trains(
    tmp_path: Path, corpus: Corpus, recipe: Recipe
) -> None:
    made = drawn_set(corpus, soft=True)
    evaluate(made, corpus, recipe, out=tmp_path / "of-set")
    train_classifier(made, recipe, out=tmp_path / "model")
    classifier = Classifier.load(tmp_path / "model")
    evaluation = evaluate_classifier(classifier, corpus, recipe, out=tmp_path / "of-model")
    stored = [
        load_file(tmp_path / of / "evaluation/networks/distilled_000.safetensors") for of in ("of-set", "of-model")
    ]
    for split in ("validation", "test"):
        np.testing.assert_allclose(stored[0][split], stored[1][split], atol=1e-6)
    network = restored_network(classifier)
    images = torch.from_numpy(classifier.normalisation.apply(np.asarray(corpus.images[corpus.rows("test")])))
    with torch.no_grad():
        right = (network(images).argmax(1).numpy() == corpus.labels[corpus.rows("test")]).mean()
    assert evaluation.arms[0].accuracy.value == pytest.approx(right)
    assert evaluation.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert load_evaluation(tmp_path / "of-model/evaluation/evaluation.json").arms[0].images == len(made.labels)
    report = write_report(tmp_path / "of-model")
    assert report.title == "Classifier trained on 6\xa0distilled images, tested as it was received"
    told = {caveat.title for caveat in report.not_promised}
    assert {"Thresholds of this corpus", "Privacy is not judged here", "Test patients may not be new"} <= told
    assert "No formal privacy guarantee" not in told
    page = (tmp_path / "of-model" / "report.html").read_text(encoding="utf-8")
    assert "tested as it was received" in page
    assert "no network was trained on originals" in page
    for wrong in ("that had no part in making them", "Fresh networks were trained on each", "no audit was run"):
        assert wrong not in page


def test_a_classifier_on_the_first_images_is_one_on_a_set_of_these_alone(
    tmp_path: Path, corpus: Corpus, recipe: Recipe
) -> None:
    whole = _told(drawn_set(corpus, soft=True, ipc=3), recipe)
    rows = [row for row in range(len(whole.labels)) if row % 3 < 2]
    assert whole.soft_labels is not None
    alone = replace(
        whole,
        images=whole.images[rows],
        labels=whole.labels[rows],
        weights=whole.weights[rows],
        stage=whole.stage[rows],
        soft_labels=whole.soft_labels[rows],
    )
    for name, made in (("whole", whole), ("alone", alone)):
        made.save(tmp_path / name)
    said = {"whole": ["--first", "2"], "alone": []}
    for name, more in said.items():
        words = ["train", str(tmp_path / name), "--out", str(tmp_path / f"{name}-model"), "--device", "cpu", *more]
        with settings_restored():
            told = CliRunner().invoke(app, words)
        assert told.exit_code == 0, told.stderr
    found, expected = (Classifier.load(tmp_path / f"{name}-model") for name in said)
    assert found.images == expected.images == len(rows)
    assert found.provenance.set_digest == expected.provenance.set_digest
    assert (found.provenance.first, expected.provenance.first) == (2, None)
    for name, array in expected.weights.items():
        np.testing.assert_array_equal(found.weights[name], array)


@pytest.mark.parametrize(("first", "cut_to"), [(1, 1), (3, None), (None, None)])
def test_the_schedule_of_the_report_counts_for_all_images_alone(
    first: int | None,
    cut_to: int | None,
    tmp_path: Path,
    corpus: Corpus,
    recipe: Recipe,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _told(drawn_set(corpus, ipc=3), recipe).save(tmp_path / "set")
    schedules = {"a network": Candidate(8, 0.01, 100)}
    seen: list[tuple[int | None, object]] = []

    def load(source: Path, trust: list[str] | None) -> ReceivedSet:
        return replace(receive(source), schedules=schedules)

    def caught(distilled: DistilledSet, *_: object, **told: object) -> None:
        seen.append((distilled.cut_to, told["schedules"]))
        raise KeyboardInterrupt

    monkeypatch.setattr("medistill_cli.commands.train.load_set", load)
    monkeypatch.setattr("medistill.workflow.train_classifier.train_classifier", caught)
    more = [] if first is None else ["--first", str(first)]
    with settings_restored():
        CliRunner().invoke(app, ["train", str(tmp_path / "set"), "--out", str(tmp_path / "model"), *more])
    assert seen == [(cut_to, schedules if cut_to is None else {})]


def test_weights_count_in_an_evaluation_and_in_a_classifier(tmp_path: Path, corpus: Corpus, recipe: Recipe) -> None:
    """One image of weight 2 beside another of weight 0 teaches what the one image twice teaches, for every command."""
    plain = recipe.model_copy(
        update={
            "augmentation": recipe.augmentation.model_copy(update={"operations": ()}),
            "evaluate": recipe.evaluate.model_copy(update={"networks": 1}),
        }
    )
    made = drawn_set(corpus, soft=True)
    assert made.soft_labels is not None
    first = np.repeat(np.arange(0, len(made.labels), 2), 2)
    twice = replace(made, images=made.images[first], soft_labels=made.soft_labels[first])
    weighty = replace(made, weights=np.tile(np.array([2, 0], np.float32), len(made.labels) // 2))
    learnt = []
    for name, one in (("weighty", weighty), ("twice", twice), ("made", made)):
        classifier = train_classifier(one, plain, out=tmp_path / f"model-{name}")
        learnt.append(np.concatenate([array.ravel() for array in classifier.weights.values()]))
    np.testing.assert_allclose(learnt[0], learnt[1], atol=1e-5)
    assert np.abs(learnt[0] - learnt[2]).max() > 1e-3
    answers = []
    for name, one in (("weighty", weighty), ("twice", twice)):
        evaluate(one, corpus, plain, out=tmp_path / name)
        answers.append(load_file(tmp_path / name / "evaluation/networks/distilled_000.safetensors")["test"])
    np.testing.assert_allclose(*answers, atol=1e-5)


def test_an_export_says_what_dd_ranking_leaves_out(tmp_path: Path, corpus: Corpus) -> None:
    weighted = replace(drawn_set(corpus), weights=np.array([0.5, 1.5, 1, 1, 1, 1], np.float32))
    for name, made in (("plain", drawn_set(corpus)), ("weighted", weighted)):
        made.save(tmp_path / name)
        told = _run(tmp_path, "export", name, "--out", f"tensors-{name}")
        assert told.exit_code == 0, told.stderr
        assert ("no place for the weights" in told.stderr) == (name == "weighted")
    again = _run(tmp_path, "export", "weighted", "--out", "tensors", "--json")
    assert "no place for the weights" in json.loads(again.stdout)["left_behind"]


def test_thresholds_are_chosen_on_the_recipients_validation_split(
    tmp_path: Path, corpus: Corpus, recipe: Recipe
) -> None:
    made = replace(drawn_set(corpus), provenance={"corpus": "of another hospital"})
    classifier = train_classifier(made, recipe, out=tmp_path / "model")
    for known, warned in (({"corpus": corpus.content}, []), ({}, [OTHER_CORPUS]), (made.provenance, [OTHER_CORPUS])):
        heard, of_set = Heard(), replace(classifier, provenance=ClassifierProvenance(set=known))
        evaluation = evaluate_classifier(of_set, corpus, recipe, out=tmp_path / "run", progress=heard)
        assert [line for line in heard.said if line in (OTHER_CORPUS, OWN_THRESHOLDS)] == [*warned, OWN_THRESHOLDS]
    told = load_file(tmp_path / "run/evaluation/distilled.safetensors")["validation"][0]
    for c, of_class in enumerate(evaluation.arms[0].classes):
        [threshold] = of_class.point("youden").thresholds
        cases = corpus.labels[corpus.rows("val")] == c
        scores = told[:, c]

        def youden(at: float, scores: np.ndarray = scores, cases: np.ndarray = cases) -> float:
            return float((scores[cases] >= at).mean() - (scores[~cases] >= at).mean())

        assert youden(threshold) == pytest.approx(max(youden(at) for at in scores))


def test_other_classes_shapes_and_folders_are_refused(tmp_path: Path, corpus: Corpus, recipe: Recipe) -> None:
    made = drawn_set(corpus)
    classifier = train_classifier(made, recipe, out=tmp_path / "model")
    assert classifier.recipe.data.classes == corpus.class_names
    with pytest.raises(UsageError, match="holds something already"):
        train_classifier(made, recipe, out=tmp_path / "model")
    with pytest.raises(DataError, match="the classifier has the classes viral, Normal"):
        evaluate_classifier(
            replace(classifier, class_names=("viral", "Normal", "Pneumonia")), corpus, recipe, out=tmp_path / "run"
        )
    larger = drawn_corpus(tmp_path / "larger", size=32)
    with pytest.raises(DataError, match="the classifier's images are"):
        evaluate_classifier(classifier, larger, recipe, out=tmp_path / "run")
    evaluate_classifier(classifier, corpus, recipe, out=tmp_path / "run")
    other = {name: array + 1 for name, array in classifier.weights.items()}
    with pytest.raises(UsageError, match="the evaluation of something else"):
        evaluate_classifier(replace(classifier, weights=other), corpus, recipe, out=tmp_path / "run")


def test_a_training_that_is_stopped_leaves_nothing(tmp_path: Path, corpus: Corpus, recipe: Recipe) -> None:
    before = set(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        train_classifier(drawn_set(corpus), recipe, out=tmp_path / "model", progress=Impatient())
    assert set(tmp_path.iterdir()) == before


def test_sets_are_united_from_disk_and_a_full_disk_leaves_nothing(
    tmp_path: Path, corpus: Corpus, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [_told(drawn_set(corpus), recipe, number) for number in range(2)]
    for name, one in zip(("east", "west"), made, strict=True):
        one.save(tmp_path / name / "set")
    united = merge([tmp_path / "east", tmp_path / "west" / "set"], out=tmp_path / "merged")
    read = DistilledSet.load(tmp_path / "merged")
    assert np.array_equal(read.images, np.concatenate([one.images for one in made]))
    assert [part.set_digest for part in united.provenance.sources] == [
        sha256_file(tmp_path / name / "set" / "images.safetensors") for name in ("east", "west")
    ]
    with pytest.raises(UsageError, match="label map for north"):
        merge([tmp_path / "east", tmp_path / "west"], out=tmp_path / "m2", label_maps={"north": {"a": "b"}})
    with pytest.raises(ArtifactError, match="holds no distilled set"):
        merge([tmp_path / "east", tmp_path / "corpus"], out=tmp_path / "m2")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("medistill.artifacts.distilled_set.write_json", full)
    before = set(tmp_path.iterdir())
    with pytest.raises(ArtifactError, match="disk is full"):
        merge([tmp_path / "east", tmp_path / "west"], out=tmp_path / "m2")
    assert set(tmp_path.iterdir()) == before


def test_dd_ranking_files_load_without_unpickling_code(tmp_path: Path, corpus: Corpus) -> None:
    for soft in (False, True):
        made, out = drawn_set(corpus, soft=soft), tmp_path / f"soft-{soft}"
        files = export_dd_ranking(made, out=out)
        images, labels, lr = (torch.load(file, weights_only=True) for file in files)
        assert [file.name for file in sorted(out.iterdir())] == ["images.pt", "labels.pt", "lr.pt"]
        assert images.dtype == torch.float32
        assert images.shape == made.images.shape
        assert lr.item() == pytest.approx(made.student_lr)
        if soft:
            np.testing.assert_allclose(torch.softmax(labels, 1).numpy(), made.soft_labels, atol=1e-6)
        else:
            per_class = len(made.labels) // len(made.class_names)
            assert torch.equal(labels, torch.arange(len(made.class_names)).repeat_interleave(per_class))


def test_a_dataset_for_pytorch_trains_as_the_set_says(corpus: Corpus) -> None:
    made = replace(drawn_set(corpus), weights=np.array([0.5, 1.5, 1, 1, 1, 1], np.float32))
    loaded = torch.utils.data.DataLoader(made.as_dataset(), batch_size=4)
    images, labels, weights = (torch.cat(parts) for parts in zip(*loaded, strict=True))
    assert np.array_equal(images, made.images)
    assert np.array_equal(labels, made.labels)
    assert np.array_equal(weights, made.weights)
    soft = drawn_set(corpus, soft=True)
    assert np.array_equal(torch.stack([label for _, label, _ in soft.as_dataset()]), soft.soft_labels)
    images += 1
    assert not np.array_equal(images, made.images)


@contextlib.contextmanager
def _in(folder: Path) -> Iterator[None]:
    with contextlib.chdir(folder), settings_restored():
        yield


def _run(folder: Path, *words: str) -> Result:
    with _in(folder):
        return CliRunner().invoke(app, list(words))


def test_the_commands_from_two_sets_to_figures(
    tmp_path: Path, corpus: Corpus, recipe: Recipe, phantom_folder: Path
) -> None:
    for number, name in enumerate(("east", "west")):
        made = _told(drawn_set(corpus), recipe, number)
        renamed = made if name == "east" else replace(made, class_names=("Covid-19", *corpus.class_names[1:]))
        renamed.save(tmp_path / name / "set")
        share(
            tmp_path / name,
            out=tmp_path / f"{name}.zip",
            licence="CC-BY-4.0",
            intended_use="tests",
            sender=f"Hospital {name}",
            acknowledged_risk="drawn images",
        )
    _told(drawn_set(corpus), recipe, 2).save(tmp_path / "north")
    bundles = ("east.zip", "west.zip")
    refused = _run(tmp_path, "merge", *bundles, "--out", "merged")
    assert refused.exit_code == 3
    assert "--label-map east.zip:COVID=NAME" in refused.stderr
    assert "COVID=Covid-19" not in refused.stderr
    renaming = ("--label-map", "west.zip:Covid-19=COVID")
    merged = _run(tmp_path, "merge", *bundles, "--out", "merged", *renaming, "--json")
    assert merged.exit_code == 0, merged.stderr
    told = json.loads(merged.stdout)
    assert told["classes"] == list(corpus.class_names)
    assert [(part["sender"], part["first"], part["images"]) for part in told["sources"]] == [
        ("Hospital east", 0, 6),
        ("Hospital west", 6, 6),
    ]
    for wrong, complaint in (("Covid-19", "SOURCE:OLD=NEW"), ("north:Covid-19=COVID", "no set is called so")):
        again = _run(tmp_path, "merge", *bundles, "--out", "other", "--label-map", wrong)
        assert again.exit_code == 2
        assert complaint in again.stderr
    plain = _run(tmp_path, "merge", *bundles, "--out", "plain", "--label-map", "Covid-19=COVID")
    assert plain.exit_code == 0, plain.stderr
    assert (
        DistilledSet.load(tmp_path / "plain").training_bytes()
        == DistilledSet.load(tmp_path / "merged").training_bytes()
    )
    trained = _run(
        tmp_path,
        "train",
        "merged",
        "--out",
        "model",
        "--network",
        "alexnet",
        "--set",
        "evaluate.epochs=2",
    )
    assert trained.exit_code == 0, trained.stderr
    assert "12 distilled images for 2 epochs" in trained.stdout
    test = ("evaluate", "model", "--split", "test", "--data", str(phantom_folder))
    tested = _run(tmp_path, *test, "--out", "local")
    assert tested.exit_code == 0, tested.stderr
    assert "thresholds chosen (Youden) on the" in tested.stdout
    reported = _run(tmp_path, "report", "local")
    assert reported.exit_code == 0
    assert "thresholds chosen (Youden) on the" in reported.stdout
    assert "Fresh networks" not in reported.stdout
    with zipfile.ZipFile(tmp_path / "west.zip") as archive:
        archive.extractall(tmp_path / "unpacked")
    shutil.copytree(tmp_path / "model", tmp_path / "cut")
    (tmp_path / "cut" / "preprocessing.json").unlink()
    refusals = {
        ("train", "unpacked", "--out", "other"): (3, "is a bundle that was unpacked"),
        ("evaluate", "cut", "--data", str(phantom_folder)): (3, "preprocessing.json is missing"),
        ("evaluate", "model"): (2, "is a classifier, and no --data was given"),
        (*test, "--set", "network.depth=3"): (2, "a classifier keeps its network"),
        (*test, "--across", "vgg11"): (2, "--across was given for a classifier"),
        (*test, "--classes", "Normal,COVID"): (2, "the classifier has the classes COVID, Normal, Pneumonia"),
        ("train", "west.zip", "--out", "model"): (2, "holds something already"),
        ("train", str(phantom_folder), "--out", "other"): (3, "holds no distilled set"),
    }
    for words, (code, complaint) in refusals.items():
        refused = _run(tmp_path, *words)
        assert refused.exit_code == code, refused.stderr
        assert complaint in refused.stderr
    exported = _run(tmp_path, "export", "west.zip", "--out", "tensors")
    blocks = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    with _in(tmp_path):
        for block in blocks:
            exec(compile(block, str(GUIDE), "exec"), {})
    assert exported.exit_code == 0, exported.stderr
    assert torch.load(tmp_path / "tensors" / "images.pt", weights_only=True).shape == (6, 1, 16, 16)
    share(tmp_path / "merged", out=tmp_path / "merged.zip", licence="x", intended_use="x", acknowledged_risk="x")
    again = merge([tmp_path / "merged.zip", tmp_path / "north"], out=tmp_path / "all")
    assert [part.as_json() for part in again.provenance.sources[:2]] == told["sources"]


@pytest.mark.parametrize(("policy", "unmasked"), [("mask", True), ("quarantine", True), ("unchecked", False)])
def test_a_masked_set_is_tested_without_the_reader_and_the_report_says_so(
    tmp_path: Path, corpus: Corpus, recipe: Recipe, policy: str, unmasked: bool
) -> None:
    """The corpus was read by nobody who looked for text; the set says what was done about its originals'."""
    made = _told(drawn_set(corpus), recipe)
    made = replace(
        made, provenance={**made.provenance.as_json(), "text_check": {"policy": policy, "by": "a reader 1.0"}}
    )
    heard = Heard()
    assert evaluate(made, corpus, recipe, out=tmp_path / "of-set", progress=heard).unmasked is unmasked
    assert any("which are read as they are" in said for said in heard.said) is unmasked
    classifier = train_classifier(made, recipe, out=tmp_path / "model")
    assert evaluate_classifier(classifier, corpus, recipe, out=tmp_path / "of-model").unmasked is unmasked
    for out in ("of-set", "of-model"):
        titles = [caveat.title for caveat in write_report(tmp_path / out).not_promised]
        assert ("Tested on images in which text was not masked" in titles) is unmasked


def test_a_recipe_that_masks_asks_no_recipient_for_the_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phantom_folder: Path
) -> None:
    """The commands, on files of the recipient's own, where no reader is installed."""
    for module in ("burnt_in_text", "text_policy"):
        monkeypatch.setattr(f"medistill.data.{module}.reader_name", lambda: None)
    settings = ["data.image_size=64", "network.depth=2", "network.width=4", "evaluate.networks=1", "evaluate.epochs=2"]
    settings += ["evaluate.arms=[]", "evaluate.bootstrap=100"]
    masking = load_recipe("demo", [*settings, "data.burnt_in_text=mask"])
    made = drawn_set(prepare(phantom_folder, load_recipe("demo", settings)))
    checked = {"text_check": {"policy": "mask", "by": "a reader 1.0"}}
    replace(_told(made, masking), provenance={**_told(made, masking).provenance.as_json(), **checked}).save(
        tmp_path / "set"
    )
    for words in (
        ["train", str(tmp_path / "set"), "--out", str(tmp_path / "model")],
        ["evaluate", str(tmp_path / "set"), "--data", str(phantom_folder), "--out", str(tmp_path / "of-set")],
        ["evaluate", str(tmp_path / "model"), "--data", str(phantom_folder), "--out", str(tmp_path / "of-model")],
    ):
        told = CliRunner().invoke(app, words)
        assert told.exit_code == 0, told.output
    for out in ("of-set", "of-model"):
        assert load_evaluation(tmp_path / out / "evaluation/evaluation.json").unmasked
