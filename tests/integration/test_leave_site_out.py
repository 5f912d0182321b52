"""Leave one site out: who is learnt from and who is tested, what cannot be estimated, resuming, and the command."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from pydicom import dcmread
from safetensors.numpy import load_file
from typer.testing import CliRunner

from medistill.artifacts.corpus import Corpus, load_corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.kept import keep_json, read_result
from medistill.artifacts.purge import purge
from medistill.errors import ArtifactError, DivergedError, UsageError
from medistill.progress import Silent, SilentTask
from medistill.ranks.joined import Joined
from medistill.recipe import PruneRecipe, Recipe, load_recipe, override_recipe
from medistill.report.held_out_sites import load_sites
from medistill.report.record import HeldOutSite
from medistill.studies.sites.leave_site_out import leave_site_out
from medistill.studies.sites.plan import plan_sites
from medistill.workflow.distill import distill
from medistill.workflow.experts import train_experts
from medistill.workflow.prepare import prepare
from medistill_cli.main import app
from tests.factories.several_ranks import several
from tests.factories.sited_corpus import ODD, corpus_of, write_sites
from tests.settings_restored import settings_restored


def asked(*, images: int, smallest_cell: int = 1, prune: float = 0.0, patients: int = 1) -> Recipe:
    """A recipe that needs so many training images of a class, and so many patients where these are more than one."""
    means = ["method.init=quantised", f"method.quantise.min_cluster_size={patients}"] if patients > 1 else []
    sizes = [f"method.ipc={images}", f"evaluate.smallest_cell={smallest_cell}", f"prune.share={prune}"]
    made = load_recipe("demo", ["method.name=dm", *(means or ["method.init=real"]), *sizes])
    assert (made.fewest_images, made.fewest_patients) == (images, patients)
    return made


class Heard(Silent):
    """What was said and begun; stops, as Ctrl-C does, in a task whose title begins so, at the site of that number."""

    def __init__(self, stop_in: str = "", at_site: int = 0) -> None:
        self.said: list[str] = []
        self.tasks: list[str] = []
        self.stop_in, self.at_site = stop_in, at_site

    def task(self, title: str, total: int, *, done: int = 0) -> SilentTask:
        self.tasks.append(title)
        sites = sum(line.startswith("Without site") for line in self.said)
        stops = bool(self.stop_in) and title.startswith(self.stop_in) and sites == self.at_site

        class Task(SilentTask):
            def advance(self, steps: int = 1, *, figures: str = "") -> None:
                if stops and steps:
                    raise KeyboardInterrupt

        return Task()

    def say(self, message: str) -> None:
        self.said.append(message)


def test_a_class_that_one_site_alone_has_takes_no_part_without_it(tmp_path: Path) -> None:
    """COVID is north's alone. Without north the others teach Normal and Other, and north has Normal to test on."""
    cells = [
        (site, name, split, 3) for site in "ns" for name in ("Normal", "Other") for split in ("train", "val", "test")
    ]
    corpus = corpus_of(tmp_path, *cells, *[("n", "COVID", split, 3) for split in ("train", "val", "test")])
    north, south = plan_sites(corpus, asked(images=3))
    assert (north.site, north.folder, north.classes) == ("n", "01", ("Normal", "Other"))
    assert (north.images, north.patients, north.reason) == (18, 18, "")
    assert north.note == "Not every class takes part, because no other site has images of COVID."
    assert (south.classes, south.images, south.reason, south.note) == (("COVID", "Normal", "Other"), 18, "", "")


def test_what_cannot_be_learnt_without_a_site_is_said(tmp_path: Path) -> None:
    cells = [("n", "COVID", split, 3) for split in ("train", "val", "test")]
    cells += [("s", "Normal", split, 3) for split in ("train", "val", "test")]
    both = plan_sites(corpus_of(tmp_path, *cells), asked(images=1))
    assert [plan.reason for plan in both] == [
        "no other site has images of COVID",
        "no other site has images of Normal",
    ]
    assert [plan.images for plan in both] == [0, 0]
    cells += [("s", "COVID", "train", 2), ("n", "Normal", "train", 4), ("n", "Normal", "val", 1)]
    few = plan_sites(corpus_of(tmp_path, *cells), asked(images=3))
    assert few[0].reason == (
        "the other sites have 2 training and 0 validation images of class COVID, where 3 and 1 are needed"
    )
    assert (few[1].reason, few[1].classes, few[1].images) == ("", ("COVID", "Normal"), 11)


