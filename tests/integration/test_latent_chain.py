"""Latent distillation through the whole chain: what it renders from, which layers there are, and what stays at home."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.normalisation import Normalisation
from medistill.artifacts.whitening import Whitening
from medistill.engine.coordinates import MomentumSGD
from medistill.errors import ArtifactError, RecipeError
from medistill.evaluate.protocol import random_rows
from medistill.methods.h_glad import Settings as HGladSettings
from medistill.methods.latent.decoder import _normalised
from medistill.methods.registry import find_method, refuse_unmakeable
from medistill.quantisation.autoencoder import Architecture, Autoencoder
from medistill.quantisation.decoder_folder import save
from medistill.quantisation.decoders import bring_decoder
from medistill.recipe import Recipe, load_recipe, override_recipe, recipe_names
from medistill.recipe.outer_loop import OuterStepsRecipe
from medistill.training.randomness import generator
from medistill.workflow.distill import distill
from medistill.workflow.run import run
from medistill.workflow.shadows import shadow_recipe
from medistill_cli.brought import refuse_unused
from tests.factories.drawn_corpus import drawn_corpus
from tests.factories.stopping import Stops
from tests.factories.tiny import TINY_QUANTISED

SIZE = 16
SMALL = [
    *TINY_QUANTISED,
    "network.depth=2",
    f"data.image_size={SIZE}",
    "method.ipc=2",
    "method.iterations=4",
    "method.batch_real=6",
    "method.validate_every=2",
    "method.validate_epochs=2",
    "method.validate_networks=1",
    "method.checkpoint_every=1",
    "method.quantise.components=8",
    "method.quantise.min_cluster_size=2",
]
AUTOENCODER = [
    "method.quantise.encoder=autoencoder",
    "method.autoencoder.epochs=2",
    "method.autoencoder.width=8",
    "method.autoencoder.levels=3",
    "method.autoencoder.latent_channels=1",
]
LAYERS = ["code", *(f"block_{number}" for number in range(1, 8))]
"""Those of an autoencoder of three levels: a convolution, a block and an enlargement of each level but the last, a
block, a norm and a convolution, of which the last gives the image."""
UNROLLED = [
    "method.objective=unrolled",
    "method.unrolled.student_steps=4",
    "method.unrolled.window=2",
    "method.unrolled.pool=0",
    "method.unrolled.batch_real=6",
]


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return drawn_corpus(tmp_path / "corpus", size=SIZE)


def recipe(method: str, *more: str) -> Recipe:
    return load_recipe("demo", [f"method.name={method}", *SMALL, *more])


def history(out: Path) -> dict[str, object]:
    known: dict[str, object] = json.loads((out / "history.json").read_text())
    return known


def test_from_files_to_the_report(phantom_folder: Path, tmp_path: Path) -> None:
    settings = load_recipe("demo", ["method.name=glad", *SMALL, "data.image_size=32", "method.init=quantised"])
    out = tmp_path / "run"
    run(settings, out=out, data=phantom_folder, device="cpu")
    made = DistilledSet.load(out)
    assert made.provenance.method == "GLaD"
    assert made.student_lr == settings.evaluate.lr
    assert made.provenance.quantisation is not None
    assert {path.name for path in (out / "set").iterdir()} <= {
        "images.safetensors", "manifest.json", "README.md", "contact_sheet.png",
    }, "a decoder stays at home"  # fmt: skip
    page = html.unescape((out / "report.html").read_text(encoding="utf-8"))
    words = " ".join(re.sub(r"<[^>]*>", " ", page).split())
    for said in (
        "distillation into latents of a decoder (GLaD; Cazenavette et al. 2023)",
        "principal components of the training images",
        "up to 6 originals of the class",
        "The decoder does not travel",
    ):
        assert said in words, said
    assert 0 <= history(out)["rendering_error"] < 5  # type: ignore[operator]  # of centroids, cut to 0 to 1


def test_what_rendering_loses_at_the_start_is_that_of_principal_components(corpus: Corpus, tmp_path: Path) -> None:
    settings = recipe("glad", "method.quantise.components=5")
    distill(corpus, None, settings, out=tmp_path / "run", device="cpu")
    train = corpus.images[corpus.rows("train")].reshape(len(corpus.rows("train")), -1).astype(np.float64)
    basis = np.linalg.svd(train - train.mean(axis=0), full_matrices=False)[2][:5]
    rows = random_rows(corpus, [2] * len(corpus.class_names), settings.seed, -1)
    begun = corpus.images[rows].reshape(len(rows), -1) - train.mean(axis=0)
    lost = float(np.sqrt(np.mean((begun - begun @ basis.T @ basis) ** 2)))
    assert history(tmp_path / "run")["rendering_error"] == pytest.approx(lost, rel=1e-2)


def test_images_of_principal_components_stay_in_their_span(corpus: Corpus, tmp_path: Path) -> None:
    made = distill(corpus, None, recipe("glad", "method.quantise.components=5"), out=tmp_path / "run", device="cpu")
    train = corpus.images[corpus.rows("train")].reshape(len(corpus.rows("train")), -1) / 255
    grey = made.normalisation.grey(made.images).reshape(len(made.images), -1) - train.mean(axis=0)
    assert len(grey) == 6
    spread = np.linalg.svd(grey, compute_uv=False)
    assert spread[4] > 1e-2 * spread[0]
    assert spread[5] < 1e-5 * spread[0]


@pytest.mark.parametrize("more", [[], ["method.objective=doscond"], ["method.objective=unrolled", *UNROLLED]])
@pytest.mark.parametrize("method", ["glad", "h-glad"])
def test_interrupted_and_resumed_to_the_same_bits(method: str, more: list[str], corpus: Corpus, tmp_path: Path) -> None:
    layers = ["method.layers=code,block_2"] if method == "h-glad" else ["method.layer=block_3"]
    settings = recipe(method, *AUTOENCODER, *layers, *more)
    whole = distill(corpus, None, settings, out=tmp_path / "whole", device="cpu")
    with pytest.raises(KeyboardInterrupt):
        distill(corpus, None, settings, out=tmp_path / "killed", device="cpu", progress=Stops(2))
    resumed = distill(corpus, None, settings, out=tmp_path / "killed", device="cpu", resume=True)
    assert resumed.images.tobytes() == whole.images.tobytes()
    assert (tmp_path / "killed" / "history.json").read_bytes() == (tmp_path / "whole" / "history.json").read_bytes()
    losses = history(tmp_path / "whole")["loss"]
    assert len(set(losses)) == 4  # type: ignore[call-overload]


def test_layer_after_layer_with_one_layer_is_that_layer_alone(corpus: Corpus, tmp_path: Path) -> None:
    alone = distill(corpus, None, recipe("glad", *AUTOENCODER), out=tmp_path / "alone", device="cpu")
    settings = recipe("h-glad", "method.layers=code", *AUTOENCODER)
    in_turn = distill(corpus, None, settings, out=tmp_path / "turn", device="cpu")
    assert in_turn.images.tobytes() == alone.images.tobytes()
    assert history(tmp_path / "turn") == history(tmp_path / "alone")


def test_every_layer_has_its_turn_one_after_another() -> None:
    decoder = Autoencoder.drawn(Architecture(1, SIZE, 8, 3, 1), generator(0, "made"))
    settings = recipe("h-glad", "method.iterations=19").method
    assert isinstance(settings, HGladSettings)
    turns = find_method("h-glad").turns(decoder, settings)
    assert [turn.layer for turn in turns] == LAYERS
    rules = [turn.held(MomentumSGD(1.0, 0.0)) for turn in turns]
    assert [step for rule in rules for step in rule.turn] == list(range(19))
    assert [turn.steps for turn in turns] == [len(rule.turn) for rule in rules]


def test_fewer_steps_than_layers_are_refused_with_both_numbers_before_a_decoder_is_trained(
    corpus: Corpus, tmp_path: Path, private_cache: Path
) -> None:
    enough, few = (recipe("h-glad", *AUTOENCODER, f"method.iterations={steps}") for steps in (8, 7))
    said = r"method\.iterations 7 gives not each of 8 stages or layers of method h-glad"
    with pytest.raises(RecipeError, match=said):
        distill(corpus, None, few, out=tmp_path / "few", device="cpu")
    with pytest.raises(RecipeError, match=said):
        run(few, out=tmp_path / "run", device="cpu")
    assert not {"few", "run"} & {made.name for made in tmp_path.iterdir()}
    assert not (private_cache / "decoders").exists()
    refuse_unmakeable(enough)
    decoder = Autoencoder.drawn(Architecture(1, SIZE, 8, 3, 1), generator(0, "made"))
    assert isinstance(enough.method, HGladSettings)
    assert [turn.steps for turn in find_method("h-glad").turns(decoder, enough.method)] == [1] * 8


def test_a_shadow_has_a_step_for_each_layer_or_stage_whatever_its_budget(tmp_path: Path) -> None:
    """The number is that of the decoder, which is neither trained nor fitted for it."""
    budget = ("audit.shadow_iterations=3", "method.iterations=20")
    for levels in (2, 3, 5):
        settings = [*AUTOENCODER, f"method.autoencoder.levels={levels}"]
        made = Autoencoder.drawn(Architecture(1, SIZE, 8, levels, 1), generator(0, "made"))
        steps = shadow_recipe(recipe("h-glad", *settings, *budget), 0).method.outer_steps
        assert steps == len(made.layers()) == 2 * levels + 2
        three = recipe("h-glad", *settings, *budget, "method.layers=code,block_1,block_2,block_3")
        assert shadow_recipe(three, 0).method.outer_steps == 4
        assert shadow_recipe(recipe("glad", *settings, *budget), 0).method.outer_steps == 3
    save(tmp_path / "decoder", made, "CC-BY-4.0", "invented spots")
    sha256 = bring_decoder(tmp_path / "decoder")
    brought = ["method.quantise.encoder=brought", f'method.quantise.decoder="{sha256}"', "method.init=quantised"]
    assert shadow_recipe(recipe("h-glad", *brought, *budget), 0).method.outer_steps == 12
    assert shadow_recipe(recipe("h-glad", *budget), 0).method.outer_steps == 3
    staged = override_recipe(load_recipe("demo"), ["method.name=pdd", "method.stages=2"], "test")
    cut = shadow_recipe(override_recipe(staged, ["audit.shadow_iterations=1"], "test"), 0)
    assert cut.method.outer_steps == 2


def test_a_shadow_has_no_more_steps_than_the_run_whatever_its_budget() -> None:
    budget = ("audit.shadow_iterations=50", "audit.shadow_experts=5")
    cut = shadow_recipe(recipe("glad", *budget), 0).method
    assert isinstance(cut, OuterStepsRecipe)
    assert (cut.iterations, cut.validate_every) == (4, 4)
    more = shadow_recipe(recipe("glad", *budget, "method.iterations=60"), 0).method
    assert isinstance(more, OuterStepsRecipe)
    assert (more.iterations, more.validate_every) == (50, 50)


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_can_be_a_shadow_of_the_smallest_budget(name: str) -> None:
    least = ["audit.shadow_iterations=1", "audit.shadow_experts=1"]
    cut = shadow_recipe(load_recipe(name, least), 0)
    assert Recipe.model_validate(cut.model_dump()) == cut
    refuse_unmakeable(cut)


@pytest.mark.parametrize(
    ("method", "setting", "said"),
    [
        ("glad", "method.layer=block_9", "names the layer 'block_9', which the decoder does not have"),
        ("h-glad", "method.layers=code,block_9", "names the layer 'block_9', which the decoder does not have"),
        ("h-glad", "method.layers=block_2,code", "names the layers block_2, code, which are not in"),
        ("h-glad", "method.layers=code,code", "names the layers code, code, which are not in"),
    ],
)
def test_a_layer_that_there_is_not_is_refused_with_those_there_are_before_a_decoder_is_trained(
    method: str, setting: str, said: str, corpus: Corpus, tmp_path: Path, private_cache: Path
) -> None:
    with pytest.raises(RecipeError):
        run(recipe(method, *AUTOENCODER, setting), out=tmp_path / "whole", device="cpu")
    with pytest.raises(RecipeError) as refused:
        distill(corpus, None, recipe(method, *AUTOENCODER, setting), out=tmp_path / "run", device="cpu")
    assert not {"whole", "run"} & {made.name for made in tmp_path.iterdir()}
    assert not (private_cache / "decoders").exists()
    assert said in refused.value.seen
    assert [name for name in LAYERS if f"{name} (" in refused.value.expected] == LAYERS
    assert "code (16), block_1 (32 x 4 x 4)" in refused.value.expected
    with pytest.raises(RecipeError) as refused:
        distill(corpus, None, recipe("glad", "method.layer=block_1"), out=tmp_path / "pca", device="cpu")
    assert refused.value.expected == "layers of 8 principal components, from the code on: code (8)"


def test_a_decoder_that_was_brought_renders_and_its_licence_travels(corpus: Corpus, tmp_path: Path) -> None:
    made = Autoencoder.drawn(Architecture(1, SIZE, 8, 3, 1), generator(0, "made"))
    save(tmp_path / "decoder", made, "CC-BY-4.0", "invented spots")
    sha256 = bring_decoder(tmp_path / "decoder")
    brought = ["method.quantise.encoder=brought", f'method.quantise.decoder="{sha256}"']
    settings = recipe("glad", *brought, "method.layer=block_2", "method.init=quantised")
    refuse_unused(sha256, settings)
    distilled = distill(corpus, None, settings, out=tmp_path / "run", device="cpu")
    assert np.isfinite(distilled.images).all()
    told = distilled.provenance.quantisation
    assert told is not None
    assert (told.decoder, told.licence) == (sha256, "CC-BY-4.0")
    other = Autoencoder.drawn(Architecture(1, 8, 8, 3, 1), generator(0, "made"))
    save(tmp_path / "other", other, "CC-BY-4.0", "invented spots")
    settings = override_recipe(settings, [f'method.quantise.decoder="{bring_decoder(tmp_path / "other")}"'], "test")
    with pytest.raises(ArtifactError, match=r"the decoder makes images of \(1, 8, 8\)"):
        distill(corpus, None, settings, out=tmp_path / "refused", device="cpu")


@pytest.mark.parametrize("method", ["glad", "h-glad"])
@pytest.mark.parametrize("init", ["real", "leverage", "distance", "noise"])
def test_a_decoder_that_was_brought_is_refused_where_its_licence_would_not_travel(method: str, init: str) -> None:
    brought = ["method.quantise.encoder=brought", f'method.quantise.decoder="{"a" * 64}"']
    assert recipe(method, *brought, "method.init=quantised").method.quantisation is not None
    assert recipe(method, f"method.init={init}").method.quantisation is None
    with pytest.raises(RecipeError, match=f"needs method.init = quantised, and it is {init}: the hash and the licence"):
        recipe(method, *brought, f"method.init={init}")


def test_grey_values_become_what_networks_see_with_a_gradient() -> None:
    grey = torch.rand(3, 1, 4, 4, generator=generator(0, "grey"))
    images = np.rint(grey.numpy() * 255).astype(np.uint8)
    plain = Normalisation((0.4,), (0.2,))
    whitened = Normalisation((0.0,), (1.0,), Whitening.of(np.concatenate([images, 255 - images]), 0.1))
    for normalisation in (plain, whitened):
        seen = torch.from_numpy(images / np.float32(255)).requires_grad_()
        shown = _normalised(seen, normalisation)
        assert np.abs(shown.detach().numpy() - normalisation.apply(images)).max() < 1e-5
        shown.sum().backward()
        assert seen.grad is not None


def test_the_name_of_a_layer_is_told_as_it_is() -> None:
    settings = recipe("glad", "method.layer='{evil.__class__}'").method
    steps = find_method("glad").facts(settings).steps
    assert "layer {evil.__class__} moved" in steps.format_map(settings.model_dump())


def test_students_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"method\.unrolled\.window 9 is longer than the walk"):
        recipe("glad", "method.unrolled.student_steps=8", "method.unrolled.window=9", "method.unrolled.pool=0")


def test_its_recipe_differs_from_its_neighbour_by_the_method_alone() -> None:
    theirs = load_recipe("covid-xray-dm")
    for name in ("covid-xray-glad", "covid-xray-h-glad"):
        mine = load_recipe(name)
        for section in ("data", "network", "augmentation", "evaluate", "audit", "compute", "privacy"):
            assert getattr(mine, section) == getattr(theirs, section), section
        for setting in ("ipc", "iterations", "batch_real", "momentum", "validate_every", "init"):
            assert getattr(mine.method, setting) == getattr(theirs.method, setting), setting
