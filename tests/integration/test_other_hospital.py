"""At another hospital: all of its images are tested, with the classes that it has, and they are read once."""

from __future__ import annotations

import contextlib
import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from safetensors.numpy import load_file
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner, Result

from medistill.artifacts.classifier import Classifier
from medistill.artifacts.corpus import Corpus
from medistill.data.table import SPLITS_DROPPED
from medistill.errors import DataError, UsageError
from medistill.evaluate.evaluation import Evaluation, load_evaluation
from medistill.progress import Silent, SilentTask
from medistill.recipe import Recipe, load_recipe
from medistill.workflow.evaluate import evaluate
from medistill.workflow.evaluate_classifier import NO_THRESHOLDS, evaluate_classifier
from medistill.workflow.prepare import prepare
from medistill.workflow.report import write_report
from medistill.workflow.tested import as_tested
from medistill.workflow.train_classifier import train_classifier
from medistill_cli.main import app
from tests.factories.drawn_corpus import CLASSES, drawn_corpus, drawn_set
from tests.settings_restored import settings_restored


class Heard(Silent):
    """What was said, and the bars that were started."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.tasks: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)

    def task(self, title: str, total: int, *, done: int = 0) -> SilentTask:
        self.tasks.append(title)
        return SilentTask()


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    settings = ["data.image_size=16", "network.depth=2", "network.width=4", "evaluate.networks=2", "evaluate.epochs=3"]
    return load_recipe("demo", [*settings, 'evaluate.arms=["raw"]', "evaluate.bootstrap=100", "method.ipc=2"])


@pytest.fixture
def classifier(tmp_path: Path, recipe: Recipe) -> Classifier:
    made = replace(drawn_set(drawn_corpus(tmp_path / "its-own")), provenance={"corpus": "its own"})
    return train_classifier(made, recipe, out=tmp_path / "model")


def hospital(folder: Path, classes: tuple[str, ...], each: int = 8) -> Path:
    """PNG files of noise, brighter from class to class, none like another."""
    numbers = np.random.default_rng(5)
    for c, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for n in range(each):
            grey = numbers.integers(0, 120, (20, 24)) + 40 * c
            Pillow.fromarray(grey.astype(np.uint8)).save(folder / name / f"{n:03}.png")
    return folder


def run(folder: Path, *words: str) -> Result:
    with contextlib.chdir(folder), settings_restored():
        return CliRunner().invoke(app, list(words))


def asked_all(classifier: Classifier, corpus: Corpus, out: Path) -> tuple[Evaluation, np.ndarray]:
    """The evaluation on all images, and the probabilities that were given."""
    whole = as_tested(corpus, "its own")
    found = evaluate_classifier(classifier, whole, classifier.recipe, out=out)
    return found, load_file(out / "evaluation/distilled.safetensors")["test"][0]


def test_every_image_is_tested_and_the_area_is_that_of_scikit_learn(tmp_path: Path, classifier: Classifier) -> None:
    corpus = prepare(hospital(tmp_path / "data", CLASSES), classifier.recipe, purpose="test")
    heard = Heard()
    evaluate_classifier(
        classifier, as_tested(corpus, "its own"), classifier.recipe, out=tmp_path / "run", progress=heard
    )
    found, told = asked_all(classifier, corpus, tmp_path / "run")
    assert NO_THRESHOLDS in heard.said
    assert (found.tested, found.test_images, found.validation_images) == ("all images", 24, 0)
    areas = [roc_auc_score(corpus.labels == c, told[:, c]) for c in range(3)]
    arm = found.arms[0]
    assert arm.macro_auc.value == pytest.approx(np.mean(areas), abs=1e-6)
    assert arm.macro_auc.low is not None
    for c, of_class in enumerate(arm.classes):
        rows = corpus.labels == c
        assert of_class.recall.value == pytest.approx((told[rows].argmax(axis=1) == c).mean())
        assert of_class.point("youden").thresholds == ()


def test_a_missing_class_leaves_the_figures_of_the_others(tmp_path: Path, classifier: Classifier) -> None:
    folder = hospital(tmp_path / "data", (*CLASSES[:2], "Fracture"))
    corpus = prepare(folder, classifier.recipe, purpose="test")
    assert corpus.class_names == CLASSES
    assert "There is no image of Pneumonia here." in corpus.notes
    assert corpus.refused == {"class not chosen": 8}
    found, told = asked_all(classifier, corpus, tmp_path / "run")
    areas = [roc_auc_score(corpus.labels == c, told[:, c]) for c in (0, 1)]
    arm = found.arms[0]
    assert arm.macro_auc.value == pytest.approx(np.mean(areas), abs=1e-6)
    recalls = [(told[corpus.labels == c].argmax(axis=1) == c).mean() for c in (0, 1)]
    assert arm.balanced_accuracy.value == pytest.approx(np.mean(recalls))
    assert found.absent == ("Pneumonia",)
    report = write_report(tmp_path / "run")
    assert report.verdict.judgement == "not compared"
    assert report.verdict.heading.startswith(f"Macro AUC {np.mean(areas):.3f} on all 16")
    assert "No image of Pneumonia was there" in report.verdict.against_raw
    opening = (tmp_path / "run" / "report.md").read_text(encoding="utf-8").split("\n", 1)[0]
    assert opening.startswith(f"# Macro AUC {np.mean(areas):.3f}")
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    for gone in ("Cannot be judged", "cannot be judged", "has no area under the ROC curve", "has no threshold"):
        assert gone not in page
    assert "The classifier was tested as it was received. How it was trained" in page
    assert "The recipe fixes how" not in page
    assert report.corpus is not None
    assert report.corpus.refused == {"class not chosen": 8}


def test_a_hospital_with_one_class_has_an_accuracy_and_one_reason(tmp_path: Path, classifier: Classifier) -> None:
    corpus = prepare(hospital(tmp_path / "data", CLASSES[1:2]), classifier.recipe, purpose="test")
    found, told = asked_all(classifier, corpus, tmp_path / "run")
    arm = found.arms[0]
    assert arm.macro_auc.value is None
    assert arm.accuracy.value == arm.classes[1].recall.value == pytest.approx((told.argmax(axis=1) == 1).mean())
    report = write_report(tmp_path / "run")
    assert report.verdict.heading.endswith("of Normal")
    assert "No image of COVID or Pneumonia was there" in report.verdict.against_raw
    assert "There is no AUC: every test image is of class 'Normal'" in report.verdict.against_raw
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    before_data = page.split('id="making"')[0]
    assert before_data.count("every test image is of class") <= 2  # the first screen, and the table for programs
    with pytest.raises(DataError, match="a class covid, and none that is written COVID"):
        prepare(hospital(tmp_path / "spelt", ("covid", "Normal")), classifier.recipe, purpose="test")
    with pytest.raises(DataError, match="no class COVID"):
        prepare(hospital(tmp_path / "other", ("Fracture",)), classifier.recipe, purpose="test")


@pytest.mark.parametrize("given", ["shared", "part", "unknown", "test alone"])
def test_splits_that_cannot_be_used_do_not_matter_where_all_is_tested(
    tmp_path: Path, recipe: Recipe, given: str
) -> None:
    folder = hospital(tmp_path / "data", CLASSES)
    words = {"shared": ("train", "test"), "part": ("train", ""), "unknown": ("one", "two"), "test alone": ("holdout",)}
    files = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*.png"))
    with (tmp_path / "t.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "label", "patient", "split"])
        for n, name in enumerate(files):
            writer.writerow([name, name.split("/")[0], f"p{n // 2}", words[given][n % len(words[given])]])
    corpus = prepare(folder, recipe, labels=tmp_path / "t.csv", purpose="test")
    assert len(corpus.labels) == len(files)
    assert any(note.startswith(SPLITS_DROPPED) for note in corpus.notes) == (given in ("shared", "part"))
    assert len(as_tested(corpus, "").rows("test")) == len(files)
    heard = Heard()
    assert prepare(folder, recipe, labels=tmp_path / "t.csv", purpose="test", progress=heard).content == corpus.content
    assert "Reading images" not in heard.tasks
    # whoever learns is held to what the table says: never to splits that were drawn for a test
    if given == "part":
        assert prepare(folder, recipe, labels=tmp_path / "t.csv").refused == {"no split": len(files) // 2}
    else:
        with pytest.raises(DataError):
            prepare(folder, recipe, labels=tmp_path / "t.csv")


def test_a_corpus_is_read_once_whatever_it_is_read_for_and_however_it_is_named(tmp_path: Path, recipe: Recipe) -> None:
    folder, heard = hospital(tmp_path / "data", CLASSES), Heard()
    first = prepare(folder, recipe, progress=heard)
    named = recipe.model_copy(update={"data": recipe.data.model_copy(update={"classes": CLASSES})})
    for again, purpose in ((named, "test"), (named, "learn"), (recipe, "test")):
        assert prepare(folder, again, purpose=purpose, progress=heard).content == first.content  # type: ignore[arg-type]
    turned = recipe.model_copy(update={"data": recipe.data.model_copy(update={"classes": CLASSES[::-1]})})
    assert prepare(folder, turned).class_names == CLASSES[::-1]
    assert heard.tasks.count("Reading images") == 1
    lacking, heard = hospital(tmp_path / "lacking", CLASSES[:1]), Heard()
    prepare(lacking, named, purpose="test", progress=heard)
    for _ in range(2):
        with pytest.raises(DataError):
            prepare(lacking, named, progress=heard)
    with pytest.raises(DataError, match="only one class"):
        prepare(lacking, recipe, progress=heard)
    prepare(lacking, named, purpose="test", progress=heard)
    assert heard.tasks.count("Reading images") == 2


def test_a_set_is_tested_alone_unless_the_test_split_is_asked_for(tmp_path: Path, recipe: Recipe) -> None:
    provenance = {"recipe": recipe.model_dump(mode="json"), "corpus": "its own"}
    replace(drawn_set(drawn_corpus(tmp_path / "own")), provenance=provenance).save(tmp_path / "set")
    hospital(tmp_path / "data", CLASSES, each=20)
    words = ("evaluate", "set", "--data", "data", "--device", "cpu")
    alone = run(tmp_path, *words, "--out", "alone", "--json")
    assert alone.exit_code == 0, alone.stderr
    told = json.loads(alone.stdout)["evaluation"]
    assert [arm["arm"] for arm in told["arms"]] == ["distilled"]
    assert told["test_images"] == 60
    shown = run(tmp_path, *words, "--out", "alone")
    assert "on all 60" in shown.stdout
    write_report(tmp_path / "alone")
    page = (tmp_path / "alone" / "report.html").read_text(encoding="utf-8")
    assert "Nothing was chosen on these images" in page
    assert "The recipe fixes how" not in page
    beside = run(tmp_path, *words, "--out", "beside", "--split", "test", "--json")
    told = json.loads(beside.stdout)["evaluation"]
    assert [arm["arm"] for arm in told["arms"]] == ["raw", "distilled"]
    assert told["test_images"] < 60
    assert run(tmp_path, *words, "--out", "demanded", "--require-non-inferior").exit_code in (0, 5)
    assert load_evaluation(tmp_path / "demanded/evaluation/evaluation.json").difference("raw") is not None


def test_sites_of_the_sender_are_not_asked_of_another_hospital(tmp_path: Path, recipe: Recipe) -> None:
    own = recipe.model_copy(update={"data": recipe.data.model_copy(update={"sites": ("east",)})})
    provenance = {"recipe": own.model_dump(mode="json")}
    replace(drawn_set(drawn_corpus(tmp_path / "own")), provenance=provenance).save(tmp_path / "set")
    hospital(tmp_path / "data", CLASSES)
    words = ("evaluate", "set", "--data", "data", "--device", "cpu", "--out", "out")
    assert run(tmp_path, *words).exit_code == 0
    asked = run(tmp_path, *words, "--sites", "north")
    assert asked.exit_code == 3
    assert "no site north" in asked.stderr


def test_classes_are_those_of_the_classifier(tmp_path: Path, classifier: Classifier) -> None:
    hospital(tmp_path / "data", CLASSES[:2])
    words = ("evaluate", "model", "--data", "data", "--device", "cpu", "--out", "out")
    asked = run(tmp_path, *words, "--classes", "COVID,Normal")
    assert asked.exit_code == 2
    assert "leave out --classes" in asked.stderr
    shown = run(tmp_path, *words, "--classes", ",".join(CLASSES[::-1]))
    assert shown.exit_code == 0, shown.stderr
    assert shown.stdout.startswith("Macro AUC ")
    assert "--classes" not in shown.stderr


def test_the_originals_of_a_set_are_never_tested_as_another_hospital(tmp_path: Path, recipe: Recipe) -> None:
    own = drawn_corpus(tmp_path / "own")
    assert as_tested(own, own.content) is own
    with pytest.raises(UsageError, match="the corpus that the set was made from"):
        as_tested(own, own.content, "all")
    whole = as_tested(own, "of another")
    assert len(whole.rows("test")) == len(own.labels)
    assert whole.content != own.content
    with pytest.raises(DataError, match="no test split"):
        as_tested(replace(own, splits=np.zeros_like(own.splits)), "of another", "test")
    found = evaluate(drawn_set(own), whole, recipe, out=tmp_path / "run", device="cpu")
    assert [arm.arm for arm in found.arms] == ["distilled"]
