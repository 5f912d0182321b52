"""Pruning through the chain: nobody who distils sees what was pruned, and everybody who judges knows of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.kept import keep_tensors, read_checked
from medistill.artifacts.normalisation import Normalisation
from medistill.encoders.encoder import Encoder
from medistill.encoders.features import features_of
from medistill.errors import DataError, RecipeError
from medistill.methods.optimising.start import starting_images
from medistill.networks.registry import build_network, network_spec
from medistill.privacy.gate import MAKING_NAME
from medistill.privacy.initialisation import initial_rows
from medistill.privacy.signals import Population
from medistill.progress import Silent
from medistill.recipe import Recipe, load_recipe, override_recipe
from medistill.studies.audit.audit import audit
from medistill.training.device import choose_device
from medistill.training.randomness import generator
from medistill.workflow.distill import distill
from medistill.workflow.evaluate import evaluate
from medistill.workflow.experts import followed_experts
from medistill.workflow.near_duplicates import HeldOut
from medistill.workflow.pruning import SCORES, pruned
from medistill.workflow.retrace import OTHERS_PRUNED, making_flaw
from medistill.workflow.run import run
from tests.factories.on_cpu import on_cpu
from tests.factories.tiny_encoder import stored_tiny, tiny_architecture

CPU = choose_device("cpu")
SHARE = 0.3


@pytest.fixture
def recipe(tiny_recipe: Recipe) -> Recipe:
    return override_recipe(
        tiny_recipe, ["method.name=dm", "method.batch_real=6", f"prune.share={SHARE}", "prune.epochs=2"], "test"
    )


def seen_by_methods(corpus: Corpus, recipe: Recipe) -> Corpus:
    return pruned(corpus, recipe, network_spec(corpus, recipe), CPU)


def test_losses_are_made_once_and_decide_with_the_seed(
    recipe: Recipe, phantom_corpus: Corpus, private_cache: Path
) -> None:
    first = seen_by_methods(phantom_corpus, recipe)
    (kept,) = (private_cache / SCORES).glob("*.safetensors")
    written = kept.stat().st_mtime_ns
    again = seen_by_methods(phantom_corpus, recipe)
    smaller = seen_by_methods(phantom_corpus, override_recipe(recipe, ["prune.share=0.6"], "test"))
    assert (kept.stat().st_mtime_ns, len([*kept.parent.glob("*.safetensors")])) == (written, 1)
    assert (again.content, again.splits.tolist()) == (first.content, first.splits.tolist())
    assert set(smaller.rows("train")) < set(first.rows("train"))
    kept.unlink()
    assert seen_by_methods(phantom_corpus, recipe).content == first.content
    other = seen_by_methods(phantom_corpus, override_recipe(recipe, ["seed=5"], "test"))
    assert other.splits.tolist() != first.splits.tolist()


def test_nothing_is_pruned_without_a_share_bit_for_bit(
    recipe: Recipe, phantom_corpus: Corpus, private_cache: Path, tmp_path: Path
) -> None:
    plain = recipe.model_copy(update={"prune": type(recipe.prune)()})
    off = override_recipe(recipe, ["prune.share=0", "prune.epochs=7"], "test")
    assert seen_by_methods(phantom_corpus, off) is phantom_corpus
    made = [
        distill(phantom_corpus, None, one, out=tmp_path / name, device="cpu")
        for name, one in (("plain", plain), ("off", off))
    ]
    assert made[0].images.tobytes() == made[1].images.tobytes()
    assert plain.digest == off.digest != recipe.digest
    assert made[1].provenance.pruned is None
    assert not (private_cache / SCORES).exists()


def test_effects_are_made_once_of_what_the_losses_leave(
    recipe: Recipe, phantom_corpus: Corpus, private_cache: Path, tmp_path: Path
) -> None:
    both = override_recipe(recipe, ["prune.effect_share=0.25", "prune.effect_images=2"], "test")
    first, seen = seen_by_methods(phantom_corpus, recipe), seen_by_methods(phantom_corpus, both)
    scores = {one.name: one.stat().st_mtime_ns for one in (private_cache / SCORES).glob("*.safetensors")}
    assert len(scores) == 2
    assert set(seen.rows("train")) < set(first.rows("train"))
    counts = np.bincount(phantom_corpus.labels[phantom_corpus.rows("train")]).tolist()
    assert np.bincount(seen.labels[seen.rows("train")]).tolist() == [both.prune.kept(n) for n in counts]
    again = seen_by_methods(phantom_corpus, override_recipe(both, ["prune.effect_share=0.4"], "test"))
    assert set(again.rows("train")) < set(seen.rows("train"))
    assert scores == {one.name: one.stat().st_mtime_ns for one in (private_cache / SCORES).glob("*.safetensors")}
    alone = override_recipe(both, ["prune.share=0"], "test")
    by_effect = seen_by_methods(phantom_corpus, alone)
    assert not set(by_effect.rows("train")) <= set(first.rows("train"))
    made = distill(phantom_corpus, None, alone, out=tmp_path / "run", device="cpu")
    names = phantom_corpus.class_names
    assert made.provenance.pruned == {name: n - alone.prune.kept(n) for name, n in zip(names, counts, strict=True)}
    assert made.provenance.pruned_to == by_effect.content
    assert making_flaw(made, on_cpu(phantom_corpus, alone, tmp_path / "audit"), tmp_path / "run")[0] == ""


@pytest.fixture
def encoder(tmp_path: Path, private_cache: Path) -> Iterator[Encoder]:
    with tiny_architecture():
        yield stored_tiny(tmp_path / "tiny")


def test_a_probe_has_effects_of_features(
    tiny_recipe: Recipe, phantom_corpus: Corpus, encoder: Encoder, private_cache: Path
) -> None:
    """Of a linear layer: the gradient of <g[S], v> in features, by the formula of the softmax."""
    probe = ["network.name=probe", f"network.encoder={encoder.sha256}", "prune.effect_share=0.3"]
    recipe = override_recipe(tiny_recipe, probe, "test")
    assert len(seen_by_methods(phantom_corpus, recipe).rows("train")) < len(phantom_corpus.rows("train"))
    (kept,) = (private_cache / SCORES).glob("*.safetensors")
    found = read_checked(kept, "scores")[0]["effects"]
    spec, rng = network_spec(phantom_corpus, recipe), generator(recipe.seed, "effect", 0)
    layer = build_network(spec, rng).double()
    train = phantom_corpus.rows("train")
    features, labels = features_of(phantom_corpus, encoder, CPU, Silent())[train], phantom_corpus.labels[train]
    of_class = np.flatnonzero(labels == 0)
    order = torch.randperm(len(of_class), generator=rng)
    seen = torch.from_numpy(features[of_class].astype(np.float64))
    answers = torch.softmax(layer(seen), dim=1).detach()
    wrong = answers - torch.eye(spec.classes)[0]
    slopes = torch.cat([(wrong[:, :, None] * seen[:, None, :]).flatten(1), wrong], dim=1)
    shown = order[: recipe.prune.effect_images]
    for i in (0, 3):
        v = slopes[i] - slopes.mean(dim=0)
        by_weight, by_bias = v[: -spec.classes].view(spec.classes, -1), v[-spec.classes :]
        parts = []
        for s in shown.tolist():
            turned = torch.diag(answers[s]) - torch.outer(answers[s], answers[s])
            along = by_weight @ seen[s] + by_bias
            parts.append((by_weight.T @ wrong[s] + layer.weight.detach().T @ turned @ along) / len(shown))
        expected = float(torch.stack(parts).norm()) / (len(of_class) - 1)
        assert found[of_class[i]] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("pixels", ["real", "leverage", "distance"])
def test_a_set_is_that_of_the_corpus_without_what_was_pruned(
    pixels: str, recipe: Recipe, phantom_corpus: Corpus, tmp_path: Path
) -> None:
    recipe = override_recipe(recipe, [f"method.init={pixels}"], "test")
    seen = seen_by_methods(phantom_corpus, recipe)
    gone = np.setdiff1d(phantom_corpus.rows("train"), seen.rows("train"))
    images = np.array(phantom_corpus.images)
    images[gone] = images[gone][..., ::-1]  # of the same mean and deviation, by which scores are known again
    assert not np.array_equal(images, phantom_corpus.images)
    otherwise = replace(phantom_corpus, images=images)
    made = distill(phantom_corpus, None, recipe, out=tmp_path / "run", device="cpu")
    same = distill(otherwise, None, recipe, out=tmp_path / "same", device="cpu")
    assert same.images.tobytes() == made.images.tobytes()
    known = made.provenance
    assert known.corpus == phantom_corpus.content
    assert known.starts_from == "real"
    counts = np.bincount(phantom_corpus.labels[phantom_corpus.rows("train")])
    assert known.pruned == {
        name: int(SHARE * n) for name, n in zip(phantom_corpus.class_names, counts.tolist(), strict=True)
    }
    assert known.training_images == {
        name: n - int(SHARE * n) for name, n in zip(phantom_corpus.class_names, counts.tolist(), strict=True)
    }
    flaw = making_flaw(made, on_cpu(phantom_corpus, recipe, tmp_path / "audit"), tmp_path / "run")
    assert flaw[0] == ""
    assert flaw[1].endswith("are the same bits")

    assert known.pruned_to == seen.content
    other = replace(made, provenance=known.replaced(pruned_to="0" * 64))
    assert initial_rows(other, seen).reason == "other originals are pruned here than when the set was made"
    began = initial_rows(made, seen).rows
    assert began is not None
    assert not np.isin(began, gone).any()
    context = on_cpu(seen, recipe, tmp_path / "again")
    start, labels, _ = starting_images(context, range(len(seen.class_names)), made.normalisation)
    np.testing.assert_allclose(start.numpy(), made.normalisation.apply(seen.images[began]), atol=1e-5)
    np.testing.assert_array_equal(seen.labels[began], labels.numpy())
    people = Population.of(phantom_corpus, seen, HeldOut.of(phantom_corpus).rows)
    assert not np.isin(gone, np.concatenate([people.members, people.others])).any()


def test_where_others_are_pruned_anew_the_making_is_not_known(
    recipe: Recipe, phantom_corpus: Corpus, private_cache: Path, tmp_path: Path
) -> None:
    made = distill(phantom_corpus, None, recipe, out=tmp_path / "run", device="cpu")
    (kept,) = (private_cache / SCORES).glob("*.safetensors")
    arrays, metadata = read_checked(kept, "scores")
    keep_tensors(kept, {"losses": arrays["losses"][::-1]}, metadata)  # as if they had been rounded otherwise
    flaw, _ = making_flaw(made, on_cpu(phantom_corpus, recipe, tmp_path / "audit"), tmp_path / "run")
    assert flaw == OTHERS_PRUNED


def test_an_audit_asks_of_those_who_stayed(recipe: Recipe, phantom_corpus: Corpus, tmp_path: Path) -> None:
    attacks = ["audit.shadows=4", "audit.shadow_iterations=2", "audit.networks=1", "evaluate.smallest_cell=1"]
    recipe = override_recipe(recipe, ["method.init=leverage", *attacks], "test")
    made = distill(phantom_corpus, None, recipe, out=tmp_path / "run", device="cpu")
    found = audit(made, phantom_corpus, recipe, out=tmp_path / "audit", run=tmp_path / "run", device="cpu")
    (making,) = [one for one in found.criteria if one.name == MAKING_NAME]
    assert making.verdict == "pass"
    assert found.corpus == phantom_corpus.content
    assert found.residue[0].images == len(made.labels)
    assert found.membership is not None
    seen = seen_by_methods(phantom_corpus, recipe)
    stayed = len(np.unique(seen.groups[seen.rows("train")]))
    assert stayed < len(np.unique(phantom_corpus.groups[phantom_corpus.rows("train")]))
    (loss,) = [one for one in found.membership.attacks if one.name == "loss" and one.source == "distilled"]
    assert loss.cells[0].members == stayed


def test_experts_see_what_the_method_sees(tiny_recipe: Recipe, phantom_corpus: Corpus, tmp_path: Path) -> None:
    recipe = override_recipe(tiny_recipe, [f"prune.share={SHARE}", "prune.epochs=1"], "test")
    seen = seen_by_methods(phantom_corpus, recipe)
    experts = followed_experts(phantom_corpus, recipe, device="cpu")
    assert experts is not None
    assert experts.made_with["corpus"] == seen.content
    assert experts.normalisation == Normalisation.of(phantom_corpus.images[seen.rows("train")])
    made = distill(phantom_corpus, experts, recipe, out=tmp_path / "run", device="cpu")
    assert made.normalisation == experts.normalisation


def test_arms_are_trained_on_all_originals(recipe: Recipe, phantom_corpus: Corpus, tmp_path: Path) -> None:
    recipe = override_recipe(recipe, ['evaluate.arms=["raw", "random", "leverage"]'], "test")
    made = distill(phantom_corpus, None, recipe, out=tmp_path, device="cpu")
    found = evaluate(DistilledSet.load(tmp_path), phantom_corpus, recipe, out=tmp_path, device="cpu")
    images = {arm.arm: arm.images for arm in found.arms}
    assert images["raw"] == len(phantom_corpus.rows("train"))
    assert images["leverage"] == images["random"] == len(made.labels)
    assert json.loads((tmp_path / "making.json").read_text())["corpus"] == phantom_corpus.content


def test_a_class_that_would_have_too_few_is_refused_with_the_numbers(
    recipe: Recipe, phantom_corpus: Corpus, tmp_path: Path
) -> None:
    name = phantom_corpus.class_names[0]
    images = int(np.sum(phantom_corpus.labels[phantom_corpus.rows("train")] == 0))
    greedy = override_recipe(recipe, ["prune.share=0.99"], "test")
    seen = rf"class {name} has {images} training images, of which prune\.share = 0\.99 leaves 1, fewer than 2"
    with pytest.raises(DataError, match=seen):
        distill(phantom_corpus, None, greedy, out=tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()
    noise = override_recipe(greedy, ["method.init=noise"], "test")
    assert len(distill(phantom_corpus, None, noise, out=tmp_path / "noise", device="cpu").labels)


def test_the_whole_of_a_class_and_privacy_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"prune\.share = 1"):
        load_recipe("demo", ["prune.share=1"])
    with pytest.raises(RecipeError, match=r"losses by which training images are left out .* \(set prune\.share = 0\)"):
        load_recipe("covid-xray-dp", ["prune.share=0.1"])
    with pytest.raises(RecipeError, match=r"effects by which .* \(set prune\.effect_share = 0\)"):
        load_recipe("covid-xray-dp", ["prune.effect_share=0.1"])
    with pytest.raises(RecipeError, match=r"set method\.init = noise"):
        load_recipe("covid-xray-dp", ["method.init=leverage"])


def test_what_an_audit_will_lack_is_counted_of_those_who_stay(
    recipe: Recipe, phantom_corpus: Corpus, phantom_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Told(Exception):
        pass

    def listening(corpus: Corpus, *rest: object, **more: object) -> None:
        raise Told(corpus.content)

    seen = seen_by_methods(phantom_corpus, recipe)
    assert seen.content != phantom_corpus.content
    made = distill(phantom_corpus, None, recipe, out=tmp_path / "made", device="cpu")
    for module in ("medistill.workflow.run", "medistill.studies.audit.audit"):
        monkeypatch.setattr(f"{module}.say_obstacles", listening)
    with pytest.raises(Told, match=seen.content):
        run(recipe, out=tmp_path / "run", data=phantom_folder, device="cpu")
    with pytest.raises(Told, match=seen.content):
        audit(made, phantom_corpus, recipe, out=tmp_path / "audit", device="cpu")
