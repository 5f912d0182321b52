"""`medistill report --compare`: runs side by side, paired where they may be, and refused where they may not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medistill.artifacts.atomic import write_json
from medistill.errors import ArtifactError, UsageError
from medistill.evaluate.evaluation import load_evaluation
from medistill.recipe import load_recipe
from medistill.recipe.load import sections_of
from medistill.report.comparison import differing_settings
from medistill.report.record import Report
from medistill.workflow.compare import compare_runs, run_names
from medistill_cli.main import app
from tests.factories import report_example, reported_run

SETTINGS = ["evaluate.bootstrap=100", "evaluate.networks=3"]


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    def build(name: str, *settings: str, skill: float = 1.6, seed: int = 0) -> Path:
        recipe = load_recipe("demo", [*SETTINGS, *settings])
        return reported_run.whole_run(tmp_path / name, recipe, tmp_path / "cache", skill=skill, seed=seed)

    return build


def alter(path: Path, change: Callable[[dict], None]) -> None:
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    write_json(path, value)


def test_runs_on_the_same_images_are_paired(make: Callable[..., Path], tmp_path: Path) -> None:
    first, second = make("first"), make("second", "method.ipc=7", "method.image_lr=50", skill=2.2, seed=3)
    comparison = compare_runs([first, second], out=tmp_path / "both")
    assert comparison.same_test
    assert "same images of the same corpus" in comparison.comparable
    assert [run.name for run in comparison.runs] == ["first", "second"]
    assert {row.name: row.values for row in comparison.settings} == {
        "method.image_lr": ("100.0", "50.0"),
        "method.ipc": ("5", "7"),
    }
    (between,) = comparison.differences
    own = [run.arm("distilled").macro_auc.value for run in comparison.runs]  # type: ignore[union-attr]
    assert between.macro_auc.value == pytest.approx(own[1] - own[0], abs=1e-6)
    assert between.macro_auc.low is not None
    assert between.macro_auc.low <= between.macro_auc.value <= (between.macro_auc.high or 0)
    assert json.loads((tmp_path / "both" / "comparison.json").read_text()) == json.loads(
        json.dumps(comparison.as_json())
    )
    for name in ("comparison.html", "comparison.md"):
        text = (tmp_path / "both" / name).read_text(encoding="utf-8")
        assert reported_run.EVIL not in text
        assert str(tmp_path) not in text
        assert "method.image_lr" in text.replace("\\", "")


def of(*overrides: str) -> Report:
    """A report on a run of the demo under other settings."""
    recipe = load_recipe("demo", overrides)
    settings = {name: values for name, values in sections_of(recipe).items() if name}
    base = report_example.whole()
    return replace(base, making=replace(base.making, settings=settings, recipe="demo", seed=0))


def test_settings_that_follow_from_the_method_are_not_listed() -> None:
    own, quantised = of(), of("method.name=ddoq", "method.quantise.temperature=2")
    assert {row.name: row.values for row in differing_settings([own, of("method.name=mtt", "method.segments=3")])} == {
        "method.name": ("iadd", "mtt"),
        "method.segments": ("1", "3"),
    }
    found = {row.name: row.values for row in differing_settings([own, quantised])}
    assert found["method.name"] == ("iadd", "ddoq")
    assert found["method.quantise.temperature"] == ("", "2.0")  # not its default
    assert found["method.experts.count"] == ("5", "")  # likewise
    assert found["method.labels"] == ("hard", "soft")  # of both
    defaults = {"method.quantise.weights", "method.importance.direction", "method.image_lr", "method.mask.rule"}
    assert not defaults & set(found)


def test_a_run_without_a_recipe_makes_no_setting_differ(make: Callable[..., Path], tmp_path: Path) -> None:
    first, second, bare = make("first"), make("second", "method.segments=3"), make("bare", skill=2.2)
    (bare / "recipe.toml").unlink()
    comparison = compare_runs([first, second, bare], out=tmp_path / "all")
    names = {row.name for row in comparison.settings if "." in row.name}
    assert names == {"method.segments"}


def test_other_test_images_are_said_and_not_paired(make: Callable[..., Path], tmp_path: Path) -> None:
    first, second = make("first"), make("second")
    (second / "evaluation" / "truth.safetensors").unlink()
    reported_run.save_truth(second / "evaluation", reported_run.truth(0, 21), reported_run.truth(5, 30))
    comparison = compare_runs([first, second], out=tmp_path / "both")
    assert not comparison.same_test
    assert "different images" in comparison.comparable
    assert comparison.differences[0].macro_auc.value is None


def test_an_equal_split_of_another_corpus_is_paired_under_a_stated_assumption(
    make: Callable[..., Path], tmp_path: Path
) -> None:
    first, second = make("first"), make("second", seed=3)
    alter(second / "run.json", lambda value: value["corpus"].update(content="d" * 64))
    comparison = compare_runs([first, second], out=tmp_path / "both")
    assert "on the assumption" in comparison.comparable
    assert comparison.differences[0].macro_auc.value is not None


def test_without_predictions_nothing_is_paired(make: Callable[..., Path], tmp_path: Path) -> None:
    first, second = make("first"), make("second")
    (second / "evaluation" / "distilled.safetensors").unlink()
    comparison = compare_runs([first, second], out=tmp_path / "both")
    assert comparison.same_test
    assert "not in its folder" in comparison.differences[0].macro_auc.reason
    (second / "run.json").unlink()
    alter(second / "set" / "manifest.json", lambda value: value["provenance"].update(corpus=""))
    assert "cannot be compared" in compare_runs([first, second], out=tmp_path / "both").comparable


def test_runs_of_other_classes_are_named(make: Callable[..., Path], tmp_path: Path) -> None:
    first, second = make("first"), make("second")
    path = second / "evaluation" / "evaluation.json"
    alter(path, lambda value: value.update(class_names=["a", "b", "c"]))
    assert load_evaluation(path).class_names == ("a", "b", "c")
    with pytest.raises(UsageError, match="run second has the classes a, b, c; run first has Normal"):
        compare_runs([first, second], out=tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_what_is_no_run_is_named(make: Callable[..., Path], tmp_path: Path) -> None:
    first = make("first")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError, match="empty holds no evaluation yet"):
        compare_runs([first, tmp_path / "empty"], out=tmp_path / "both")
    with pytest.raises(ArtifactError, match="there is no folder"):
        compare_runs([first, tmp_path / "nowhere"], out=tmp_path / "both")
    with pytest.raises(UsageError, match="1 run was given"):
        compare_runs([first], out=tmp_path / "both")
    with pytest.raises(UsageError, match="given twice"):
        compare_runs([first, tmp_path / "empty" / ".." / "first"], out=tmp_path / "both")


def test_equal_names_get_their_parents() -> None:
    assert run_names([Path("a/run"), Path("b/run"), Path("other")]) == ["a/run", "b/run", "other"]
    assert run_names([Path("x/a/run"), Path("y/a/run")]) == ["x/a/run", "y/a/run"]


def test_command_line(make: Callable[..., Path], tmp_path: Path) -> None:
    runs = [str(make("first")), str(make("second", seed=3))]
    out = tmp_path / "both"
    done = CliRunner().invoke(app, ["report", *runs, "--compare", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "2 runs side by side" in done.output
    assert "comparison.html" in done.output
    done = CliRunner().invoke(app, ["report", *runs, "--compare", "--out", str(out), "--json"])
    assert json.loads(done.stdout)["runs"][1]["name"] == "second"
    assert not (tmp_path / "first" / "report.html").exists()
    for words in (
        ["report", runs[0], "--out", str(out)],
        ["report", *runs, "--compare", "--show-real"],
        ["report", runs[0], "--compare"],
    ):
        assert CliRunner().invoke(app, words).exit_code == 2


def test_several_reports_are_written_again(make: Callable[..., Path]) -> None:
    runs = [make("first"), make("second")]
    done = CliRunner().invoke(app, ["report", *map(str, runs), "--json"])
    assert done.exit_code == 0, done.output
    assert [entry["run"] for entry in json.loads(done.stdout)["runs"]] == [str(run) for run in runs]
    for run in runs:
        assert {path.name for path in run.glob("report.*")} == {"report.html", "report.json", "report.md"}
