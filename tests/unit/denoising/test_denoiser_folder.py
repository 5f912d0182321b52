"""The folder of a denoiser: it comes back as it was saved, and a hostile or unfitting one is refused in words."""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from medistill.artifacts.purge import purge
from medistill.artifacts.weights_folder import WEIGHTS
from medistill.denoising.denoiser import Architecture, Denoiser, noise_levels, state_of
from medistill.denoising.denoiser_folder import DESCRIPTION, load, save
from medistill.denoising.denoiser_training import OWN_LICENCE
from medistill.denoising.denoisers import bring_denoiser, check_fits, denoiser_for, own_denoiser
from medistill.errors import ArtifactError, DataError, RecipeError, UsageError
from medistill.recipe import Recipe, load_recipe
from medistill.training.randomness import generator
from tests.factories.planted import planted_corpus

SMALL = Architecture(1, 16, 8, 2, ("lying", "standing"), noise_levels(3))
CPU = torch.device("cpu")
FIRST = "stem.bias"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tmp_path / "made", Denoiser.drawn(SMALL, generator(0, "made")), "CC-BY-4.0", "invented lines")
    return tmp_path / "made"


def describe(folder: Path, **changes: object) -> None:
    """Change the description; a value of `...` takes the field away."""
    known = {**json.loads((folder / DESCRIPTION).read_text()), **changes}
    (folder / DESCRIPTION).write_text(json.dumps({name: value for name, value in known.items() if value is not ...}))


def asked(*overrides: str) -> Recipe:
    """A recipe for the planted corpus."""
    return load_recipe("demo", ["method.name=diffusion-patches", "data.image_size=16", *overrides])


def test_it_comes_back_as_it_was_saved_and_is_found_until_it_is_purged(folder: Path, private_cache: Path) -> None:
    found, licence, sha256 = load(folder)
    assert (found.architecture, licence) == (SMALL, "CC-BY-4.0")
    both = (folder / DESCRIPTION).read_bytes() + (folder / WEIGHTS).read_bytes()
    assert sha256 == hashlib.sha256(both).hexdigest() == bring_denoiser(folder) == bring_denoiser(str(folder))
    place = private_cache / "denoisers" / sha256
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in place.iterdir()} == {0o600}
    for name, array in state_of(Denoiser.drawn(SMALL, generator(0, "made"))).items():
        np.testing.assert_array_equal(array, state_of(found)[name])
    assert purge().removed.decoders == 1
    assert not place.exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema": 2}, "its schema is '2', not 1"),
        ({"licence": " "}, "it states no licence"),
        ({"kind": "medistill autoencoder"}, "of the kind 'medistill autoencoder'"),
        ({"network": "os.system"}, "it has the network 'os.system'"),
        ({"architecture": "UNet"}, "other parts"),
        ({"architecture": {**SMALL.as_json(), "width": 2**40}}, "width = '1099511627776'"),
        ({"architecture": {**SMALL.as_json(), "width": 12}}, "a multiple of 8"),
        ({"architecture": {**SMALL.as_json(), "image_size": 18}}, "can be halved 2 times"),
        ({"architecture": {**SMALL.as_json(), "channels": True}}, "channels = 'True'"),
        ({"architecture": {**SMALL.as_json(), "width": 16}}, r"not float32 of \(32, 3\)"),
        ({"architecture": {**SMALL.as_json(), "channels": 3}}, r"not float32 of \(8, 12, 3, 3\)"),
        ({"architecture": {**SMALL.as_json(), "classes": ["a", "b", "c"]}}, r"not float32 of \(16, 4\)"),
        ({"architecture": {**SMALL.as_json(), "classes": ["a"]}}, "names of 2 to 1000 classes"),
        ({"architecture": {**SMALL.as_json(), "classes": ["a", "a"]}}, "no two of them alike"),
        ({"architecture": {**SMALL.as_json(), "classes": ["a", "b\u202e"]}}, "names of 2 to 1000 classes"),
        ({"architecture": {**SMALL.as_json(), "classes": ["a", 3]}}, "names of 2 to 1000 classes"),
        ({"architecture": {**SMALL.as_json(), "classes": "ab"}}, "classes that are no list"),
        ({"architecture": {**SMALL.as_json(), "noise": [0.5] * 65}}, "noise that are no list of at most 64"),
        ({"architecture": {**SMALL.as_json(), "noise": [0.5, 0.2, 0.8]}}, "ascending shares of noise"),
        ({"architecture": {**SMALL.as_json(), "noise": [0.2, 0.5, 1.5]}}, "ascending shares of noise"),
        ({"architecture": {**SMALL.as_json(), "noise": [0.2, float("nan"), 0.5]}}, DESCRIPTION),
        ({"weights": "../../somewhere"}, "it holds what no such description has"),
        ({"weights_sha256": "0" * 64}, "weights.safetensors is not the one that denoiser.json lists"),
    ],
)
def test_a_description_that_says_something_else_is_refused(
    changes: dict[str, object], said: str, folder: Path, private_cache: Path
) -> None:
    describe(folder, **changes)
    with pytest.raises(ArtifactError, match=said):
        bring_denoiser(folder)
    assert not list((private_cache / "denoisers").glob("*"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: a.pop(FIRST), FIRST),
        (lambda a: a.update({FIRST: a[FIRST].astype(np.float64)}), r"are float64 of \(8,\), not float32"),
        (lambda a: a.update({FIRST: a[FIRST][:3]}), r"float32 of \(3,\)"),
        (lambda a: a[FIRST].__setitem__(0, np.nan), "hold NaN or infinite values"),
        (lambda a: a.update(more=np.zeros(2**19, np.float32)), "larger than what it should hold"),
    ],
)
def test_weights_of_something_else_are_refused(
    change: Callable[[dict[str, np.ndarray]], object], said: str, folder: Path
) -> None:
    arrays = load_file(folder / WEIGHTS)
    change(arrays)
    save_file(arrays, folder / WEIGHTS)
    describe(folder, weights_sha256=hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest())
    with pytest.raises(ArtifactError, match=said):
        bring_denoiser(folder)


