"""A study that makes its sets in several ways: a column each, resumed cell by cell, and none that stops the others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from safetensors.numpy import load_file
from typer.testing import CliRunner

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.errors import RecipeError, UsageError
from medistill.privacy.ledger import ledger_root, read_ledger
from medistill.progress import Silent
from medistill.recipe import Recipe, load_recipe, recipe_toml
from medistill.report.exchange import ComparedVariants, ExchangeStudy
from medistill.report.exchange_variants import ALONE
from medistill.studies.exchange import giving
from medistill.studies.exchange import study as workflow
from medistill.studies.exchange.refusals import refuse_recipe
from medistill.studies.exchange.study import exchange_study
from medistill.studies.exchange.variants import OWN, variants_of
from medistill.training.context import Context
from medistill_cli.commands import exchange_study as command
from medistill_cli.main import app
from tests.factories.drawn_corpus import CLASSES, drawn_corpus
from tests.factories.tiny_encoder import stored_tiny, tiny_architecture
from tests.settings_restored import settings_restored

SETTINGS = (
    f"data.classes={json.dumps(CLASSES)}", "data.image_size=16", "evaluate.bootstrap=100", "evaluate.smallest_cell=1",
    "evaluate.networks=1", "method.ipc=2", "method.iterations=3", "method.levels=2",
    "method.quantise.min_cluster_size=2", "exchange.weights=[0.3, 1.0]", "exchange.left_out=none",
    "privacy.units=60", "privacy.delta=0.001",
)  # fmt: skip
PRIVATE = "method.name=private-means,method.iterations=3,method.space=encoder,privacy.mode=dp"


def way(name: str, settings: str) -> str:
    return f"exchange.variants.{name}={settings}"


EPSILON_3, EPSILON_8 = (way(f"epsilon {n}", f"{PRIVATE},privacy.epsilon={n}") for n in (3, 8))
FEWER, NAMED = way("fewer", "method.ipc=1"), way("centroids", "")


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    """Of two sites, which the study reads in the place of files."""
    found = drawn_corpus(tmp_path / "corpus", each=40)
    monkeypatch.setattr(workflow, "prepare", lambda *_, **__: found)
    return found


@pytest.fixture
def encoder(tmp_path: Path) -> Iterator[str]:
    with tiny_architecture():
        yield stored_tiny(tmp_path / "encoder").sha256


def recipe_of(encoder: str, *more: str) -> Recipe:
    return load_recipe("exchange-encoded", [f"network.encoder={encoder}", *SETTINGS, *more])


def studied(recipe: Recipe, out: Path) -> tuple[ExchangeStudy, ComparedVariants]:
    found = exchange_study(out, recipe, out=out, device="cpu", progress=Silent())
    assert found.variants is not None
    return found, found.variants


def test_every_way_has_its_sets_gate_and_figures_and_is_resumed_cell_by_cell(
    corpus: Corpus, encoder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, out = recipe_of(encoder, NAMED, FEWER, EPSILON_3, EPSILON_8), tmp_path / "study"
    study, found = studied(recipe, out)
    assert [one.name for one in found.variants] == ["centroids", "fewer", "epsilon 3", "epsilon 8"]
    assert [one.method for one in found.variants] == ["encoded-DDOQ"] * 2 + ["private-means"] * 2
    assert [one.epsilon for one in found.variants[:2]] == [None, None]
    assert [one.epsilon for one in found.variants[2:]] == pytest.approx([3, 8], rel=1e-3)
    for one, variant in zip(found.variants, variants_of(recipe), strict=True):
        folder = out / "sites" if not one.settings else out / "variants" / variant.mark / "sites"
        for number, site in enumerate(one.sites, start=1):
            made = DistilledSet.load(folder / f"{number:02d}" / "set")
            assert site.set_images == len(made.labels)
            assert made.provenance.recipe_digest == one.recipe_digest == variant.recipe.digest
            assert site.audit is not None
            assert site.audit.searched  # each was audited by itself
    assert [site.set_images for site in found.variants[1].sites] == [len(CLASSES)] * 2
    own, row = found.variants[0].rows[0].figures, study.row("own_and_others", "east")
    assert (own.home, own.everywhere) == (row.cells[0], row.pooled)

    ledger = read_ledger(ledger_root())
    assert ledger is not None
    assert len(ledger.entries) == 4  # two sites in two ways
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    lost = out / "networks" / f"own_and_others_02_{variants_of(recipe)[2].mark}_000.safetensors"
    told = load_file(lost)["test"]
    lost.unlink()
    other_order = recipe_of(encoder, EPSILON_8, EPSILON_3, NAMED)
    again, ways = studied(other_order, out)
    assert [one.name for one in ways.variants] == ["centroids", "epsilon 8", "epsilon 3"]
    assert ways.variants[2] == found.variants[2]
    assert again.matrix == study.matrix
    assert (load_file(lost)["test"] == told).all()
    after = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    assert {path for path in before if before[path] != after[path] and "united" not in path.parts} == {lost}
    assert len(read_ledger(ledger_root()).entries) == 4  # type: ignore[union-attr]

    record = json.loads((out / "exchange.json").read_text(encoding="utf-8"))
    written = record["variants"]
    assert [one["name"] for one in written["variants"]] == ["centroids", "epsilon 8", "epsilon 3"]
    assert written["variants"][0]["sites"] == record["sites"]
    assert all(site["originals"] > 0 for site in record["sites"])
    assert all(site["originals"] is None for one in written["variants"][1:] for site in one["sites"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "out_console", lambda: Console(width=200))
        command._print(again)
    said = capsys.readouterr().out
    assert "To the originals of east the sets of the others add over all sites" in said
    assert "by epsilon 8" in said


def test_a_way_that_cannot_be_gone_is_named_and_the_others_go_on(corpus: Corpus, encoder: str, tmp_path: Path) -> None:
    """Too many images for any site; and a budget that the first release of each site's patients spends."""
    total = f"{PRIVATE},privacy.epsilon=8,privacy.total_epsilon=8.1"
    recipe = recipe_of(encoder, "exchange.audit=off", way("many", "method.ipc=1000"), EPSILON_3, way("over", total))
    study, found = studied(recipe, tmp_path / "study")
    assert [one.name for one in found.variants] == [OWN, "many", "epsilon 3", "over"]
    assert [bool(one.reason) for one in found.variants] == [False, True, False, True]
    assert "0 of 2 sites can distil a set that takes 1000 training images" in found.variants[1].reason
    assert all("privacy.total_epsilon = 8.1 would be exceeded" in site.reason for site in found.variants[3].sites)
    for row in (*found.variants[1].rows, *found.variants[3].rows):
        assert row.figures.everywhere.macro_auc.value is None
        assert row.reason
    assert found.variants[2].rows[0].over_own.everywhere.macro_auc.value is not None
    assert study.row("own_and_others", "east").reason == ""
    told = [site.originals for one in found.variants[1:] for site in one.sites]
    assert told == [None] * 6  # two counts, one of them with a class more, would tell how many images that has