def test_a_class_is_taught_by_the_images_that_pruning_leaves(tmp_path: Path) -> None:
    """Of the three images of each class at the other site one goes: two are left, and three are needed of Other."""
    cells = [(site, name, "train", 3) for site in "ns" for name in ("COVID", "Normal")]
    cells += [("s", "Other", "train", 5), ("n", "Other", "train", 9)]
    cells += [
        (site, name, split, 3) for site in "ns" for name in ("COVID", "Normal", "Other") for split in ("val", "test")
    ]
    corpus = corpus_of(tmp_path, *cells)
    prune = PruneRecipe(share=0.4)
    assert [prune.kept(count) for count in (3, 5, 9)] == [2, 3, 6]
    north, south = plan_sites(corpus, asked(images=2, prune=0.4))
    assert (north.classes, south.classes) == (("COVID", "Normal", "Other"),) * 2
    north, south = plan_sites(corpus, asked(images=3, prune=0.4))
    assert (north.classes, south.classes) == (("Other",), ("Other",))
    assert north.reason == (
        "the other sites have 2 training and 3 validation images of class COVID after pruning (prune.share = 0.4), "
        "where 3 and 1 are needed and the other sites have 2 training and 3 validation images of class Normal after "
        "pruning (prune.share = 0.4), where 3 and 1 are needed"
    )
    assert plan_sites(corpus, asked(images=3))[0].reason == ""


def test_a_class_is_taught_by_enough_patients_where_images_are_means_of_them(tmp_path: Path) -> None:
    """Three images of each class at each site, each of a patient of its own, and six of Other at the second."""
    cells = [(site, name, split, 3) for site in "ns" for name in ("A", "B") for split in ("train", "val", "test")]
    corpus = corpus_of(tmp_path, *cells, *[("s", "C", "train", 6), ("s", "C", "val", 1), ("n", "C", "test", 1)])
    assert [plan.reason for plan in plan_sites(corpus, asked(images=2, patients=3))] == ["", ""]
    north, south = plan_sites(corpus, asked(images=2, patients=4))
    few = [
        f"the other sites have 3 training patients of class {c} by their share of its images, where 4 are needed"
        for c in "AB"
    ]
    assert north.reason == " and ".join(few)
    assert north.classes == ("C",)
    assert south.classes == ()


def test_a_site_whose_classes_are_its_own_has_nothing_to_be_tested_on(tmp_path: Path) -> None:
    cells = [("s", name, split, 2) for name in ("A", "B") for split in ("train", "val", "test")]
    own = plan_sites(
        corpus_of(tmp_path, *cells, *[("n", "C", split, 2) for split in ("train", "val", "test")]),
        asked(images=1),
    )
    assert own[0].reason == (
        "none of its images is of a class that the other sites can teach; no other site has images of C"
    )


def test_a_site_of_few_patients_is_not_shown_by_itself(tmp_path: Path) -> None:
    cells = [(site, name, split, 3) for site in "st" for name in ("A", "B") for split in ("train", "val", "test")]
    corpus = corpus_of(tmp_path, *cells, ("n", "A", "train", 4), ("n", "B", "test", 5))
    assert plan_sites(corpus, asked(images=1, smallest_cell=9))[0].reason == ""
    few, large, _ = plan_sites(corpus, asked(images=1, smallest_cell=10))
    assert few.reason == "fewer than 10 of its patients could be tested, who might be recognised"
    assert (large.images, large.reason) == (18, "")


def test_fewer_than_two_sites_are_refused_and_unknown_ones_do_not_count(tmp_path: Path) -> None:
    cells = [("not stated", name, split, 2) for name in ("A", "B") for split in ("train", "val", "test")]
    with pytest.raises(UsageError, match="the corpus has no site"):
        plan_sites(corpus_of(tmp_path, *cells), asked(images=1))
    with pytest.raises(UsageError, match=r"the corpus has one site \(n\)"):
        plan_sites(corpus_of(tmp_path, *cells, ("n", "A", "train", 2)), asked(images=1))


@dataclass(frozen=True)
class Made:
    """A run, what it was made from, and the cache that it used."""

    run: Path
    data: Path
    labels: Path
    cache: Path
    found: tuple[HeldOutSite, ...]
    heard: Heard


