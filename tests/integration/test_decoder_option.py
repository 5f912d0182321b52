"""An encoder-decoder that was brought, and the corpus's own: --decoder, the private cache, and what a recipe keeps."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.purge import purge
from medistill.artifacts.weights_folder import WEIGHTS
from medistill.errors import ArtifactError, UsageError
from medistill.progress import Silent, SilentTask
from medistill.quantisation.autoencoder import Architecture, Autoencoder, state_of
from medistill.quantisation.decoder_folder import load, save
from medistill.quantisation.decoders import bring_decoder, brought_decoder, own_autoencoder
from medistill.recipe import Recipe, load_recipe
from medistill.training.randomness import generator
from medistill.workflow.distill import distill
from medistill_cli.main import app
from tests.factories.drawn_corpus import drawn_corpus
from tests.factories.tiny import TINY_QUANTISED
from tests.settings_restored import settings_restored

CPU = torch.device("cpu")
SMALL = Architecture(channels=1, image_size=16, width=8, levels=3, latent_channels=1)
QUANTISED = (
    "network.depth=2",
    "data.image_size=16",
    "method.ipc=2",
    "method.quantise.min_cluster_size=2",
    "evaluate.arms=[]",
)
OWN = (
    "method.name=ddoq",
    "method.quantise.encoder=autoencoder",
    "method.autoencoder.epochs=2",
    "method.autoencoder.width=8",
    "data.image_size=16",
)


@pytest.fixture(autouse=True)
def _own_settings() -> Iterator[None]:
    with settings_restored():
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An encoder-decoder that somebody made, in a folder whose name should stay at home."""
    place = tmp_path / "Doe_Jane" / "decoder"
    save(place, Autoencoder.drawn(SMALL, generator(0, "made")), "CC-BY-4.0", "invented spots")
    return place


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return drawn_corpus(tmp_path / "corpus")


def own_recipe(*more: str) -> Recipe:
    return load_recipe("demo", [*OWN, *more])


