"""`write_report` on runs that are whole, and on runs that lack something."""

from __future__ import annotations

import json
import math
import re
import stat
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import auc

from medistill.artifacts.atomic import private_folder, write_json, write_text
from medistill.artifacts.corpus import ManifestRow, save_corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.normalisation import Normalisation
from medistill.errors import ArtifactError
from medistill.evaluate.comparison import compare
from medistill.evaluate.evaluation import Evaluation
from medistill.evaluate.predictions import Arm, ArmPredictions, Truth, save_arm, save_truth
from medistill.recipe import Recipe, load_recipe, recipe_toml
from medistill.workflow.report import write_report

EVIL = "<script>alert('x')</script>"
NAMES = ("Normal", EVIL, "Viral_Pneumonia")
IPC, SIZE = 3, 8
VOID = {"meta", "img", "br", "line", "path", "circle", "use", "link", "input", "hr"}


class Page(HTMLParser):
    """What a browser would see of a page: its elements in order, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.unbalanced: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text.append(data)

    def all(self, tag: str) -> Iterator[dict[str, str | None]]:
        return (attributes for name, attributes in self.elements if name == tag)

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.text))


def truth(seed: int, patients: int) -> Truth:
    groups = np.repeat(np.arange(patients), 2)
    labels = np.random.default_rng(seed).permutation(np.arange(patients) % 3)[groups]
    return Truth(labels, groups, np.zeros(len(groups), np.int64))


def predictions(arm: Arm, splits: tuple[Truth, Truth], *, skill: float, images: int) -> ArmPredictions:
    numbers = np.random.default_rng(len(arm))

    def softmax(of: Truth) -> np.ndarray:
        raised = np.exp(numbers.normal(size=(3, len(of.labels), 3)) + skill * np.eye(3)[of.labels])
        return (raised / raised.sum(axis=2, keepdims=True)).astype(np.float32)

    return ArmPredictions(arm, softmax(splits[0]), softmax(splits[1]), images, 10, 12.5)


def evaluated(folder: Path, recipe: Recipe) -> None:
    splits = truth(0, 21), truth(1, 30)
    arms = [
        predictions("raw", splits, skill=2.0, images=90),
        predictions("random", splits, skill=0.6, images=9),
        predictions("distilled", splits, skill=1.6, images=9),
    ]
    place = private_folder(folder / "evaluation")
    save_truth(place, *splits)
    for arm in arms:
        save_arm(place, arm)
    evaluation = compare(arms, *splits, NAMES, recipe.evaluate, seed=0)
    write_json(place / "evaluation.json", evaluation.as_json(), private=True)


def distilled_set(recipe: Recipe, *, synthetic: bool) -> DistilledSet:
    count = IPC * len(NAMES)
    return DistilledSet(
        images=np.random.default_rng(4).normal(size=(count, 1, SIZE, SIZE)).astype(np.float32),
        labels=np.repeat(np.arange(len(NAMES)), IPC),
        weights=np.ones(count, np.float32),
        stage=np.zeros(count, np.int64),
        student_lr=0.0123,
        normalisation=Normalisation((0.5,), (0.2,)),
        class_names=NAMES,
        provenance={
            "method": "IADD",
            "recipe": recipe.model_dump(mode="json"),
            "recipe_digest": recipe.digest,
            "versions": {"medistill": "0.1.0"},
            "device": "cpu",
            "corpus": "c" * 64,
            "trajectories": "t" * 64,
            "chosen_step": 20,
            "training_images": dict.fromkeys(NAMES, 30),
            "training_groups": 45,
            "split_unit": "patient",
            "synthetic_source": synthetic,
            "starts_from": "real",
            "privacy": "No formal privacy guarantee was sought in this mode, and no audit was run.",
        },
    )


def corpus_record(folder: Path, *, synthetic: bool, split_unit: str = "patient") -> dict[str, Any]:
    numbers = np.random.default_rng(9)
    splits = np.repeat([0, 1, 2], 12)
    corpus = save_corpus(
        folder,
        images=numbers.integers(0, 256, (36, 1, SIZE, SIZE), dtype=np.uint8),
        labels=list(np.arange(36) % 3),
        groups=list(range(36)),
        sites=[0] * 36,
        splits=list(splits),
        views=[""] * 36,
        class_names=NAMES,
        site_names=["Site_A", "Site & B"],
        split_unit=split_unit,  # type: ignore[arg-type]
        split_source="drawn",
        synthetic=synthetic,
        notes=["Two files had no <window>."],
        manifest=[*(ManifestRow(f"doe_john_{k}.dcm", k) for k in range(36)), ManifestRow("x.dcm", -1, "truncated", "")],
    )
    return {
        "content": corpus.content,
        "class_names": list(NAMES),
        "site_names": list(corpus.site_names),
        "counts": corpus.counts(),
        "counts_by_site": corpus.counts_by_site(),
        "patients": {"train": 12, "val": 12, "test": 12},
        "found": corpus.found,
        "refused": corpus.refused,
        "split_unit": split_unit,
        "split_source": "drawn",
        "synthetic": synthetic,
        "notes": list(corpus.notes),
        "shape": list(corpus.images.shape),
    }


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe("demo", ["evaluate.bootstrap=100", "evaluate.networks=3"])


@pytest.fixture
def whole_run(tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    monkeypatch.setenv("MEDISTILL_CACHE", str(tmp_path / "cache"))

    def build(*, synthetic: bool = False, split_unit: str = "patient") -> Path:
        run = tmp_path / "run"
        evaluated(run, recipe)
        distilled_set(recipe, synthetic=synthetic).save(run / "set")
        write_text(run / "recipe.toml", recipe_toml(recipe))
        history = {
            "loss": [1 / (k + 1) for k in range(30)],
            "student_lr": [0.01 + k / 1e4 for k in range(30)],
            "importance": [[1.0, 1.1], [0.9, 1.2], [0.8, 1.3]],
            "looks": [10, 20, 30],
            "accuracy": [0.5, 0.6, 0.58],
            "auc": [0.7, 0.8, 0.79],
            "importance_names": ["features.0.weight", "classifier.weight"],
            "chosen_step": 20,
        }
        write_json(run / "history.json", history)
        record = {
            "schema": 1,
            "versions": {"medistill": "0.1.0", "torch": "2.13.0"},
            "device": "cpu",
            "hardware": "a processor, 2 threads",
            "seed": 7,
            "recipe": "demo",
            "recipe_digest": recipe.digest,
            "command": "medistill distill --recipe run/recipe.toml --data xray",
            "stages": {"prepare": {"seconds": 3.0}, "distill": {"seconds": 75.5}},
            "corpus": corpus_record(tmp_path / "cache" / "corpora", synthetic=synthetic, split_unit=split_unit),
        }
        write_json(run / "run.json", record)
        return run

    return build


def numbers_of(value: Any) -> Iterator[float]:
    if isinstance(value, dict | list):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from numbers_of(entry)
    elif isinstance(value, float):
        yield value


def assert_sound(text: str) -> Page:
    """A page that parses, has unique ids, names its pictures, and loads nothing."""
    page = Page(text)
    assert not page.unbalanced
    assert not page.open
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for image in page.all("img"):
        assert image.get("alt")
        assert (image["src"] or "").startswith("data:image/png;base64,")
    for drawing in page.all("svg"):
        assert drawing.get("aria-label") or drawing.get("aria-hidden") == "true"
    for table_head in page.all("th"):
        assert table_head.get("scope") in ("col", "row", "rowgroup")
    for link in page.all("a"):
        assert (link["href"] or "").removeprefix("#") in ids
    for _, attributes in page.elements:
        for label in ("aria-labelledby", "aria-describedby"):
            assert attributes.get(label, ids[0]) in ids
    assert not re.search(r"https?:|(?:src|href)=\"//|@import|url\((?!#)", text)
    assert not list(page.all("script"))
    assert [tag for tag, _ in page.elements].count("h1") == 1
    assert not re.search(r"\bnan\b|\binf\b|Undefined", page.words)
    assert "anonym" not in text.lower()
    assert "shareable" not in text.lower()
    return page


def test_report_of_a_whole_run(whole_run: Callable[..., Path], tmp_path: Path) -> None:
    run = whole_run()
    report = write_report(run)
    text = (run / "report.html").read_text(encoding="utf-8")
    page = assert_sound(text)
    words = page.words.replace("\u202f", " ").replace("\u00a0", " ")
    for expected in (
        "9 images distilled from 90 real ones",
        "2 sites: Site A and Site & B",
        "What this report does not promise",
        "No formal privacy guarantee",
        "Not clinical evidence",
        re.sub("[\u202f\u00a0]", " ", report.verdict.against_raw),
        re.sub("[\u202f\u00a0]", " ", report.verdict.against_random),
        "37 files found, 36 accepted, 1 refused",
        "The split is by patient and was drawn by medistill",
        "truncated",
        "Two files had no <window>.",
        "medistill distill --recipe run/recipe.toml --data xray",
        "medistill report run",
        "a processor, 2 threads",
        "torch 2.13.0",
        "1 min 16 s",
        "Viral Pneumonia",
    ):
        assert expected in words, expected
    assert "SYNTHETIC" not in words
    assert "DO NOT SHARE" not in words
    assert "not available" not in words.lower()
    assert len([image for image in page.all("img") if "distilled image" in (image["alt"] or "")]) == 3 + 9
    drawings = [drawing["aria-label"] for drawing in page.all("svg") if "aria-label" in drawing]
    assert len(drawings) == 3 + 2 + 4
    arm = report.evaluation.arm("distilled")
    assert arm is not None
    assert f"{arm.macro_auc.value:.3f}" in words
    for private in (str(tmp_path), "doe_john", str(run), "cache"):
        assert private not in text
        assert private not in (run / "report.json").read_text(encoding="utf-8")


def test_class_names_are_escaped(whole_run: Callable[..., Path]) -> None:
    run = whole_run()
    write_report(run)
    text = (run / "report.html").read_text(encoding="utf-8")
    assert EVIL not in text
    assert EVIL in Page(text).words


def test_json_goes_there_and_back_with_finite_numbers(whole_run: Callable[..., Path]) -> None:
    run = whole_run()
    report = write_report(run)
    stored = json.loads((run / "report.json").read_text(encoding="utf-8"))
    assert stored == report.as_json()
    assert stored["schema"] == 1
    assert stored["kind"] == "medistill report"
    assert all(math.isfinite(value) for value in numbers_of(stored))
    assert Evaluation.from_json(stored["evaluation"]) == report.evaluation
    assert {(curve["arm"], curve["class_name"]) for curve in stored["curves"]} == {
        (arm, name) for arm in ("raw", "random", "distilled") for name in NAMES
    }
    for curve in stored["curves"]:
        assert curve["sensitivity"] == sorted(curve["sensitivity"])
        assert curve["sensitivity"][-1] == 1
    assert stored["making"]["hashes"]["corpus"] == json.loads((run / "run.json").read_text())["corpus"]["content"]


def test_curves_have_the_areas_of_the_table(whole_run: Callable[..., Path]) -> None:
    report = write_report(whole_run())
    for curve in report.curves:
        result = report.evaluation.arm(curve.arm)
        assert result is not None
        area = auc(curve.false_positive_rate, curve.sensitivity)
        stated = result.classes[NAMES.index(curve.class_name)].auc.value
        assert area == pytest.approx(stated, abs=0.02)


def test_same_run_gives_the_same_bytes(whole_run: Callable[..., Path]) -> None:
    run = whole_run()
    write_report(run)
    first = {name: (run / name).read_bytes() for name in ("report.html", "report.json")}
    write_report(run)
    assert first == {name: (run / name).read_bytes() for name in first}
    assert not [path for path in run.iterdir() if path.name.endswith(".tmp")]


def test_synthetic_source_is_said_first(whole_run: Callable[..., Path]) -> None:
    run = whole_run(synthetic=True)
    report = write_report(run)
    page = assert_sound((run / "report.html").read_text(encoding="utf-8"))
    assert page.words.index("SYNTHETIC SOURCE") < page.words.index("What this report does not promise")
    assert report.synthetic
    assert "distilled from 90 phantoms" in page.words.replace("\u00a0", " ")
    assert "real test image" not in page.words.replace("\u00a0", " ")


def test_split_by_image_is_said(whole_run: Callable[..., Path]) -> None:
    run = whole_run(split_unit="image")
    write_report(run)
    words = assert_sound((run / "report.html").read_text(encoding="utf-8")).words
    assert "Split by image, not by patient" in words
    assert "The split is by image" in words


def test_real_images_are_shown_only_when_asked_for_and_then_under_a_warning(whole_run: Callable[..., Path]) -> None:
    run = whole_run()
    report = write_report(run, show_real=True)
    text = (run / "report.html").read_text(encoding="utf-8")
    page = assert_sound(text)
    assert report.shows_real
    assert page.words.index("DO NOT SHARE") < page.words.index("What this report does not promise")
    assert len([image for image in page.all("img") if "real image" in (image["alt"] or "")]) == 9
    assert stat.S_IMODE((run / "report.html").stat().st_mode) == 0o600
    write_report(run)
    assert "DO NOT SHARE" not in (run / "report.html").read_text(encoding="utf-8")


def test_real_images_cannot_be_shown_without_the_corpus(whole_run: Callable[..., Path], tmp_path: Path) -> None:
    run = whole_run()
    for file in (tmp_path / "cache").rglob("index.json"):
        file.unlink()
    with pytest.raises(ArtifactError, match="not in the cache"):
        write_report(run, show_real=True)
    assert not (run / "report.html").exists()


def test_evaluation_alone_is_enough(tmp_path: Path, recipe: Recipe) -> None:
    run = tmp_path / "run"
    evaluated(run, recipe)
    report = write_report(run)
    page = assert_sound((run / "report.html").read_text(encoding="utf-8"))
    assert set(report.missing) == {"distilled", "corpus", "making", "course"}
    for reason in report.missing.values():
        assert reason in page.words
    assert "not available" in page.words.lower()
    assert "9 images distilled from 90 originals" in page.words.replace("\u00a0", " ")


def test_set_and_evaluation_without_a_history(whole_run: Callable[..., Path]) -> None:
    run = whole_run()
    for name in ("history.json", "run.json", "recipe.toml"):
        (run / name).unlink()
    for name in ("truth", "raw", "random", "distilled"):
        (run / "evaluation" / f"{name}.safetensors").unlink()
    report = write_report(run)
    assert_sound((run / "report.html").read_text(encoding="utf-8"))
    assert set(report.missing) == {"corpus", "making", "course", "curves"}
    assert report.making.settings["distill"]["ipc"] == 5
    assert report.making.commands == ()


def test_history_without_importance(whole_run: Callable[..., Path]) -> None:
    run = whole_run()
    history = json.loads((run / "history.json").read_text())
    write_json(run / "history.json", {**history, "importance": [], "importance_names": []})
    write_report(run)
    assert "the run did not keep it" in assert_sound((run / "report.html").read_text(encoding="utf-8")).words


def test_what_cannot_be_estimated_is_said_with_its_reason(tmp_path: Path, recipe: Recipe) -> None:
    run = tmp_path / "run"
    splits = truth(0, 21), truth(1, 30)
    rows = np.flatnonzero(splits[1].labels != 2)
    test = Truth(splits[1].labels[rows], np.zeros(len(rows), np.int64), splits[1].sites[rows])
    arm = predictions("distilled", (splits[0], test), skill=1.0, images=9)
    evaluation = compare([arm], splits[0], test, NAMES, recipe.evaluate, seed=0)
    write_json(private_folder(run / "evaluation") / "evaluation.json", evaluation.as_json())
    report = write_report(run)
    words = assert_sound((run / "report.html").read_text(encoding="utf-8")).words
    assert report.verdict.judgement == "cannot be judged"
    assert "class 'Viral_Pneumonia' has no image in the test split" in words
    assert "an interval needs at least 2 patients" in words


def test_run_without_an_evaluation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="holds no evaluation yet"):
        write_report(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("run.json", '{"corpus": {"site_names": []}}', "run.json cannot be used"),
        ("run.json", "{", "cannot be read"),
        ("history.json", '{"loss": [1.0]}', "history.json cannot be used"),
        ("evaluation/evaluation.json", '{"schema": 99}', "schema is 99"),
    ],
)
def test_damaged_files_are_named(whole_run: Callable[..., Path], name: str, text: str, match: str) -> None:
    run = whole_run()
    (run / name).write_text(text, encoding="utf-8")
    with pytest.raises(ArtifactError, match=match):
        write_report(run)
