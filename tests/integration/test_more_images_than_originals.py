"""More images of a class than there are originals of it: from noise through the whole chain; refused elsewhere."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.errors import DataError
from medistill.evaluate.arms import Arms
from medistill.evaluate.evaluation import load_evaluation
from medistill.recipe import Recipe, load_recipe, override_recipe
from medistill.report.caveats import caveats
from medistill.report.verdict import verdict
from medistill.studies.audit.audit import audit
from medistill.studies.sites.plan import plan_sites
from medistill.workflow.evaluate import evaluate
from medistill.workflow.run import run
from tests.factories.drawn_corpus import drawn_corpus, drawn_set
from tests.factories.heard import Heard
from tests.factories.on_cpu import on_cpu
from tests.factories.report_example import report_of

IPC = 20
SETTINGS = [
    f"method.ipc={IPC}",
    "evaluate.networks=1",
    "audit.networks=1",
    "audit.shadows=4",
    "audit.shadow_iterations=2",
    "audit.canaries=0",
]


def from_noise(recipe: Recipe, *more: str) -> Recipe:
    return override_recipe(recipe, [*SETTINGS, "method.init=noise", *more], "test")


def images_of_classes(corpus: Corpus) -> np.ndarray:
    return np.bincount(corpus.labels[corpus.splits == 0], minlength=len(corpus.class_names))


@pytest.fixture(scope="module")
def finished(
    phantom_folder: Path, phantom_read: Path, tiny_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A finished run of images from noise, more of them than the smallest class has originals, and its corpus."""
    place = tmp_path_factory.mktemp("large")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDISTILL_CACHE", str(shutil.copytree(phantom_read, place / "cache")))
        run(from_noise(tiny_recipe), out=place / "run", data=phantom_folder, device="cpu")
    return place / "run"


def test_a_run_ends_with_the_images_that_were_asked_for(finished: Path, phantom_corpus: Corpus) -> None:
    there = images_of_classes(phantom_corpus)
    assert there.min() < IPC
    assert np.bincount(DistilledSet.load(finished / "set").labels).tolist() == [IPC] * len(there)
    evaluation = load_evaluation(finished / "evaluation" / "evaluation.json")
    images = {arm.arm: arm.images for arm in evaluation.arms}
    taken = int(np.minimum(there, IPC).sum())
    assert images == {"raw": there.sum(), "random": taken, "kmeans": taken, "distilled": IPC * len(there)}


def test_the_report_and_the_log_say_that_the_controls_are_smaller(finished: Path, phantom_corpus: Corpus) -> None:
    there = images_of_classes(phantom_corpus)
    taken = int(np.minimum(there, IPC).sum())
    page, log = (finished / "report.md").read_text(), (finished / "log.jsonl").read_text()
    assert f"random originals ({taken}, not {IPC * len(there)}: a class has no more)" in page
    assert "Fewer chosen originals than distilled images" in page
    assert "as many random originals" not in page
    for name, count in zip(phantom_corpus.class_names, there, strict=True):
        assert (f"{name} {count} in place of {IPC}" in log) == (count < IPC)


def test_its_audit_makes_shadows_of_halves_that_are_smaller_still(
    finished: Path, phantom_corpus: Corpus, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    recipe, made = from_noise(tiny_recipe), DistilledSet.load(finished / "set")
    found = audit(made, phantom_corpus, recipe, out=tmp_path, device="cpu")
    assert found.membership.shadows == 4
    assert not [one.reason for one in found.membership.attacks if one.reason.startswith("half of the patients")]
    random = next(one for one in found.copies if (one.subject, one.space) == ("random", "pixels"))
    assert random.images == int(np.minimum(images_of_classes(phantom_corpus), IPC).sum())


def test_controls_take_every_original_once_where_a_class_has_fewer(tmp_path: Path) -> None:
    corpus, recipe = drawn_corpus(tmp_path / "corpus"), load_recipe("demo", ["data.image_size=16", "network.depth=2"])
    arms = Arms(drawn_set(corpus, ipc=13), corpus, recipe, torch.device("cpu"))
    for arm in ("random", "kmeans"):
        rows, _ = arms.material(arm, 1)
        assert sorted(rows) == corpus.rows("train").tolist()
    assert Arms(drawn_set(corpus, ipc=12), corpus, recipe, torch.device("cpu")).shortage() == ""
    alone = override_recipe(recipe, ['evaluate.arms=["raw"]'], "test")
    assert Arms(drawn_set(corpus, ipc=13), corpus, alone, torch.device("cpu")).shortage() == ""


def test_a_set_of_equal_size_says_what_it_always_said(tmp_path: Path, tiny_recipe: Recipe) -> None:
    corpus, heard = drawn_corpus(tmp_path / "corpus"), Heard()
    recipe = override_recipe(tiny_recipe, ["data.image_size=16", "network.depth=2", "evaluate.networks=1"], "test")
    compared = evaluate(drawn_set(corpus, ipc=12), corpus, recipe, out=tmp_path, device="cpu", progress=heard)
    assert "as many random originals" in verdict(compared).against_random
    assert "Fewer chosen" not in str(caveats(report_of(compared, None, None, synthetic=None)))
    assert not [line for line in heard.said if "in place of" in line]


def test_real_images_cannot_be_more_than_there_are_and_the_way_out_is_named(
    phantom_folder: Path, phantom_corpus: Corpus, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    recipe = override_recipe(tiny_recipe, SETTINGS, "test")
    fewest = images_of_classes(phantom_corpus).min()
    with pytest.raises(DataError, match=rf"--ipc {fewest} or less.*method\.init=noise"):
        run(recipe, out=tmp_path / "run", data=phantom_folder, device="cpu")


def test_a_class_of_no_training_image_is_refused_also_from_noise(phantom_corpus: Corpus, tiny_recipe: Recipe) -> None:
    from medistill.methods.optimising.start import starting_images

    splits = np.where((phantom_corpus.labels == 1) & (phantom_corpus.splits == 0), 9, phantom_corpus.splits)
    without, held = replace(phantom_corpus, splits=splits), range(len(phantom_corpus.class_names))
    context = on_cpu(without, from_noise(tiny_recipe), Path())
    with pytest.raises(DataError, match="has 0 training images") as refused:
        starting_images(context, held, None)
    assert "--ipc" not in str(refused.value)
    others = [c for c in held if c != 1]
    pixels, labels, _ = starting_images(context, others, None)
    assert len(pixels) == len(labels) == IPC * len(others)


def test_a_site_is_left_out_by_what_the_start_of_the_images_needs(phantom_corpus: Corpus, tiny_recipe: Recipe) -> None:
    real = override_recipe(tiny_recipe, SETTINGS, "test")
    assert (from_noise(tiny_recipe).fewest_images, real.fewest_images) == (1, IPC)
    assert all(plan.reason for plan in plan_sites(phantom_corpus, real))
    noise = from_noise(tiny_recipe)
    assert any(not plan.reason for plan in plan_sites(phantom_corpus, noise))