class Told(Silent):
    """Keeps what is said, and the images that bars count."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.images = 0

    def say(self, message: str) -> None:
        """Keep a line."""
        self.lines.append(message)

    def task(self, title: str, total: int, *, done: int = 0) -> SilentTask:
        """Start a bar."""
        told = self

        class Bar(SilentTask):
            def advance(self, steps: int = 1, *, figures: str = "") -> None:
                """Count."""
                told.advance(steps)

        return Bar()

    def advance(self, steps: int) -> None:
        """Count images."""
        self.images += steps


def test_what_is_brought_is_found_by_its_hash_until_it_is_purged(folder: Path, private_cache: Path) -> None:
    sha256 = bring_decoder(folder)
    assert bring_decoder(str(folder)) == sha256 == load(folder)[2]
    place = private_cache / "decoders" / sha256
    assert stat.S_IMODE(place.stat().st_mode) == stat.S_IMODE(place.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in place.parent.rglob("*") if file.is_file()} == {0o600}
    shutil.rmtree(folder)
    autoencoder, licence = brought_decoder(sha256)
    assert (autoencoder.architecture, licence) == (SMALL, "CC-BY-4.0")
    assert purge().removed.decoders == 1
    with pytest.raises(UsageError, match=f"{sha256[:12]}.*not in the private cache any more.*--decoder FOLDER"):
        brought_decoder(sha256)


def test_a_copy_that_was_damaged_is_not_taken_and_is_brought_again(folder: Path, private_cache: Path) -> None:
    sha256 = bring_decoder(folder)
    weights = private_cache / "decoders" / sha256 / WEIGHTS
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-4] + b"\0\0\1\0")
    with pytest.raises(UsageError, match="damaged there"):
        brought_decoder(sha256)
    assert bring_decoder(folder) == sha256
    assert weights.read_bytes() == whole


def test_another_decoder_under_that_name_is_not_taken(folder: Path, private_cache: Path) -> None:
    sha256 = bring_decoder(folder)
    other = private_cache / "decoders" / ("0" * 64)
    shutil.copytree(private_cache / "decoders" / sha256, other)
    with pytest.raises(UsageError, match="000000000000"):
        brought_decoder("0" * 64)


def test_the_own_one_is_trained_once_and_again_where_it_is_damaged(corpus: Corpus, private_cache: Path) -> None:
    recipe, first, second, third = own_recipe(), Told(), Told(), Told()
    made = own_autoencoder(corpus, recipe, CPU, first)
    assert first.images == 2 * len(corpus.rows("train"))
    found = own_autoencoder(corpus, recipe, CPU, second)
    assert (second.images, second.lines) == (0, ["The autoencoder is in the cache already."])
    (place,) = (entry for entry in (private_cache / "decoders").iterdir() if entry.is_dir())
    (place / WEIGHTS).write_bytes(b"nothing")
    again = own_autoencoder(corpus, recipe, CPU, third)
    assert "trained again" in third.lines[0]
    for name, array in state_of(made).items():
        np.testing.assert_array_equal(array, state_of(found)[name])
        np.testing.assert_array_equal(array, state_of(again)[name])


def test_the_own_one_cannot_be_brought_as_one_that_saw_no_patient(corpus: Corpus, private_cache: Path) -> None:
    own_autoencoder(corpus, own_recipe("method.autoencoder.epochs=1"), CPU)
    (trained,) = [path for path in (private_cache / "decoders").iterdir() if path.is_dir()]
    with pytest.raises(UsageError, match="was fitted to a corpus"):
        bring_decoder(trained)
    assert [path.name for path in (private_cache / "decoders").iterdir() if path.is_dir()] == [trained.name]


def test_what_decides_the_own_one_gives_another(corpus: Corpus, private_cache: Path) -> None:
    for count, change in (
        (1, "evaluate.networks=3"),
        (2, "seed=1"),
        (3, "method.autoencoder.kl=0"),
        (4, "compute.precision=tf32"),
    ):
        own_autoencoder(corpus, own_recipe("method.autoencoder.epochs=1"), CPU)
        own_autoencoder(corpus, own_recipe("method.autoencoder.epochs=1", change), CPU)
        assert len([entry for entry in (private_cache / "decoders").iterdir() if entry.is_dir()]) == count


def test_a_second_process_waits_for_the_one_that_trains(corpus: Corpus) -> None:
    begun, waited = Event(), Event()

    class Slow(Told):
        def advance(self, steps: int) -> None:
            super().advance(steps)
            begun.set()
            assert waited.wait(20)

    class Waiting(Told):
        def say(self, message: str) -> None:
            super().say(message)
            waited.set()

    first, second = Slow(), Waiting()
    with ThreadPoolExecutor(1) as pool:
        training = pool.submit(own_autoencoder, corpus, own_recipe(), CPU, first)
        assert begun.wait(20)
        found = own_autoencoder(corpus, own_recipe(), CPU, second)
    assert second.lines[0].startswith("Another process trains the same autoencoder")
    assert second.images == 0
    for name, array in state_of(training.result()).items():
        np.testing.assert_array_equal(array, state_of(found)[name])


def test_images_too_large_for_an_autoencoder_are_refused_by_name(corpus: Corpus) -> None:
    large = replace(corpus, images=np.zeros((1, 1, 2048, 2048), np.uint8))
    with pytest.raises(ArtifactError, match=r"image_size = '2048'.*from 8 to 1024"):
        own_autoencoder(large, own_recipe(), CPU)


def distilled(*words: str) -> list[str]:
    settings = [word for setting in (*TINY_QUANTISED, *QUANTISED) for word in ("--set", setting)]
    return ["distill", "--recipe", "demo", "--device", "cpu", *settings, *words]


@pytest.fixture(scope="module")
def finished(phantom_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A run that was given a decoder, that decoder, and the cache."""
    root = tmp_path_factory.mktemp("brought")
    save(root / "Doe_Jane", Autoencoder.drawn(SMALL, generator(0, "made")), "CC-BY-4.0", "invented spots")
    with pytest.MonkeyPatch.context() as patch, settings_restored():
        patch.setenv("MEDISTILL_CACHE", str(root / "cache"))
        words = ["--method", "ddoq", "--set", "method.quantise.encoder=pca", "--decoder", str(root / "Doe_Jane")]
        done = CliRunner().invoke(app, distilled(*words, "--data", str(phantom_folder), "--out", str(root / "run")))
    assert done.exit_code == 0, done.output
    return root / "run", root / "Doe_Jane", root / "cache"


