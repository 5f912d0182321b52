"""Distribution matching through the whole chain: no experts, outer steps, and a learning rate that is the recipe's."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import numpy as np
import pytest

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.errors import RecipeError, UsageError
from medistill.privacy.gate import MAKING_NAME
from medistill.progress import Silent, SilentTask
from medistill.recipe import Recipe, experts_of, load_recipe, override_recipe
from medistill.studies.audit.audit import audit
from medistill.training.device import choose_device
from medistill.workflow.distill import distill
from medistill.workflow.experts import followed_experts
from medistill.workflow.prepare import prepare
from medistill.workflow.report import write_report
from medistill.workflow.retrace import making_flaw
from medistill.workflow.run import run

CPU = choose_device("cpu")
AUDIT = ("audit.shadows=4", "audit.shadow_iterations=2", "audit.networks=1")
BEGINNINGS = {
    "real": [],
    "noise": ["method.init=noise"],
    "means": ["method.init=quantised", "method.quantise.min_cluster_size=2", "method.quantise.components=8"],
}


@pytest.fixture
def recipe(tiny_recipe: Recipe) -> Recipe:
    return override_recipe(tiny_recipe, ["method.name=dm", "method.batch_real=6", *AUDIT], "test")


def words(out: Path) -> str:
    """What the report of a run says."""
    page = html.unescape((out / "report.html").read_text(encoding="utf-8"))
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


def test_from_files_to_report_and_audit(recipe: Recipe, phantom_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    report = run(recipe, out=out, data=phantom_folder, device="cpu")
    made = DistilledSet.load(out)
    assert made.provenance.method == "DM"
    assert made.student_lr == recipe.evaluate.lr
    assert made.soft_labels is None
    assert "trajectories" not in made.provenance.as_json()
    assert "experts" not in json.loads((out / "run.json").read_text())["stages"]
    history = json.loads((out / "history.json").read_text())
    assert len(history["loss"]) == recipe.method.outer_steps
    assert not {"student_lr", "importance"} & set(history)
    assert made.provenance.chosen_step == history["chosen_step"] == history["looks"][int(np.argmax(history["auc"]))]
    assert report.course is not None
    assert report.course.student_lr == ()
    page = words(out)
    for said in ("distribution matching (DM; Zhao and Bilen 2023)", "up to 6 originals of each class", "4 in all"):
        assert said in page
    for wrong in ("Student learning rate", "Importance of the network", "learned with them", "expert's parameters"):
        assert wrong not in page

    corpus = prepare(phantom_folder, recipe)
    found = audit(made, corpus, recipe, out=out / "audit", run=out, device="cpu")
    (making,) = [one for one in found.criteria if one.name == MAKING_NAME]
    assert making.verdict == "pass"
    assert found.membership is not None
    assert found.membership.shadow_experts == 0
    write_report(out)
    assert "made of half of the patients with 2 outer steps, and answers" in words(out)


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_what_it_began_as_is_made_again(beginning: str, recipe: Recipe, phantom_corpus: Corpus, tmp_path: Path) -> None:
    recipe = override_recipe(recipe, BEGINNINGS[beginning], "test")
    made = distill(phantom_corpus, None, recipe, out=tmp_path / "run", device="cpu")
    assert made.provenance.starts_from == ("quantised" if beginning == "means" else beginning)
    assert (made.provenance.quantisation is not None) == (beginning == "means")
    found = making_flaw(
        made, phantom_corpus, recipe, tmp_path / "run", device=CPU, folder=tmp_path / "audit", progress=Silent()
    )
    assert found[0] == ""
    assert found[1].endswith("are the same bits")


@pytest.mark.parametrize("dies_after", [1, 3])
def test_interrupted_and_resumed_to_the_same_bits(
    dies_after: int, recipe: Recipe, phantom_corpus: Corpus, tmp_path: Path
) -> None:
    class Stops(Silent):
        def task(self, title, total, *, done=0):
            class Task(SilentTask):
                seen = 0

                def advance(self, steps=1, *, figures=""):
                    self.seen += 1
                    if title == "Distilling" and self.seen == dies_after:
                        raise KeyboardInterrupt

            return Task()

    whole = distill(phantom_corpus, None, recipe, out=tmp_path / "whole", device="cpu")
    with pytest.raises(KeyboardInterrupt):
        distill(phantom_corpus, None, recipe, out=tmp_path / "killed", device="cpu", progress=Stops())
    resumed = distill(phantom_corpus, None, recipe, out=tmp_path / "killed", device="cpu", resume=True)
    assert resumed.images.tobytes() == whole.images.tobytes()
    for name in ("set/images.safetensors", "history.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_of_some_classes_the_others_keep_their_outputs(recipe: Recipe, phantom_corpus: Corpus, tmp_path: Path) -> None:
    kept = phantom_corpus.class_names[1:]
    made = distill(phantom_corpus, None, recipe, out=tmp_path, classes=kept, device="cpu")
    assert set(made.labels.tolist()) == set(range(1, len(phantom_corpus.class_names)))
    assert made.class_names == phantom_corpus.class_names


def test_it_follows_no_experts(recipe: Recipe, phantom_corpus: Corpus) -> None:
    assert followed_experts(phantom_corpus, recipe, device="cpu") is None
    with pytest.raises(UsageError, match="method dm follows no experts"):
        experts_of(recipe.method)


def test_differential_privacy_is_refused_with_the_setting_to_change() -> None:
    with pytest.raises(RecipeError, match=r"method dm sees patients' images without noise \(set method\.name to one"):
        load_recipe("covid-xray-dp", ["method.name=dm"])


def test_the_recipe_differs_from_its_neighbour_by_the_method_alone() -> None:
    mine, theirs = load_recipe("covid-xray-dm"), load_recipe("covid-xray-cpu", ["method.name=dm"])
    for section in ("data", "network", "augmentation", "evaluate", "audit", "compute", "privacy"):
        assert getattr(mine, section) == getattr(theirs, section), section
    assert (mine.method.name, mine.method.ipc, mine.method.starts_from) == ("dm", theirs.method.ipc, "quantised")
    back = load_recipe("covid-xray-dm", ["method.name=mtt"]).method
    assert back.image_lr == load_recipe("demo", ["method.name=mtt"]).method.image_lr, "which means another thing there"
