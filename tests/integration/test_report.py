"""`write_report` on runs that are whole, and on runs that lack something."""

from __future__ import annotations

import json
import math
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import auc

from medistill.artifacts.atomic import private_folder, write_json
from medistill.errors import ArtifactError
from medistill.evaluate.comparison import compare
from medistill.evaluate.evaluation import Evaluation
from medistill.evaluate.predictions import Truth
from medistill.evaluate.published import BenchmarkResult, PublishedFigure
from medistill.recipe import Recipe, load_recipe
from medistill.report.record import Report
from medistill.workflow.report import read_report, write_report
from tests.factories import reported_run
from tests.factories.reported_run import EVIL, NAMES, predictions, truth

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


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe("demo", ["evaluate.bootstrap=100", "evaluate.networks=3"])


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe) -> tuple[Path, Report]:
    """A whole run and its report, for tests that change nothing."""
    folder = tmp_path_factory.mktemp("written")
    run = reported_run.whole_run(folder / "run", recipe, folder / "cache")
    return run, write_report(run)


@pytest.fixture
def whole_run(tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    monkeypatch.setenv("MEDISTILL_CACHE", str(tmp_path / "cache"))
    return partial(reported_run.whole_run, tmp_path / "run", recipe, tmp_path / "cache")


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
        assert table_head.get("scope") in ("col", "row", "colgroup", "rowgroup")
    for link in page.all("a"):
        target = link["href"] or ""
        assert target.removeprefix("#") in ids or (target.startswith("data:text/") and link.get("download"))
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


def test_report_of_a_whole_run(written: tuple[Path, Report]) -> None:
    run, report = written
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
    assert len([image for image in page.all("img") if "distilled image" in (image["alt"] or "")]) == 3 + 9
    assert report.methods[0][:60] in words
    assert all(row.topic in words for row in report.checklist)
    arm = report.evaluation.arm("distilled")
    assert arm is not None
    assert f"{arm.macro_auc.value:.3f}" in words
    for private in (str(run.parent), "doe_john", str(run), "cache"):
        for name in ("report.html", "report.json", "report.md"):
            assert private not in (run / name).read_text(encoding="utf-8"), name


def test_class_names_are_escaped(written: tuple[Path, Report]) -> None:
    run, _ = written
    text = (run / "report.html").read_text(encoding="utf-8")
    assert EVIL not in text
    assert EVIL in Page(text).words


def test_json_goes_there_and_back_with_finite_numbers(written: tuple[Path, Report]) -> None:
    run, report = written
    stored = json.loads((run / "report.json").read_text(encoding="utf-8"))
    assert stored == report.as_json()
    assert stored["schema"] == 2
    assert stored["kind"] == "medistill report"
    assert all(math.isfinite(value) for value in numbers_of(stored))
    assert Evaluation.from_json(stored["evaluation"]) == report.evaluation
    assert {curve["class_name"] for curve in stored["evaluation"]["roc"]} == set(NAMES)
    for curve in stored["evaluation"]["roc"]:
        assert curve["sensitivity"] == sorted(curve["sensitivity"])
        assert curve["sensitivity"][-1] == 1
    assert stored["making"]["hashes"]["corpus"] == json.loads((run / "run.json").read_text())["corpus"]["content"]


def test_curves_have_the_areas_of_the_table(written: tuple[Path, Report]) -> None:
    _, report = written
    assert report.evaluation.roc
    for curve in report.evaluation.roc:
        result = report.evaluation.arm(curve.arm)
        assert result is not None
        area = auc(curve.false_positive_rate, curve.sensitivity)
        stated = result.classes[NAMES.index(curve.class_name)].auc.value
        assert area == pytest.approx(stated, abs=0.02)


def test_same_run_gives_the_same_bytes(written: tuple[Path, Report]) -> None:
    run, _ = written
    first = {name: (run / name).read_bytes() for name in ("report.html", "report.json", "report.md")}
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
    reported_run.evaluated(run, recipe)
    report = write_report(run)
    page = assert_sound((run / "report.html").read_text(encoding="utf-8"))
    assert set(report.missing) == {"distilled", "corpus", "making", "course", "across", "audit"}
    for reason in report.missing.values():
        assert reason in page.words
    assert "not available" in page.words.lower()
    assert "9 images distilled from 90 originals" in page.words.replace("\u00a0", " ")


def test_set_and_evaluation_without_a_history(whole_run: Callable[..., Path]) -> None:
    run = whole_run()
    for name in ("history.json", "run.json", "recipe.toml"):
        (run / name).unlink()
    for file in (run / "evaluation").glob("*.safetensors"):
        file.unlink()
    report = write_report(run)
    assert_sound((run / "report.html").read_text(encoding="utf-8"))
    assert set(report.missing) == {"corpus", "making", "course", "across", "audit"}
    assert report.making.settings["method"]["ipc"] == 5
    assert report.making.commands == ()


def test_a_set_with_settings_of_another_version_has_a_report_without_them(
    whole_run: Callable[..., Path], recipe: Recipe
) -> None:
    run = whole_run()
    (run / "recipe.toml").unlink()
    of_old = reported_run.distilled_set(recipe, synthetic=False)
    settings = {**of_old.provenance.recipe, "bygone": {"x": 1}}
    replace(of_old, provenance={**of_old.provenance.as_json(), "recipe": settings}).save(run / "set")
    report = read_report(run)
    assert report.making.settings == {}
    assert any(paragraph.startswith("Distillation. 9 images") for paragraph in report.methods)


def test_other_networks_sites_and_a_benchmark_are_read(whole_run: Callable[..., Path], recipe: Recipe) -> None:
    run = whole_run()
    first = reported_run.evaluated(run / "across" / "vgg11", recipe, network="VGG-11")
    write_json(run / "across" / "alexnet" / "failed.json", {"network": "AlexNet", "reason": "a network diverged"})
    held_out = reported_run.evaluated(run / "sites" / "01", recipe)
    plans = [
        {"site": "Site_A", "folder": "01", "reason": "", "note": "Class 'x' takes no part."},
        {"site": "Site & B", "folder": "02", "reason": "class 'Normal' comes from this site alone", "note": ""},
    ]
    about = {"classes": list(NAMES), "images": 60, "patients": 30}
    of_run = {"schema": 1, "corpus": "c" * 64, "recipe_digest": recipe.digest}
    write_json(run / "sites" / "sites.json", {**of_run, "sites": [{**plan, **about} for plan in plans]})
    result = BenchmarkResult(
        "CIFAR-10", 3, 40.0, 1.5, 41.0, 20, ("Fewer experts.",), (PublishedFigure("MTT", 46.3, "hard", "s"),)
    )
    write_json(run / "benchmark.json", asdict(result))
    report = write_report(run)
    words = assert_sound((run / "report.html").read_text(encoding="utf-8")).words
    assert report.across == (first,)
    assert report.missing["across"] == "AlexNet: a network diverged"
    assert [(site.site, site.evaluation, site.note) for site in report.sites] == [
        ("Site_A", held_out, "Class 'x' takes no part."),
        ("Site & B", None, ""),
    ]
    assert report.benchmark == result
    for expected in ("VGG-11", "comes from this site alone", "CIFAR-10", "46.3"):
        assert expected in words, expected
    assert json.loads((run / "report.json").read_text(encoding="utf-8")) == report.as_json()


def test_a_margin_other_than_the_recipes_is_told_with_the_verdict(
    whole_run: Callable[..., Path], recipe: Recipe
) -> None:
    run = whole_run()
    assert "declares a margin" not in read_report(run).verdict.against_raw
    reported_run.evaluated(
        run, recipe.model_copy(update={"evaluate": recipe.evaluate.model_copy(update={"margin": 0.3})})
    )
    assert "declares a margin of 0.05, not 0.3" in read_report(run).verdict.against_raw


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
    test = Truth(splits[1].labels[rows], np.zeros(len(rows), np.int64), {})
    arm = predictions("distilled", (splits[0], test), skill=1.0, images=9)
    evaluation = compare([arm], splits[0], test, NAMES, recipe.evaluate, seed=0, network="ConvNet", parameters=9)
    write_json(private_folder(run / "evaluation") / "evaluation.json", evaluation.as_json())
    report = write_report(run)
    words = assert_sound((run / "report.html").read_text(encoding="utf-8")).words
    assert report.verdict.judgement == "not compared"
    assert "No image of Viral Pneumonia was there" in words
    assert "an interval needs at least 2 patients" in words


def test_run_without_an_evaluation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="holds no evaluation yet"):
        write_report(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("split_unit", "visit"),
        ("split_source", "guessed"),
        ("counts", {"dev": {"COVID": 3}}),
        ("counts", {"train": {"COVID": "many"}}),
        ("patients", {"train": 12, "val": 12}),
        ("found", [3]),
        ("site_names", 5),
    ],
)
def test_a_spoilt_field_of_the_run_record_is_named(whole_run: Callable[..., Path], field: str, value: object) -> None:
    run = whole_run()
    record = json.loads((run / "run.json").read_text())
    record["corpus"][field] = value
    (run / "run.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"run.json cannot be used") as caught:
        write_report(run)
    assert field.removesuffix("_names") in str(caught.value) or isinstance(value, list | int)


def test_a_spoilt_name_inside_the_set_is_named(whole_run: Callable[..., Path]) -> None:
    run = whole_run()
    (run / "run.json").unlink()
    manifest = run / "set" / "manifest.json"
    record = json.loads(manifest.read_text())
    record["provenance"]["split_unit"] = "visit"
    manifest.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"manifest.json cannot be used.*split_unit"):
        write_report(run)


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("run.json", '{"corpus": {"site_names": []}}', "run.json cannot be used"),
        ("run.json", '{"corpus": {"site_names": []}}', "run.json cannot be used: it lacks 'counts'"),
        ("run.json", "{", "cannot be read"),
        ("history.json", '{"loss": [1.0]}', "history.json cannot be used"),
        ("history.json", '{"loss": [NaN]}', "history.json cannot be read .*NaN"),
        (
            "history.json",
            '{"loss": [1], "student_lr": [], "importance_names": [], "importance": [], "looks": [], "accuracy": [], '
            '"auc": [], "chosen_step": 1}',
            "history.json cannot be used: its lists are not equally long",
        ),
        (
            "sites/sites.json",
            '{"schema": 1, "sites": [{"site": 5, "folder": "01", "classes": [], "images": 1, "patients": 1, '
            '"reason": "", "note": ""}]}',
            "sites.json cannot be used",
        ),
        ("evaluation/evaluation.json", '{"schema": 99}', "schema is 99"),
        ("benchmark.json", '{"dataset": "CIFAR-10"}', "benchmark.json cannot be used: ipc"),
    ],
)
def test_damaged_files_are_named(whole_run: Callable[..., Path], name: str, text: str, match: str) -> None:
    run = whole_run()
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).write_text(text, encoding="utf-8")
    with pytest.raises(ArtifactError, match=match):
        read_report(run)