def test_a_run_keeps_the_hash_and_the_licence_and_never_the_path(finished: tuple[Path, Path, Path]) -> None:
    run, folder, _ = finished
    sha256 = load(folder)[2]
    settings = tomllib.loads((run / "recipe.toml").read_text())["method"]["quantise"]
    assert (settings["encoder"], settings["decoder"]) == ("brought", sha256)
    provenance = json.loads((run / "set" / "manifest.json").read_text())["provenance"]
    assert provenance["recipe"]["method"]["quantise"]["encoder"] == "brought"
    assert provenance["quantisation"]["decoder"] == provenance["recipe"]["method"]["quantise"]["decoder"] == sha256
    assert provenance["quantisation"]["licence"] == "CC-BY-4.0"
    files = [file for file in run.rglob("*") if file.is_file()]
    assert len(files) > 5
    assert [file.name for file in files if b"Doe_Jane" in file.read_bytes()] == []
    assert [file.name for file in files if file.name == WEIGHTS] == []


@pytest.mark.parametrize("command", ["audit", "leave-site-out"])
def test_later_commands_take_the_decoder_of_the_run_alone(
    command: str, finished: tuple[Path, Path, Path], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, own, cache = finished
    monkeypatch.setenv("MEDISTILL_CACHE", str(cache))
    save(folder, Autoencoder.drawn(SMALL, generator(1, "another")), "CC0", "other spots")
    refused = CliRunner().invoke(app, [command, str(run), "--decoder", str(folder)])
    assert refused.exit_code == 2
    assert f"the set was made with the decoder {load(own)[2][:12]}" in refused.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["distill", "--method", "mtt"], "mtt with images that begin as real encodes nothing"),
        (["benchmark", "cifar10", "--method", "ftd"], "ftd with images that begin as real encodes nothing"),
    ],
)
def test_a_decoder_for_a_method_that_encodes_nothing_is_refused(
    words: list[str], said: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = CliRunner().invoke(app, [*words, "--decoder", str(folder), "--out", "run"])
    assert refused.exit_code == 2, refused.output
    assert said in refused.stderr
    assert not (tmp_path / "run").exists()


def test_a_decoder_that_cannot_be_used_is_told_before_anything_is_read(folder: Path, tmp_path: Path) -> None:
    (folder / WEIGHTS).unlink()
    refused = CliRunner().invoke(app, distilled("--decoder", str(folder), "--out", str(tmp_path / "run")))
    assert refused.exit_code == 3
    assert "weights.safetensors is missing" in refused.stderr
    assert not (tmp_path / "run").exists()
    assert os.listdir(os.environ["MEDISTILL_CACHE"]) == []


def test_a_decoder_of_another_shape_is_told_with_both(folder: Path, tmp_path: Path) -> None:
    settings = ["method.quantise.encoder=brought", f"method.quantise.decoder={bring_decoder(folder)}"]
    corpus = drawn_corpus(tmp_path / "larger", size=32)
    with pytest.raises(ArtifactError, match=r"images of \(1, 16, 16\); the corpus has \(1, 32, 32\)"):
        distill(corpus, None, load_recipe("demo-ddoq", settings), out=tmp_path / "run", device="cpu")


def test_experts_of_a_method_that_follows_none_are_refused() -> None:
    refused = CliRunner().invoke(app, ["experts", "--method", "ddoq"])
    assert refused.exit_code == 2
    assert "method ddoq follows no experts" in refused.stderr
    assert "medistill distill" in refused.stderr
