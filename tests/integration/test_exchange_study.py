"""The study of exchange: who teaches whom, one-class sites, resuming, refusals, and the command."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from safetensors.numpy import load_file
from typer.testing import CliRunner

from medistill.artifacts.corpus import Corpus, load_corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.errors import DivergedError, UsageError
from medistill.evaluate.protocol import random_rows
from medistill.evaluate.site_matrix import OF_ONE_SITE, SOURCES
from medistill.progress import Silent, SilentTask
from medistill.recipe import Recipe, override_recipe
from medistill.report.exchange import ExchangeStudy
from medistill.studies.exchange.sites import ExchangeSite, plan_exchange
from medistill.studies.exchange.study import exchange_study
from medistill.workflow.prepare import prepare
from medistill_cli.main import app
from tests.factories.sited_corpus import ODD, corpus_of, write_sites
from tests.factories.tiny import TINY
from tests.settings_restored import settings_restored


class Heard(Silent):
    """Tasks that were begun, as (title, total, done); stops, as Ctrl-C does, in the task of that number."""

    def __init__(self, stop_in: str = "", at: int = 0, after: int = 1) -> None:
        self.tasks: list[tuple[str, int, int]] = []
        self.said: list[str] = []
        self.stop_in, self.at, self.after = stop_in, at, after

    def task(self, title: str, total: int, *, done: int = 0) -> SilentTask:
        self.tasks.append((title, total, done))
        alike = sum(begun.startswith(self.stop_in) for begun, _, _ in self.tasks)
        heard, stops = self, bool(self.stop_in) and title.startswith(self.stop_in) and alike == self.at

        class Task(SilentTask):
            def advance(self, steps: int = 1, *, figures: str = "") -> None:
                heard.after -= int(stops and steps > 0)
                if stops and heard.after == 0:
                    raise KeyboardInterrupt

        return Task()

    def say(self, message: str) -> None:
        self.said.append(message)


@dataclass(frozen=True)
class Made:
    """A study, what it was made from, and the cache that it used."""

    place: Path
    recipe: Recipe
    study: ExchangeStudy

    @property
    def out(self) -> Path:
        return self.place / "study"


@pytest.fixture(scope="module")
def made(tiny_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A phantom corpus of two sites, with south's COVID images given to a site of their own."""
    place = tmp_path_factory.mktemp("exchange")
    recipe = override_recipe(tiny_recipe, ["evaluate.smallest_cell=1"], "test")
    write_sites(place)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("MEDISTILL_CACHE", str(place / "cache"))
        recipe = _possible(place, recipe)
        study = exchange_study(place / "xray", recipe, labels=place / "labels.csv", out=place / "study")
    return Made(place, recipe, study)


def _possible(place: Path, recipe: Recipe) -> Recipe:
    """As many images a class as every site has patients' images for."""
    corpus = prepare(place / "xray", recipe, labels=place / "labels.csv")
    cells = [(s, c) for s in range(3) for c in range(3)]
    train = corpus.splits == 0
    counts = [int(np.sum(train & (corpus.sites == s) & (corpus.labels == c))) for s, c in cells]
    return override_recipe(recipe, [f"method.ipc={min(2, *filter(None, counts))}"], "test")


def again(
    made: Made, monkeypatch: pytest.MonkeyPatch, out: Path, heard: Heard, *settings: str, data: Path | None = None
) -> ExchangeStudy:
    monkeypatch.setenv("MEDISTILL_CACHE", str(made.place / "cache"))
    recipe = override_recipe(made.recipe, list(settings), "test")
    folder = made.place / "xray" if data is None else data
    return exchange_study(folder, recipe, labels=made.place / "labels.csv", out=out, progress=heard)