@pytest.fixture(scope="module")
def made(tiny_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A phantom corpus with south's COVID images given to a site of their own, and every site left out of its run."""
    place, heard = tmp_path_factory.mktemp("sites"), Heard()
    recipe = override_recipe(tiny_recipe, ["evaluate.smallest_cell=1"], "test")
    write_sites(place)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("MEDISTILL_CACHE", str(place / "cache"))
        corpus = prepare(place / "xray", recipe, labels=place / "labels.csv")
        distill(corpus, train_experts(corpus, recipe), recipe, out=place / "run")
        for name in ("interrupted", "shared"):
            shutil.copytree(place / "run", place / name)
        found = leave_site_out(place / "run", data=place / "xray", labels=place / "labels.csv", progress=heard)
    return Made(place / "run", place / "xray", place / "labels.csv", place / "cache", found, heard)


def again(made: Made, monkeypatch: pytest.MonkeyPatch, run: Path, heard: Heard) -> tuple[HeldOutSite, ...]:
    monkeypatch.setenv("MEDISTILL_CACHE", str(made.cache))
    return leave_site_out(run, data=made.data, labels=made.labels, progress=heard)


def test_ranks_that_share_the_sites_make_the_same_sets_and_answers(
    made: Made, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """From a cache of their own, so that experts and corpora are made by the ranks too."""
    monkeypatch.setenv("MEDISTILL_CACHE", str(tmp_path))
    run, taken = made.run.with_name("shared"), list[tuple[int, int]]()

    def work(ranks: Joined) -> tuple[HeldOutSite, ...]:
        heard = Heard()
        found = leave_site_out(run, data=made.data, labels=made.labels, ranks=ranks, progress=heard)
        taken.append((ranks.rank, sum(line.startswith("Without site") for line in heard.said)))
        return found

    told = several(2, work)
    assert sum(count for _, count in taken) == len(made.found)
    assert [[one.site for one in of_rank] for of_rank in told] == [[one.site for one in made.found]] * 2
    for n, (one, alone) in enumerate(zip(told[0], made.found, strict=True), start=1):
        assert (one.reason, one.note) == (alone.reason, alone.note)
        mine, theirs = (folder / "sites" / f"{n:02d}" for folder in (run, made.run))
        pixels = "set/images.safetensors"
        assert (mine / pixels).read_bytes() == (theirs / pixels).read_bytes()
        for arm in ("raw", "random", "kmeans", "distilled"):
            answers = [load_file(place / "evaluation" / f"{arm}.safetensors")["test"] for place in (mine, theirs)]
            np.testing.assert_array_equal(*answers)


def test_every_site_is_tested_by_networks_that_saw_none_of_its_patients(made: Made) -> None:
    """Against the files: how many images and patients each site has, and who is in the corpora learnt from."""
    with made.labels.open(newline="", encoding="utf-8") as file:
        site_of = {row["file"]: row["site"] for row in csv.DictReader(file)}
    patient_of = {name: str(dcmread(made.data / name, stop_before_pixels=True).PatientID) for name in site_of}
    assert [one.site for one in made.found] == sorted(set(site_of.values()))
    for number, one in enumerate(made.found, start=1):
        here = {name for name, site in site_of.items() if site == one.site}
        assert one.evaluation is not None
        assert one.evaluation.test_images == len(here)
        assert one.evaluation.test_patients == len({patient_of[name] for name in here})
        distilled = DistilledSet.load(made.run / "sites" / f"{number:02d}" / "set")
        learnt = load_corpus(made.cache / "corpora" / str(distilled.provenance.corpus))
        files = {row.row: row.file for row in learnt.manifest if row.row >= 0}
        assert {files[row] for row in learnt.rows("test")} == here
        others = {files[row] for split in ("train", "val") for row in learnt.rows(split)}
        assert {site_of[name] for name in others} == set(site_of.values()) - {one.site}
        assert {patient_of[name] for name in others}.isdisjoint(patient_of[name] for name in here)
        raw = one.evaluation.arm("raw")
        assert raw is not None
        assert raw.images == len(learnt.rows("train"))


def test_the_other_sites_keep_their_splits_and_their_test_images_take_no_part(made: Made) -> None:
    whole = load_corpus(made.cache / "corpora" / str(DistilledSet.load(made.run / "set").provenance.corpus))
    split_of = {row.file: int(whole.splits[row.row]) for row in whole.manifest if row.row >= 0}
    for one in made.found:
        folder = json.loads((made.run / "sites" / "sites.json").read_text())["sites"]
        number = next(entry["folder"] for entry in folder if entry["site"] == one.site)
        content = DistilledSet.load(made.run / "sites" / number / "set").provenance.corpus
        without = load_corpus(made.cache / "corpora" / str(content))
        for row in without.manifest:
            if row.row >= 0 and without.splits[row.row] != 2:
                assert without.splits[row.row] == split_of[row.file] != 2
                np.testing.assert_array_equal(
                    without.images[row.row], whole.images[next(r.row for r in whole.manifest if r.file == row.file)]
                )


def test_a_site_with_one_class_says_why_it_has_no_area(made: Made) -> None:
    odd = next(one for one in made.found if one.site == ODD)
    assert odd.evaluation is not None
    assert odd.evaluation.class_names == ("COVID", "Normal", "Pneumonia")
    assert odd.evaluation.class_images[1:] == (0, 0)
    for arm in odd.evaluation.arms:
        assert arm.macro_auc.value is None
        assert arm.macro_auc.reason
        assert arm.classes[0].point("youden").sensitivity.value is not None


def test_the_record_and_the_folders(made: Made) -> None:
    sites = made.run / "sites"
    record = json.loads((sites / "sites.json").read_text())
    assert record["schema"] == 1
    assert [(entry["site"], entry["folder"]) for entry in record["sites"]] == [
        (ODD, "01"),
        ("north", "02"),
        ("south", "03"),
    ]
    assert record["sites"][2]["classes"] == ["COVID", "Normal", "Pneumonia"]
    assert record["sites"][1]["images"] == made.found[1].evaluation.test_images
    assert {entry.name for entry in sites.iterdir()} == {"01", "02", "03", "sites.json"}
    assert load_sites(made.run) == made.found
    begun = [line for line in made.heard.said if line.startswith("Without site")]
    assert begun[0].startswith(f"Without site {ODD}, 1 of 3 sites to do.")
    assert re.search(r"3 of 3 sites to do; (about .* left|time left not known yet)\.", begun[2])


def test_a_second_call_does_nothing_even_where_the_experts_are_gone(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDISTILL_CACHE", str(tmp_path))
    before = {path: path.stat().st_mtime_ns for path in (made.run / "sites").rglob("*") if path.is_file()}
    heard = Heard()
    assert leave_site_out(made.run, data=made.data, labels=made.labels, progress=heard) == made.found
    assert set(heard.tasks) <= {"Reading images"}
    assert before == {path: path.stat().st_mtime_ns for path in (made.run / "sites").rglob("*") if path.is_file()}
    purge(tmp_path)


@pytest.mark.parametrize("stage", ["Distilling", "Evaluating"])
def test_stopped_at_the_second_site_and_repeated_it_ends_as_if_undisturbed(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    run = shutil.copytree(made.run.parent / "interrupted", tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        again(made, monkeypatch, run, Heard(stop_in=stage, at_site=2))
    assert [one.site for one in load_sites(run)] == [ODD]
    first = {path: path.stat().st_mtime_ns for path in (run / "sites" / "01").rglob("*") if path.is_file()}
    heard = Heard()
    found = again(made, monkeypatch, run, heard)
    assert [line.split(",")[0] for line in heard.said if line.startswith("Without site")] == [
        "Without site north",
        "Without site south",
    ]
    assert first == {path: path.stat().st_mtime_ns for path in first}
    for number in ("01", "02", "03"):
        mine, whole = run / "sites" / number, made.run / "sites" / number
        assert (mine / "set" / "images.safetensors").read_bytes() == (whole / "set" / "images.safetensors").read_bytes()
    for one, undisturbed in zip(found, made.found, strict=True):
        assert one.evaluation is not None
        assert undisturbed.evaluation is not None
        assert one.evaluation.differences == undisturbed.evaluation.differences


def test_a_site_whose_training_diverges_says_so_and_the_others_go_on(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, sites = shutil.copytree(made.run.parent / "interrupted", tmp_path / "run"), []

    def diverging(corpus: Corpus, *args: object, **options: object) -> None:
        sites.append(corpus.content)
        raise DivergedError("expert 0 diverged in epoch 1", expected="finite parameters", do="lower experts.lr")

    monkeypatch.setattr("medistill.studies.sites.leave_site_out.followed_experts", diverging)
    found = again(made, monkeypatch, run, Heard())
    assert [one.evaluation for one in found] == [None] * 3
    assert {one.reason for one in found} == {"expert 0 diverged in epoch 1"}
    assert len(set(sites)) == 3


def test_another_corpus_another_network_and_no_run_are_refused(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDISTILL_CACHE", str(made.cache))
    with pytest.raises(UsageError, match="another corpus than the one that the run"):
        leave_site_out(made.run, data=made.data)
    with pytest.raises(UsageError, match="no run with a finished set"):
        leave_site_out(tmp_path, data=made.data)
    with (
        FileLock(made.run / "sites" / ".lock"),
        pytest.raises(UsageError, match="another process leaves the sites"),
    ):
        leave_site_out(made.run, data=made.data, labels=made.labels)
    run = shutil.copytree(made.run.parent / "interrupted", tmp_path / "run")
    manifest = json.loads((run / "set" / "manifest.json").read_text())
    manifest["provenance"]["network"] = "my-own"
    (run / "set" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match="was made with the network my-own"):
        leave_site_out(run, data=made.data, labels=made.labels)


def test_results_of_something_else_are_neither_taken_nor_overwritten(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shutil.copytree(made.run, tmp_path / "run")
    path = run / "sites" / "sites.json"
    record = read_result(path, "sites")
    keep_json(path, {**record, "recipe_digest": "0" * 64})
    with pytest.raises(UsageError, match="holds results of another corpus or recipe"):
        again(made, monkeypatch, run, Heard())


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"sites": None},
        {"sites": [{"site": "north"}]},
        {"sites": [3]},
        {"sites": ...},
    ],
    ids=str,
)
def test_a_damaged_record_is_refused(made: Made, tmp_path: Path, change: dict[str, object]) -> None:
    (tmp_path / "sites").mkdir()
    record = {**read_result(made.run / "sites" / "sites.json", "sites"), **change}
    kept = {name: value for name, value in record.items() if value is not ...}
    keep_json(tmp_path / "sites" / "sites.json", kept)
    with pytest.raises(ArtifactError, match=r"sites.json cannot be used: .*leave-site-out"):
        load_sites(tmp_path)


def test_a_record_cannot_lead_out_of_its_folder(made: Made, tmp_path: Path) -> None:
    record = read_result(made.run / "sites" / "sites.json", "sites")
    record["sites"][0]["folder"] = "../../elsewhere"
    (tmp_path / "sites").mkdir()
    keep_json(tmp_path / "sites" / "sites.json", record)
    with pytest.raises(ArtifactError, match="a folder in it is not a number"):
        load_sites(tmp_path)


def test_a_run_without_sites_has_none(tmp_path: Path) -> None:
    assert load_sites(tmp_path) == ()


def test_the_command(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDISTILL_CACHE", str(made.cache))
    words = ["leave-site-out", str(made.run), "--data", str(made.data), "--labels", str(made.labels)]
    with settings_restored():
        plain, parsed = (CliRunner().invoke(app, [*words, *more]) for more in ([], ["--json"]))
        refused = CliRunner().invoke(app, words[:-2])
    assert plain.exit_code == parsed.exit_code == 0, plain.stderr + parsed.stderr
    told = json.loads(parsed.stdout)["sites"]
    assert [entry["site"] for entry in told] == [one.site for one in made.found]
    assert told[1]["evaluation"]["test_images"] == made.found[1].evaluation.test_images
    rows = {one.site: next(line for line in plain.stdout.splitlines() if one.site in line) for one in made.found}
    area = made.found[1].evaluation.arm("distilled").macro_auc.value
    assert f"{area:.3f}" in rows["north"]
    assert "not known" in rows[ODD]
    assert f"{ODD}: no macro AUC, because" in plain.stdout
    accuracy = made.found[0].evaluation.arm("raw").accuracy.value
    assert f"All originals {accuracy:.3f}" in plain.stdout
    assert f"medistill report {made.run}" in plain.stdout.replace("\n", "")
    assert refused.exit_code == 2
    assert "another corpus" in refused.stderr