def test_statistics_of_the_test_change_without_another_release(corpus: Corpus, encoder: str, tmp_path: Path) -> None:
    """Nor is a network trained again; a figure is what it would have been from the start."""
    out, ways = tmp_path / "study", ("exchange.audit=off", EPSILON_3)
    _, before = studied(recipe_of(encoder, *ways), out)
    assert len(read_ledger(ledger_root()).entries) == 2  # type: ignore[union-attr]
    networks = {path: path.stat().st_mtime_ns for path in (out / "networks").rglob("*.safetensors")}
    other = ("evaluate.bootstrap=150", "evaluate.margin=0.3", "evaluate.smallest_cell=2")
    _, after = studied(recipe_of(encoder, *ways, *other), out)
    assert len(read_ledger(ledger_root()).entries) == 2  # type: ignore[union-attr]
    assert networks == {path: path.stat().st_mtime_ns for path in (out / "networks").rglob("*.safetensors")}
    areas = [one.variants[1].rows[0].figures.everywhere.macro_auc for one in (before, after)]
    assert areas[0].value == areas[1].value
    assert areas[0].low != areas[1].low
    marks = {
        variants_of(recipe_of(encoder, EPSILON_3, one))[1].mark
        for one in ("evaluate.networks=3", "evaluate.confidence=0.9", "audit.shadows=8", "seed=0")
    }
    assert len(marks) == 1
    assert variants_of(recipe_of(encoder, EPSILON_3, "seed=1"))[1].mark not in marks


