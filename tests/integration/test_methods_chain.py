"""Each method of the family through the whole chain: experts, distillation, the set on disk, evaluation."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.trajectories import Trajectories
from medistill.evaluate.predictions import load_arms
from medistill.methods.matching.starting_logits import NOISE_CONFIDENCE
from medistill.networks.flat import FlatParameters
from medistill.networks.registry import build_network, network_spec
from medistill.progress import Silent, SilentTask
from medistill.recipe import override_recipe
from medistill.training.images import LabelledImages
from medistill.workflow.distill import distill
from medistill.workflow.evaluate import evaluate
from medistill.workflow.experts import train_experts
from medistill.workflow.prepare import prepare

METHODS = {
    "satm": ["method.name=satm", "method.sharpness=0.5"],
    "pdd": ["method.name=pdd", "method.stages=2"],
    "datm": ["method.name=datm", "method.label_lr=50"],
}


@pytest.fixture(scope="module")
def raw(phantom_folder, phantom_read, tiny_recipe, tmp_path_factory) -> tuple[Corpus, Trajectories]:
    """A corpus and experts on it, which none of the methods here changes."""
    cache = shutil.copytree(phantom_read, tmp_path_factory.mktemp("family") / "cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDISTILL_CACHE", str(cache))
        corpus = prepare(phantom_folder, tiny_recipe)
        return corpus, train_experts(corpus, tiny_recipe, device="cpu")


def of_method(tiny_recipe, method: str, *more: str):
    return override_recipe(tiny_recipe, [*METHODS[method], *more], "test")


@pytest.mark.parametrize("method", METHODS)
def test_from_experts_to_evaluation(raw, tiny_recipe, tmp_path, method):
    recipe = of_method(tiny_recipe, method)
    made = distill(*raw, recipe, out=tmp_path, device="cpu")
    loaded = DistilledSet.load(tmp_path)
    assert loaded.images.tobytes() == made.images.tobytes()
    assert loaded.provenance.method == method.upper()
    classes = len(raw[0].class_names)
    assert loaded.labels.tolist() == [c for c in range(classes) for _ in range(2)]
    assert loaded.stage.tolist() == ([0, 1] * classes if method == "pdd" else [0] * 2 * classes)
    assert (loaded.soft_labels is not None) == (method == "datm")
    history = json.loads((tmp_path / "history.json").read_text())
    assert history["stage"] == ([0, 1] if method == "pdd" else [0, 0])
    result = evaluate(loaded, raw[0], recipe, out=tmp_path, device="cpu")
    assert 0 <= result.arm("distilled").macro_auc.value <= 1

    answers = {arm.arm: arm.test for arm in load_arms(tmp_path / "evaluation")}
    flat = replace(loaded, stage=np.zeros_like(loaded.stage), soft_labels=None)
    evaluate(flat, raw[0], recipe, out=tmp_path / "flat", device="cpu")
    again = {arm.arm: arm.test for arm in load_arms(tmp_path / "flat" / "evaluation")}
    assert np.array_equal(again["distilled"], answers["distilled"]) == (method == "satm")
    assert np.array_equal(again["random"], answers["random"])


def test_soft_labels_start_at_the_answers_of_an_expert(raw, tiny_recipe, tmp_path):
    recipe = of_method(tiny_recipe, "datm", "method.label_lr=0", "method.image_lr=1e-12")
    made = distill(*raw, recipe, out=tmp_path, device="cpu")
    network = build_network(network_spec(raw[0], recipe), torch.Generator())
    FlatParameters(network).load(torch.from_numpy(raw[1].snapshot(0, recipe.method.experts.epochs)))
    with torch.no_grad():
        expected = F.softmax(network(torch.from_numpy(made.images)), dim=1)
    np.testing.assert_allclose(made.soft_labels, expected.numpy(), atol=1e-5)
    assert torch.equal(LabelledImages.of_set(made, torch.device("cpu")).soft_labels, torch.from_numpy(made.soft_labels))


def test_soft_labels_of_noise_start_at_its_class(raw, tiny_recipe, tmp_path):
    recipe = of_method(tiny_recipe, "datm", "method.label_lr=0", "method.init=noise")
    made = distill(*raw, recipe, out=tmp_path, device="cpu")
    assert np.array_equal(made.soft_labels.argmax(axis=1), made.labels)
    np.testing.assert_allclose(made.soft_labels.max(axis=1), NOISE_CONFIDENCE, rtol=1e-5)


@pytest.mark.parametrize("method", ["pdd", "datm"])
@pytest.mark.parametrize("dies_after", [1, 2])
def test_interrupted_and_resumed_to_the_same_bits(raw, tiny_recipe, tmp_path, method, dies_after):
    class Stops(Silent):
        def task(self, title, total, *, done=0):
            class Task(SilentTask):
                seen = 0

                def advance(self, steps=1, *, figures=""):
                    self.seen += 1
                    if title == "Distilling" and self.seen == dies_after:
                        raise KeyboardInterrupt

            return Task()

    recipe = of_method(tiny_recipe, method)
    whole = distill(*raw, recipe, out=tmp_path / "whole", device="cpu")
    out = tmp_path / "killed"
    with pytest.raises(KeyboardInterrupt):
        distill(*raw, recipe, out=out, device="cpu", progress=Stops())
    resumed = distill(*raw, recipe, out=out, device="cpu", resume=True)
    for name in ("images", "stage", *(["soft_labels"] if method == "datm" else [])):
        assert getattr(resumed, name).tobytes() == getattr(whole, name).tobytes()
    assert resumed.student_lr.hex() == whole.student_lr.hex()
    for name in ("set/images.safetensors", "history.json"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
