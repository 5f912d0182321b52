"""HoP-TM, ATT, PAD and PDD with new experts from files to a report, resumed to the same bits, and what experts see."""

from __future__ import annotations

import html
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.trajectories import Trajectories
from medistill.engine.images import Images
from medistill.evaluate.protocol import small_schedule
from medistill.methods.matching.stage_experts import StageExperts
from medistill.methods.optimising.problem import one_hot
from medistill.methods.registry import recipe_facts
from medistill.networks.flat import FlatParameters
from medistill.networks.registry import build_network
from medistill.recipe import Recipe, override_recipe
from medistill.training.expert_schedule import expert_schedule
from medistill.training.fresh_network import augmentation_of
from medistill.training.images import LabelledImages
from medistill.training.loop import train
from medistill.training.randomness import generator
from medistill.workflow.distill import distill
from medistill.workflow.experts import train_experts
from medistill.workflow.retrace import making_flaw
from medistill.workflow.run import run
from tests.factories.on_cpu import on_cpu
from tests.factories.stopping import Stops

METHODS = {
    "hop-tm": ["method.kept.threshold=1e-6", "method.kept.every=2"],
    "att": [],
    "pad": ["method.selection.networks=2", "method.selection.epochs=1"],
    "pdd": ["method.stages=2", "method.new_experts=true", "method.former_epochs=2"],
}
SAID = {
    "hop-tm": ["A parameter took part once", "angles between start, middle and end", "arXiv:2509.24177"],
    "att": ["after the step that brought it closest", "arXiv:2407.14245"],
    "pad": [
        "ordered by the errors of 2 networks",
        "began with the easiest 75%",
        "without the easiest 20% at the end",
        "The 50% of the parameters",
        "arXiv:2408.03360",
    ],
    "pdd": ["learned the images so far for 2 epochs", "arXiv:2310.06982"],
}
FIGURES = {"hop-tm": "kept_share", "att": "matched_steps"}


def of_method(recipe: Recipe, method: str, *more: str) -> Recipe:
    return override_recipe(recipe, [f"method.name={method}", *METHODS[method], *more], "test")


@pytest.mark.parametrize("method", METHODS)
def test_from_files_to_report(
    method: str, tiny_recipe: Recipe, phantom_corpus: Corpus, phantom_folder: Path, tmp_path: Path
) -> None:
    recipe, out = of_method(tiny_recipe, method), tmp_path / "run"
    run(recipe, out=out, data=phantom_folder, device="cpu")
    made = DistilledSet.load(out)
    assert made.provenance.method == recipe_facts(recipe).display_name
    history = json.loads((out / "history.json").read_text())
    assert np.isfinite(history["loss"]).all()
    if method in FIGURES:
        figures = history[FIGURES[method]]
        assert len(figures) == recipe.method.outer_steps
        assert min(figures) > 0
    assert making_flaw(made, on_cpu(phantom_corpus, recipe, tmp_path / "audit"), out)[0] == ""
    page = html.unescape((out / "report.html").read_text(encoding="utf-8"))
    page = " ".join(re.sub(r"<[^>]*>", " ", page).split())
    for said in SAID[method]:
        assert said in page, said
    for other in set(METHODS) - {method}:
        assert SAID[other][0] not in page


@pytest.mark.parametrize("method", ["hop-tm", "att"])
def test_interrupted_and_resumed_to_the_same_bits(
    method: str, tiny_recipe: Recipe, phantom_corpus: Corpus, tmp_path: Path
) -> None:
    recipe = of_method(tiny_recipe, method)
    experts = train_experts(phantom_corpus, recipe, device="cpu")
    whole = distill(phantom_corpus, experts, recipe, out=tmp_path / "whole", device="cpu")
    out = tmp_path / "killed"
    with pytest.raises(KeyboardInterrupt):
        distill(phantom_corpus, experts, recipe, out=out, device="cpu", progress=Stops(3))
    resumed = distill(phantom_corpus, experts, recipe, out=out, device="cpu", resume=True)
    assert resumed.images.tobytes() == whole.images.tobytes()
    assert (out / "history.json").read_bytes() == (tmp_path / "whole" / "history.json").read_bytes()