def test_one_that_does_not_fit_the_corpus_is_refused_with_both(folder: Path, tmp_path: Path) -> None:
    corpus, _ = planted_corpus(tmp_path / "corpus", each=8)
    check_fits(SMALL, corpus)
    for shape in ({"channels": 3}, {"image_size": 32}):
        with pytest.raises(ArtifactError, match=r"the denoiser is of images of .*; the corpus has \(1, 16, 16\)"):
            check_fits(replace(SMALL, **shape), corpus)
    with pytest.raises(ArtifactError, match=r"does not know the class standing of the corpus.*lying, standing"):
        check_fits(replace(SMALL, classes=("lying", "sitting")), corpus)
    check_fits(replace(SMALL, classes=("sitting", "standing", "lying")), corpus)
    brought = asked("method.denoiser.source=brought", f'method.denoiser.sha256="{"0" * 64}"')
    with pytest.raises(UsageError, match=r"000000000000.*not in the private cache any more.*--denoiser FOLDER"):
        denoiser_for(corpus, brought, CPU)
    with pytest.raises(DataError, match=r"the corpus has one class alone \(lying\)"):
        denoiser_for(replace(corpus, class_names=("lying",)), brought, CPU)
    sha256 = bring_denoiser(folder)
    found = denoiser_for(corpus, asked("method.denoiser.source=brought", f'method.denoiser.sha256="{sha256}"'), CPU)
    assert (found[0].architecture, found[1]) == (SMALL, "CC-BY-4.0")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["method.patches=3"], r"method\.patches 3 does not divide data\.image_size 16; .* one of 1, 2, 4"),
        (["method.patches=5"], r"method\.patches = 5"),
        (["method.denoiser.source=brought"], "--denoiser FOLDER sets them both"),
        ([f'method.denoiser.sha256="{"0" * 64}"'], "--denoiser FOLDER sets them both"),
        (["method.denoiser.sha256=../x"], r"denoiser\.sha256"),
        (["method.denoiser.width=12"], r"denoiser\.width"),
        (["method.denoiser.depth=5"], r"denoiser\.depth 5 halves the image 5 times"),
        (["method.denoiser.without=1"], r"denoiser\.without"),
        (["privacy.mode=dp"], "method diffusion-patches hands out parts of patients' images without noise"),
    ],
)
def test_settings_that_do_not_fit_are_refused_by_name(overrides: list[str], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        asked(*overrides)


def test_the_own_one_is_trained_once_and_cannot_be_brought(tmp_path: Path, private_cache: Path) -> None:
    corpus, _ = planted_corpus(tmp_path / "corpus", each=8)
    recipe = asked("method.denoiser.updates=2", "method.denoiser.width=8", "method.denoiser.depth=1")
    made, again = own_denoiser(corpus, recipe, CPU), own_denoiser(corpus, recipe, CPU)
    for name, array in state_of(made).items():
        assert array.tobytes() == state_of(again)[name].tobytes()
    (place,) = (entry for entry in (private_cache / "denoisers").iterdir() if entry.is_dir())
    assert load(place)[1] == OWN_LICENCE
    with pytest.raises(UsageError, match="was trained on a corpus"):
        bring_denoiser(place)