def test_what_is_wrong_with_a_study_is_no_reason_of_a_site(
    corpus: Corpus, encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may name a folder of this machine, and the page leaves it; a total that is exceeded alone is a finding."""
    make = giving._distilled

    def stop(folder: Path, site: object, context: Context, network: None) -> DistilledSet:
        if context.recipe.privacy.mode == "dp":
            raise UsageError(f"the release in {folder} was drawn meanwhile", expected="one run", do="wait")
        return make(folder, site, context, network)  # type: ignore[arg-type]

    monkeypatch.setattr(giving, "_distilled", stop)
    with pytest.raises(UsageError, match="was drawn meanwhile"):
        studied(recipe_of(encoder, "exchange.audit=off", EPSILON_3), tmp_path / "study")
    assert not (tmp_path / "study" / "exchange.json").exists()


def test_ways_stand_beside_no_few_patients_and_may_have_labels_that_cannot() -> None:
    recipe = load_recipe("demo", ["exchange.hospital=east", way("values", "method.name=frepo")])
    assert variants_of(recipe)[1].recipe.method.name == "frepo"
    with pytest.raises(UsageError, match=r"exchange\.hospital"):
        refuse_recipe(variants_of(recipe)[1].recipe)


def test_one_space_is_drawn_for_all_ways_where_one_of_them_wants_it(
    encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the command asks for, and what it hands over; the work is tested above."""
    asked, seen = list[str](), list[Recipe]()

    def drawn(recipe: Recipe, *_: object) -> str:
        asked.append(recipe.method.name)
        return "c" * 64

    def stop(_: object, recipe: Recipe, **__: object) -> None:
        seen.append(recipe)
        raise UsageError("stopped", expected="no work", do="nothing")

    monkeypatch.setattr(command, "drawn_space", drawn)
    monkeypatch.setattr("medistill.studies.exchange.study.exchange_study", stop)
    path = tmp_path / "recipe.toml"
    whitened = way("epsilon 3", "method.name=private-means,privacy.mode=dp")
    for n, settings in enumerate(((FEWER, whitened), (FEWER,))):
        path.write_text(recipe_toml(recipe_of(encoder, *settings)), encoding="utf-8")
        words = ["exchange-study", "--data", str(tmp_path), "--recipe", str(path), "--out", str(tmp_path / str(n))]
        with settings_restored():
            CliRunner().invoke(app, words)
    assert asked == ["private-means", "encoded-ddoq"]
    for one in variants_of(seen[0]):
        assert one.recipe.network.projection == "c" * 64  # so networks of all ways learn in it


@pytest.mark.parametrize(
    ("variants", "said"),
    [
        ((way("again", "method.ipc=2"),), "again makes sets just as the recipe does"),
        ((FEWER, way("less", "method.ipc=1")), "less makes sets just as fewer does"),
        ((NAMED, way("also", "")), "also makes sets just as centroids does"),
        ((way(OWN, "method.ipc=1"),), "a variant is called the recipe"),
        ((way(ALONE, "method.ipc=1"),), f"a variant is called {ALONE}"),
        ((way(f"{ALONE.lower()} ", ""),), f"a variant is called {ALONE.lower()}"),
        ((way("none", "method.ipc=x"),), r"exchange\.variants, none: .*method\.ipc"),
        ((way("experts", "method.name=iadd,privacy.mode=dp"),), r"exchange\.variants, experts: .*"),
    ],
)
def test_ways_that_are_the_same_or_no_recipe_are_refused(encoder: str, variants: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        variants_of(recipe_of(encoder, *variants))


def test_a_way_changes_nothing_but_how_sets_are_made_and_the_recipe_keeps_its_digest(encoder: str) -> None:
    plain = recipe_of(encoder)
    recipe = recipe_of(encoder, FEWER, EPSILON_3)
    assert recipe.digest == plain.digest
    assert not variants_of(plain)
    for wrong in ("data.image_size=32", "exchange.weights=[1]", "seed=3", "method", ""):
        with pytest.raises(RecipeError, match=r"exchange\.variants|--set"):
            recipe_of(encoder, f'exchange.variants={{"a" = ["{wrong}"]}}')
    with pytest.raises(RecipeError, match="a name for each variant"):
        recipe_of(encoder, 'exchange.variants={" " = []}')


def test_a_recipe_with_ways_is_written_and_read_again(encoder: str, tmp_path: Path) -> None:
    recipe = recipe_of(encoder, NAMED, EPSILON_3)
    path = tmp_path / "recipe.toml"
    path.write_text(recipe_toml(recipe), encoding="utf-8")
    assert load_recipe(path) == recipe
    assert recipe.exchange.variants["epsilon 3"][-1] == "privacy.epsilon=3"