def test_chosen_images_make_other_experts_and_all_of_them_the_same(tiny_recipe: Recipe, phantom_corpus: Corpus) -> None:
    at_rest = [f"method.selection.{name}" for name in ("start_share=1", "drop_first=0", "drop_last=0")]
    pad, resting, plain = (
        train_experts(phantom_corpus, recipe, device="cpu")
        for recipe in (
            of_method(tiny_recipe, "pad"),
            of_method(tiny_recipe, "pad", *at_rest),
            override_recipe(tiny_recipe, ["method.name=datm"], "test"),
        )
    )
    assert len({pad.key, resting.key, plain.key}) == 3
    for epoch in range(plain.epochs + 1):
        assert resting.snapshot(1, epoch).tobytes() == plain.snapshot(1, epoch).tobytes()
        assert (pad.snapshot(1, epoch).tobytes() == plain.snapshot(1, epoch).tobytes()) == (epoch == 0)
    first = pad.snapshot(1, pad.epochs).tobytes()
    pad.expert_path(1).unlink()
    again = train_experts(phantom_corpus, of_method(tiny_recipe, "pad"), device="cpu")
    assert again.snapshot(1, again.epochs).tobytes() == first


def test_experts_of_a_stage_learned_the_images_so_far(
    tiny_recipe: Recipe, phantom_corpus: Corpus, tmp_path: Path
) -> None:
    recipe = of_method(tiny_recipe, "pdd")
    base, context = train_experts(phantom_corpus, recipe, device="cpu"), on_cpu(phantom_corpus, recipe, tmp_path)
    originals = LabelledImages.of_split(phantom_corpus, "train", base.normalisation, context.device)
    rows, classes, rate = torch.arange(0, 12, 2), len(phantom_corpus.class_names), 0.05
    so_far = LabelledImages.of_floats(originals.batch(rows), originals.labels[rows])
    images = Images(so_far.pixels, one_hot(so_far.labels, classes), torch.ones(len(rows)))
    make = StageExperts(context, base)
    experts = make(1, base, images, rate)
    assert (experts.count, experts.epochs) == (base.count, 3)  # starts 0 and 1, and 2 epochs from there
    rng = generator(recipe.seed, "stage expert", 1, 0)
    network = build_network(context.spec, rng, context.device)
    FlatParameters(network).load(torch.from_numpy(base.snapshot(0, 0)))
    schedule = small_schedule(recipe.evaluate, lr=rate, epochs=2)
    drawn = augmentation_of(context.spec, recipe)
    end = train(network, so_far, schedule, drawn, rng, micro_batch=4).values
    np.testing.assert_allclose(experts.snapshot(0, 0), end.numpy(), atol=1e-5)
    assert np.abs(experts.snapshot(0, 0) - base.snapshot(0, 0)).max() > 1e-3
    whole = replace(expert_schedule(recipe.method.followed), epochs=3)
    end = train(network, originals, whole, drawn, rng, micro_batch=64).values
    np.testing.assert_allclose(experts.snapshot(0, 3), end.numpy(), atol=1e-5)

    written = experts.expert_path(0).stat().st_mtime_ns
    assert make(1, base, images, rate).expert_path(0).stat().st_mtime_ns == written, "they are there already"
    others = [make(1, base, images, 0.06).key, make(2, experts, images, rate).key]
    assert len({experts.key, *others}) == 3


@pytest.mark.parametrize("dies_after", [2, 3])
def test_pdd_with_new_experts_resumes_to_the_same_bits(
    tiny_recipe: Recipe, phantom_corpus: Corpus, tmp_path: Path, dies_after: int
) -> None:
    recipe = of_method(tiny_recipe, "pdd")
    experts = train_experts(phantom_corpus, recipe, device="cpu")
    whole = distill(phantom_corpus, experts, recipe, out=tmp_path / "whole", device="cpu")
    out = tmp_path / "killed"
    with pytest.raises(KeyboardInterrupt):
        distill(phantom_corpus, experts, recipe, out=out, device="cpu", progress=Stops(dies_after))
    shutil.rmtree(out / "state" / "experts", ignore_errors=True)  # they are made again
    resumed = distill(phantom_corpus, experts, recipe, out=out, device="cpu", resume=True)
    assert resumed.images.tobytes() == whole.images.tobytes()
    assert (out / "history.json").read_bytes() == (tmp_path / "whole" / "history.json").read_bytes()


def test_experts_of_a_stage_learn_the_tiles_so_far(
    tiny_recipe: Recipe, phantom_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, learned = of_method(tiny_recipe, "pdd", "method.tiles=2"), list[Images]()
    make = StageExperts.__call__

    def listening(self: StageExperts, stage: int, previous: Trajectories, images: Images, rate: float) -> Trajectories:
        learned.append(images)
        return make(self, stage, previous, images, rate)

    monkeypatch.setattr(StageExperts, "__call__", listening)
    experts = train_experts(phantom_corpus, recipe, device="cpu")
    made = distill(phantom_corpus, experts, recipe, out=tmp_path / "run", device="cpu")
    (images,) = learned
    first = made.labels[made.stage == 0]
    assert 0 < len(first) < len(made.labels)
    assert images.labels.argmax(dim=1).tolist() == np.repeat(first, 4).tolist()