def table(made: Made) -> list[dict[str, str]]:
    with (made.place / "labels.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_each_set_is_of_its_sites_training_images_and_classes_alone(made: Made) -> None:
    for number, site in enumerate(made.study.sites, start=1):
        distilled = DistilledSet.load(made.out / "sites" / f"{number:02d}" / "set")
        mine = [row["label"] for row in table(made) if row["site"] == site.name and row["split"] == "train"]
        counts = {name: mine.count(name) for name in distilled.class_names}
        assert distilled.provenance.training_images == counts
        assert {distilled.class_names[label] for label in distilled.labels} == set(mine) == set(site.classes)
        assert site.originals == len(mine)
        assert site.recovered == _given_away(made, site.name, distilled)
        looks = json.loads((made.out / "sites" / f"{number:02d}" / "history.json").read_text())["looks"]
        assert bool(looks) == (len(site.classes) > 1)  # one class: no figure to choose by, the last step is taken
        assert looks or distilled.provenance.chosen_step == made.recipe.method.iterations
    assert [site.classes for site in made.study.sites if site.name == ODD] == [("COVID",)]
    united = DistilledSet.load(made.out / "united")
    assert len(united.labels) == sum(site.set_images for site in made.study.sites)
    assert {part.sender for part in united.provenance.sources} == {site.name for site in made.study.sites}


def _given_away(made: Made, site: str, distilled: DistilledSet) -> int:
    """Images that are nearest to their own beginning of all training images of their site and class, less the mean."""
    corpora = [load_corpus(path.parent) for path in (made.place / "cache").rglob("index.json")]
    corpus = next(one for one in corpora if one.content == made.study.corpus)
    share = next(one for one in plan_exchange(corpus, made.recipe.method.ipc) if one.name == site).share(corpus)
    counts = np.bincount(distilled.labels, minlength=len(corpus.class_names))
    began, found = random_rows(share, counts, made.recipe.seed, -1), 0
    for image, label, own in zip(distilled.images, distilled.labels, began, strict=True):
        rows = [int(row) for row in share.rows("train") if share.labels[row] == label]
        grey = corpus.images[rows].reshape(len(rows), -1) / 255
        mine = distilled.normalisation.grey(image[None]).ravel() - grey.mean(axis=0)
        likeness = [np.corrcoef(mine, other - grey.mean(axis=0))[0, 1] for other in grey]
        found += int(rows[int(np.argmax(likeness))] == own)
    return found


def test_a_site_of_one_class_teaches_nothing_by_itself_and_is_tested_all_the_same(made: Made) -> None:
    matrix = made.study.matrix
    names = [site.name for site in made.study.sites]
    assert [(row.source, row.site) for row in matrix.rows if not row.without] == [
        (source, name) for source in SOURCES for name in (names if source in OF_ONE_SITE else [""])
    ]
    for source in ("own_raw", "own_set"):
        assert made.study.row(source, ODD).reason == "all that there is to learn from is of class COVID"
    pairs = [(row.site, row.without) for row in made.study.rows("own_and_unseen")]
    assert pairs == [(mine, other) for mine in names if mine != ODD for other in names if other != mine]
    column = [site.name for site in matrix.sites].index(ODD)
    assert matrix.sites[column].only_class == "COVID"
    cell = made.study.row("others_sets", ODD).cells[column]
    assert cell.macro_auc.value is None
    assert cell.accuracy.value is not None


def test_figures_are_those_of_what_the_networks_said_of_the_test_patients(made: Made) -> None:
    """Against the stored answers and the table of labels, counted anew."""
    corpora = [load_corpus(path.parent) for path in (made.place / "cache").rglob("index.json")]
    corpus = next(one for one in corpora if one.content == made.study.corpus)
    files = {row.row: row.file for row in corpus.manifest if row.row >= 0}
    known = {row["file"]: row for row in table(made)}
    tested = [known[files[row]] for row in range(len(corpus.labels)) if known[files[row]]["split"] == "test"]
    assert made.study.matrix.test_images == len(tested)
    stored = [load_file(path)["test"] for path in sorted((made.out / "networks").glob("all_sets_*"))]
    assert len(stored) == made.recipe.evaluate.networks
    row = made.study.row("all_sets", "")
    for site, cell in [(None, row.pooled), *zip(made.study.matrix.sites, row.cells, strict=True)]:
        here = [k for k, entry in enumerate(tested) if site is None or entry["site"] == site.name]
        truth = [made.study.class_names.index(tested[k]["label"]) for k in here]
        right = [np.mean(told[here].argmax(axis=1) == truth) for told in stored]
        assert cell.accuracy.value == pytest.approx(np.mean(right))


def test_what_is_written_names_no_file_and_networks_are_private(made: Made) -> None:
    names = {entry.name for entry in made.out.iterdir()}
    assert names == {"sites", "networks", "united", "log.jsonl", "exchange.html", "exchange.json", "exchange.md"}
    for name in ("exchange.html", "exchange.json", "exchange.md"):
        text = (made.out / name).read_text(encoding="utf-8")
        assert ".dcm" not in text
        assert str(made.place) not in text
    assert json.loads((made.out / "exchange.json").read_text()) == json.loads(json.dumps(made.study.as_json()))
    assert {path.stat().st_mode & 0o777 for path in (made.out / "networks").iterdir()} == {0o600}


def test_a_second_call_trains_nothing_and_more_networks_only_themselves(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, heard, more = shutil.copytree(made.out, tmp_path / "study"), Heard(), Heard()
    assert again(made, monkeypatch, out, heard) == made.study
    assert {title for title, total, done in heard.tasks if done < total} <= {"Reading images"}
    grown = again(made, monkeypatch, out, more, "evaluate.networks=3", "evaluate.confidence=0.9")
    [(_, total, done)] = [task for task in more.tasks if task[0].startswith("Training networks")]
    assert done * 3 == total * 2
    assert {row.networks for row in grown.matrix.rows if not row.reason} == {3}


@pytest.mark.parametrize(("stage", "at", "after"), [("Distilling", 2, 3), ("Training networks", 1, 12)])
def test_stopped_and_repeated_it_ends_as_if_undisturbed(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, at: int, after: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        again(made, monkeypatch, tmp_path / "study", Heard(stage, at, after))
    assert not (tmp_path / "study" / "exchange.json").exists()
    kept = [path for path in (tmp_path / "study").rglob("*.safetensors") if path.parent.name in ("set", "networks")]
    before = {path: path.stat().st_mtime_ns for path in kept}
    assert before
    assert again(made, monkeypatch, tmp_path / "study", Heard()) == made.study
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_a_site_whose_training_diverges_has_no_set_and_the_others_go_on(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medistill.studies.exchange import giving

    real, lost = giving.followed_experts, made.study.sites[0].name

    def diverging(corpus: Corpus, *args: object, **options: object) -> object:
        if (corpus.site_names[int(corpus.sites[corpus.rows("train")][0])]) == lost:
            raise DivergedError("expert 0 diverged in epoch 1", expected="finite parameters", do="lower experts.lr")
        return real(corpus, *args, **options)

    monkeypatch.setattr(giving, "followed_experts", diverging)
    study = again(made, monkeypatch, tmp_path / "study", Heard())
    assert study.sites[0].reason == study.row("own_set", lost).reason == "expert 0 diverged in epoch 1"
    assert study.row("all_sets", "").images == sum(site.set_images for site in study.sites[1:])


def test_what_cannot_be_studied_is_refused(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="the recipe whitens"):
        again(made, monkeypatch, tmp_path, Heard(), "data.zca=true")
    with pytest.raises(UsageError, match="1 of 1 sites can distil"):
        again(made, monkeypatch, tmp_path / "one", Heard(), 'data.sites=["north"]')
    with pytest.raises(UsageError, match="other images or of another network"):
        again(made, monkeypatch, made.out, Heard(), 'data.classes=["COVID", "Normal"]')
    with pytest.raises(UsageError, match=r"another recipe: .*method\.iterations"):
        again(made, monkeypatch, made.out, Heard(), "method.iterations=5")
    with FileLock(made.out / ".lock"), pytest.raises(UsageError, match="another process works on the study"):
        again(made, monkeypatch, made.out, Heard())


def test_a_class_of_which_a_site_has_too_few_takes_no_part_there(tmp_path: Path) -> None:
    cells = [(site, "A", split, 4) for site in ("e", "n", "not stated") for split in ("train", "val", "test")]
    cells += [("e", "B", "train", 3), ("e", "B", "val", 1), ("n", "B", "train", 2), ("w", "B", "test", 1)]
    corpus = corpus_of(tmp_path, *cells)
    east, north, west = plan_exchange(corpus, images=3)
    assert (east.classes, east.note, len(east.rows)) == (("A", "B"), "", 7)
    assert (north.classes, len(north.rows)) == (("A",), 4)
    assert north.note == "It has fewer than 3 training images or no validation image of B, which take no part there."
    assert west.reason == "the site has no training images"
    share = north.share(corpus)
    assert set(share.rows("train")) == set(north.rows)
    assert set(corpus.labels[share.rows("val")]) == {0}
    assert len(share.rows("test")) == 0
    assert len({share.content, east.share(corpus).content, corpus.content}) == 3
    with pytest.raises(UsageError, match="no site has 4 training images and a validation image of class B"):
        plan_exchange(corpus, images=4)


def test_a_class_that_is_nearly_one_patient_s_takes_no_part_where_images_are_means(tmp_path: Path) -> None:
    """Ten images of three patients: 4, 3 and 3 of them count as two patients (100 / 34), 8, 1 and 1 as one."""
    cells = [(site, "A", split, 10) for site in ("e", "w") for split in ("train", "val")]
    corpus = corpus_of(tmp_path, *cells)
    groups = corpus.groups.copy()
    groups[:10], groups[20:30] = np.repeat([100, 101, 102], [4, 3, 3]), np.repeat([200, 201, 202], [8, 1, 1])
    corpus = replace(corpus, groups=groups)
    assert [site.classes for site in plan_exchange(corpus, images=2, patients=1)] == [("A",), ("A",)]
    with pytest.raises(UsageError, match="sites"):
        plan_exchange(corpus, images=2, patients=2)


def test_a_class_too_small_for_tiles_or_for_pruning_takes_no_part_there(
    tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = [(site, "A", split, 20) for site in ("e", "w") for split in ("train", "val", "test")]
    cells += [("e", "B", "train", 20), ("e", "B", "val", 1), ("w", "B", "train", 7), ("w", "B", "val", 1)]
    corpus = corpus_of(tmp_path / "corpus", *cells)
    from medistill.studies.exchange import study as workflow

    class Planned(Exception):
        pass

    def stop(sites: list[ExchangeSite], *rest: object, **options: object) -> None:
        raise Planned({site.name: (site.classes, site.note) for site in sites})

    monkeypatch.setattr(workflow, "prepare", lambda *_, **__: corpus)
    monkeypatch.setattr(workflow, "studied_sites", stop)
    small = ["data.image_size=8", "network.depth=2"]
    for settings, few in (
        (["method.ipc=7"], ""),
        (["method.ipc=2", "method.tiles=2"], "fewer than 8 training images or"),
        (["method.ipc=6", "prune.share=0.3"], "fewer than 6 training images after pruning (prune.share = 0.3) or"),
        (["method.ipc=7", "method.tiles=2", "method.init=noise"], ""),
    ):
        recipe = override_recipe(tiny_recipe, [*small, *settings], "test")
        with pytest.raises(Planned) as planned:
            exchange_study(tmp_path, recipe, out=tmp_path / "study")
        (found,) = planned.value.args
        assert found["e"] == (("A", "B"), "")
        assert found["w"][0] == (("A",) if few else ("A", "B"))
        assert few in found["w"][1]


def test_the_command(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDISTILL_CACHE", str(made.place / "cache"))
    out = shutil.copytree(made.out, tmp_path / "study")
    words = ["exchange-study", "--data", str(made.place / "xray"), "--labels", str(made.place / "labels.csv")]
    settings = [*TINY, f"method.ipc={made.recipe.method.ipc}", "evaluate.smallest_cell=1"]
    words += ["--recipe", "demo", "--out", str(out), *(word for text in settings for word in ("--set", text))]
    with settings_restored():
        plain, parsed = (CliRunner().invoke(app, [*words, *more]) for more in ([], ["--json"]))
    assert plain.exit_code == parsed.exit_code == 0, plain.stderr + parsed.stderr
    assert json.loads(parsed.stdout)["study"] == json.loads(json.dumps(made.study.as_json()))
    assert "should not be sent" in " ".join(plain.stdout.split())
    assert "Gain at home" in plain.stdout
    assert len(plain.stdout.splitlines()) < 48
    assert "medistill train" in plain.stdout
