"""Tiles through the whole chain: begun, optimised, resumed, audited, trained on and reported as they are cut."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.making import array_digest
from medistill.artifacts.tiles import enlarged
from medistill.engine.objectives.mean_features import MeanFeatures
from medistill.errors import DataError
from medistill.evaluate.arms import Arms
from medistill.methods.optimising.start import rows_of_tiles, starting_images
from medistill.privacy.initialisation import initial_rows
from medistill.recipe import Recipe, override_recipe
from medistill.studies.audit.audit import audit
from medistill.studies.audit.looked_at import looked_at
from medistill.workflow.distill import distill
from medistill.workflow.evaluate import evaluate
from medistill.workflow.experts import train_experts
from medistill.workflow.retrace import making_flaw
from medistill.workflow.run import run
from medistill.workflow.train_classifier import train_classifier
from tests.factories import audited
from tests.factories.on_cpu import on_cpu
from tests.factories.stopping import Stops

SMALL = ("method.student_steps=4", "method.window=2", "method.batch_real=6")
METHODS = {
    "dm": ["method.name=dm", "method.batch_real=6"],
    "datm": ["method.name=datm", "method.label_lr=50"],
    "pdd": ["method.name=pdd", "method.stages=2"],
    "unrolled": ["method.name=unrolled", *SMALL, "method.labels=soft", "method.batch_syn=3"],
}


def cut(recipe: Recipe, method: str, *more: str) -> Recipe:
    return override_recipe(recipe, [*METHODS[method], "method.tiles=2", *more], "test")


@pytest.fixture
def recipe(tiny_recipe: Recipe) -> Recipe:
    return override_recipe(tiny_recipe, ["audit.networks=1", "evaluate.arms=raw,random"], "test")


def test_from_files_to_report(recipe: Recipe, phantom_folder: Path, tmp_path: Path) -> None:
    recipe, out = cut(recipe, "dm"), tmp_path / "run"
    report = run(recipe, out=out, data=phantom_folder, device="cpu")
    made = DistilledSet.load(out)
    classes = len(made.class_names)
    assert (made.tiles, len(made.labels), made.shown) == (2, 2 * classes, 8 * classes)
    assert report.distilled is not None
    assert (report.distilled.images, report.distilled.tiles) == (2 * classes, 2)
    arms = {arm.arm: arm for arm in report.evaluation.arms}
    assert arms["distilled"].images == arms["random"].images == 2 * classes
    assert arms["distilled"].images_seen == 4 * arms["random"].images_seen
    page = " ".join(re.sub(r"<[^>]*>", " ", html.unescape((out / "report.html").read_text("utf-8"))).split())
    assert "Each stored image holds 2 by 2 tiles: before a network is trained, every tile is enlarged" in page
    assert f"which gives {8 * classes} images" in page
    assert "a class has no more" not in page


def test_networks_of_an_outer_step_are_shown_the_tiles(
    recipe: Recipe, phantom_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def watched(self, images, learned, drawn, micro_batch, evaluate=MeanFeatures.evaluate):
        seen.append((images.pixels.clone(), images.labels.argmax(dim=1), drawn.shown))
        return evaluate(self, images, learned, drawn, micro_batch)

    monkeypatch.setattr(MeanFeatures, "evaluate", watched)
    recipe = cut(recipe, "dm", "method.image_lr=1e-9")
    made = distill(phantom_corpus, None, recipe, out=tmp_path, device="cpu")
    pixels, labels, shown = seen[0]
    torch.testing.assert_close(pixels, torch.from_numpy(made.expanded().images), atol=1e-4, rtol=1e-4)
    assert labels.tolist() == made.expanded().labels.tolist()
    assert shown.tolist() == list(range(made.shown))


@pytest.mark.parametrize("method", METHODS)
def test_interrupted_and_resumed_to_the_same_bits(
    method: str, recipe: Recipe, phantom_corpus: Corpus, tmp_path: Path
) -> None:
    recipe = cut(recipe, method, "method.checkpoint_every=1")
    experts = train_experts(phantom_corpus, recipe, device="cpu") if method in ("datm", "pdd") else None
    whole = distill(phantom_corpus, experts, recipe, out=tmp_path / "whole", device="cpu")
    with pytest.raises(KeyboardInterrupt):
        distill(phantom_corpus, experts, recipe, out=tmp_path / "killed", device="cpu", progress=Stops(3))
    resumed = distill(phantom_corpus, experts, recipe, out=tmp_path / "killed", device="cpu", resume=True)
    assert resumed.tiles == 2
    assert (resumed.soft_labels is not None) == (method in ("datm", "unrolled"))
    assert resumed.training_bytes() == whole.training_bytes()
    for name in ("set/images.safetensors", "history.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("init", ["real", "quantised", "noise"])
def test_what_it_began_as_is_made_again(init: str, recipe: Recipe, phantom_corpus: Corpus, tmp_path: Path) -> None:
    means = ["method.quantise.min_cluster_size=1", "method.quantise.components=8"] if init == "quantised" else []
    recipe = cut(recipe, "dm", f"method.init={init}", "method.ipc=1", *means)
    made = distill(phantom_corpus, None, recipe, out=tmp_path / "run", device="cpu")
    assert made.provenance.starts_from == init
    found = making_flaw(made, on_cpu(phantom_corpus, recipe, tmp_path / "audit"), tmp_path / "run")
    assert found[0] == ""
    assert found[1].endswith("are the same bits")


def test_real_starts_are_thumbnails_of_the_originals_that_an_audit_draws_again(
    recipe: Recipe, phantom_corpus: Corpus, tmp_path: Path
) -> None:
    recipe = cut(recipe, "dm", "method.image_lr=1e-9", "method.ema=0")
    made = distill(phantom_corpus, None, recipe, out=tmp_path, device="cpu")
    began = initial_rows(made, phantom_corpus)
    assert began.rows is not None
    assert len(set(began.rows.tolist())) == made.shown
    assert phantom_corpus.labels[began.rows].tolist() == made.expanded().labels.tolist()
    grey = torch.from_numpy(made.normalisation.apply(np.asarray(phantom_corpus.images[began.rows])))
    small = F.interpolate(grey, scale_factor=0.5, mode="area")
    side = small.shape[2]
    for k in range(made.shown):
        n, i, j = k // 4, k % 4 // 2, k % 2
        tile = made.images[n, :, i * side : (i + 1) * side, j * side : (j + 1) * side]
        np.testing.assert_allclose(tile, small[k].numpy(), atol=1e-4)


def test_a_class_of_too_few_originals_is_refused_with_how_many_it_has(recipe: Recipe, phantom_corpus: Corpus) -> None:
    counts = np.bincount(phantom_corpus.labels[phantom_corpus.rows("train")])
    few = int(counts.min())
    asked = cut(recipe, "dm", f"method.ipc={few // 4 + 1}")
    context, held = on_cpu(phantom_corpus, asked, Path("unused")), range(len(phantom_corpus.class_names))
    with pytest.raises(DataError, match=rf"fewer than {4 * (few // 4 + 1)} tiles .* take --ipc {few // 4} or less"):
        starting_images(context, held, audited.normalisation(phantom_corpus))


def test_centroids_fill_whole_images_and_a_class_of_too_few_repeats_them() -> None:
    labels = np.array([0] * 9 + [2] * 3 + [3] * 4)
    assert rows_of_tiles(labels, 2).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 9, 12, 13, 14, 15]
    assert rows_of_tiles(labels, 1).tolist() == list(range(16))


@pytest.mark.parametrize("method", ["dm", "unrolled"])
def test_training_on_it_is_training_on_the_expanded_images_bit_for_bit(
    method: str, recipe: Recipe, phantom_corpus: Corpus, tmp_path: Path
) -> None:
    recipe = cut(recipe, method)
    made = distill(phantom_corpus, None, recipe, out=tmp_path / "run", device="cpu")
    known = made.provenance.as_json()
    known["recipe"] = override_recipe(recipe, ["method.tiles=1"], "test").model_dump(mode="json")
    plain = replace(made.expanded(), provenance=known)
    assert np.array_equal(plain.images, enlarged(torch.from_numpy(made.images), 2).numpy())
    trained = [
        train_classifier(one, recipe, out=tmp_path / name, device="cpu") for name, one in (("a", made), ("b", plain))
    ]
    assert array_digest(trained[0].weights) == array_digest(trained[1].weights)
    assert trained[0].images == trained[1].images == made.shown
    found = [
        evaluate(one, phantom_corpus, recipe, out=tmp_path / name, device="cpu").arm("distilled")
        for name, one in (("c", made), ("d", plain))
    ]
    assert found[0].network_macro_auc == found[1].network_macro_auc
    arms = [Arms(one, phantom_corpus, recipe, torch.device("cpu")) for one in (made, plain)]
    assert arms[0].identity("distilled") != arms[1].identity("distilled")
    assert (arms[0].images("distilled"), arms[0].shown("distilled")) == (len(made.labels), made.shown)


def test_an_audit_looks_at_tiles_and_at_stored_images(tmp_path: Path) -> None:
    """A copy is found in a tile as in a stored image."""
    corpus = audited.corpus(tmp_path / "corpus")
    rows, normalisation = corpus.rows("train"), audited.normalisation(corpus)
    noise = np.random.default_rng(3).normal(size=(2 * audited.IPC, 1, audited.SIZE, audited.SIZE)).astype(np.float32)
    plain = replace(audited.distilled(noise, corpus, starts_from="noise"), tiles=2)
    looked = looked_at(plain)
    assert np.array_equal(looked.images, np.concatenate([plain.expanded().images, plain.images]))
    one = normalisation.apply(np.asarray(corpus.images[rows[:1]]))  # of class 0, as the first image is
    stored, tiled = noise.copy(), noise.copy()
    stored[0] = one[0]
    tiled[0, :, :8, :8] = F.interpolate(torch.from_numpy(one), scale_factor=0.5, mode="area")[0].numpy()
    copies = {}
    for name, images in (("none", noise), ("stored", stored), ("tile", tiled)):
        found = audit(
            replace(plain, images=images), corpus, audited.RECIPE, out=tmp_path / name, device="cpu", quick=True
        )
        (of_set,) = [one for one in found.copies if (one.subject, one.space) == ("distilled", "pixels")]
        assert of_set.images == 5 * len(noise)
        copies[name] = of_set.copies
    assert copies["none"] == 0
    assert copies["stored"] == copies["tile"] == 1
