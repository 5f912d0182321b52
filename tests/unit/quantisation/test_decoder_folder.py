"""The folder of an encoder-decoder: it comes back as it was saved, and a hostile one is refused in words."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from medistill.artifacts.weights_folder import WEIGHTS
from medistill.errors import ArtifactError
from medistill.quantisation.autoencoder import Architecture, Autoencoder, state_of
from medistill.quantisation.decoder_folder import DESCRIPTION, bring, load, save
from medistill.training.randomness import generator

SMALL = Architecture(channels=1, image_size=16, width=8, levels=2, latent_channels=4)
FIRST = "decoder.blocks.0.conv.bias"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tmp_path / "made", Autoencoder.drawn(SMALL, generator(0, "made")), "CC-BY-4.0", "invented spots")
    return tmp_path / "made"


def describe(folder: Path, **changes: object) -> None:
    """Change the description; a value of `...` takes the field away."""
    known = {**json.loads((folder / DESCRIPTION).read_text()), **changes}
    (folder / DESCRIPTION).write_text(json.dumps({name: value for name, value in known.items() if value is not ...}))


def reweigh(folder: Path, change: Callable[[dict[str, np.ndarray]], object]) -> None:
    """Change the weights, and the hash of them with it."""
    arrays = load_file(folder / WEIGHTS)
    change(arrays)
    save_file(arrays, folder / WEIGHTS)
    describe(folder, weights_sha256=hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest())


def test_it_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    made = Autoencoder.drawn(SMALL, generator(0, "made"))
    told = save(tmp_path / "x", made, "CC0 1.0, by les Hôpitaux", "a public corpus")
    found, licence, sha256 = load(tmp_path / "x")
    assert (found.architecture, licence, sha256) == (SMALL, "CC0 1.0, by les Hôpitaux", told)
    both = (tmp_path / "x" / DESCRIPTION).read_bytes() + (tmp_path / "x" / WEIGHTS).read_bytes()
    assert sha256 == hashlib.sha256(both).hexdigest()
    grey = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(2))
    assert torch.equal(found.decode(found.encode(grey)), made.decode(made.encode(grey)))


def test_a_copy_is_private_whole_and_under_its_hash(folder: Path, tmp_path: Path) -> None:
    for file in (folder, *folder.iterdir()):
        file.chmod(0o755)
    (folder / "notes.txt").write_text("kept at home")
    sha256 = bring(folder, tmp_path / "cache")
    copy = tmp_path / "cache" / sha256
    assert sorted(file.name for file in copy.iterdir()) == [DESCRIPTION, WEIGHTS]
    assert [entry.name for entry in (tmp_path / "cache").iterdir()] == [sha256]
    assert stat.S_IMODE(copy.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in copy.iterdir()} == {0o600}
    assert load(copy)[2] == load(folder)[2] == sha256


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema": 2}, "its schema is '2', not 1"),
        ({"schema": ...}, "its schema is 'None'"),
        ({"licence": ...}, "it states no licence"),
        ({"licence": "  "}, "it states no licence"),
        ({"licence": None}, "it states no licence"),
        ({"licence": "free\n<b>"}, "licence is not one line"),
        ({"licence": "for \u202esrehto"}, "licence is not one line"),
        ({"trained_on": "x" * 2001}, "trained_on is not one line of at most 2000"),
        ({"kind": "medistill classifier"}, "of the kind 'medistill classifier'"),
        ({"network": "os.system"}, "it has the network 'os.system'"),
        ({"architecture": {**SMALL.as_json(), "width": 2**40}}, "width = '1099511627776'"),
        (
            {"architecture": {**SMALL.as_json(), "width": 16}},
            r"are float32 of \(8, 1, 3, 3\), not float32 of \(16, 1, 3, 3\)",
        ),
        ({"architecture": {**SMALL.as_json(), "levels": 3}}, "is in one of them alone"),
        ({"architecture": "AutoencoderKL"}, "other parts"),
        ({"weights": "../../somewhere"}, "it holds what no such description has"),
        ({"weights_sha256": "0" * 64}, "weights.safetensors is not the one that decoder.json lists"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_description_that_says_something_else_is_refused(
    changes: dict[str, object], said: str, folder: Path, tmp_path: Path
) -> None:
    describe(folder, **changes)
    with pytest.raises(ArtifactError, match=said):
        load(folder)
    with pytest.raises(ArtifactError, match=said):
        bring(folder, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: a.pop(FIRST), FIRST),
        (lambda a: a.update(more=np.zeros(3, np.float32)), "'more' is in one of them alone"),
        (lambda a: a.update({FIRST: a[FIRST].astype(np.float64)}), r"are float64 of \(16,\), not float32"),
        (lambda a: a.update({FIRST: a[FIRST][:3]}), r"float32 of \(3,\)"),
        (lambda a: a[FIRST].__setitem__(0, np.nan), "hold NaN or infinite values"),
        (lambda a: a[FIRST].__setitem__(0, -np.inf), "hold NaN or infinite values"),
        (lambda a: a.update(more=np.zeros(2**19, np.float32)), "larger than what it should hold"),
    ],
)
def test_weights_of_something_else_are_refused(
    change: Callable[[dict[str, np.ndarray]], object], said: str, folder: Path
) -> None:
    reweigh(folder, change)
    with pytest.raises(ArtifactError, match=said):
        load(folder)


@pytest.mark.parametrize("name", [DESCRIPTION, WEIGHTS])
def test_files_that_are_missing_or_links_or_no_files_are_refused(name: str, folder: Path, tmp_path: Path) -> None:
    file = folder / name
    file.rename(tmp_path / "elsewhere")
    with pytest.raises(ArtifactError, match=f"{name} is missing"):
        load(folder)
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ArtifactError, match=f"{name} is a link"):
        load(folder)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(ArtifactError, match="no plain file"):
        load(folder)
    with pytest.raises(ArtifactError, match="elsewhere cannot be used: it is no folder"):
        load(tmp_path / "elsewhere")
    with pytest.raises(ArtifactError, match="nowhere cannot be used: there is no such folder"):
        load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "content", [b"", b"\xff\x00", b"[1]", b'{"schema": 1', b'{"schema": NaN}', b"{}" + b" " * 2**20]
)
def test_a_damaged_description_is_refused(content: bytes, folder: Path) -> None:
    (folder / DESCRIPTION).write_bytes(content)
    with pytest.raises(ArtifactError, match=DESCRIPTION):
        load(folder)


@pytest.mark.parametrize("content", [b"", b"x" * 100, (2**63).to_bytes(8, "little") + b"{}"])
def test_damaged_weights_are_refused_whatever_their_hash(content: bytes, folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(content)
    describe(folder, weights_sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(ArtifactError, match=r"weights\.safetensors is damaged"):
        load(folder)


def test_nothing_without_a_licence_or_with_broken_weights_is_saved(tmp_path: Path) -> None:
    autoencoder = Autoencoder.drawn(SMALL, generator(0, "made"))
    with pytest.raises(ArtifactError, match="it states no licence"):
        save(tmp_path / "x", autoencoder, " ", "spots")
    state_of(autoencoder)[FIRST][:] = np.nan  # the arrays are the parameters' own memory
    with pytest.raises(ArtifactError, match=f"{FIRST} hold NaN"):
        save(tmp_path / "x", autoencoder, "CC0", "spots")
    assert not (tmp_path / "x").exists()
