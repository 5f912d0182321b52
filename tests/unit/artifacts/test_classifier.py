"""A trained classifier on disk: what is read is what was written, and nothing else is accepted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medistill.artifacts.atomic import sha256_file
from medistill.artifacts.classifier import PREPROCESSING, WEIGHTS, Classifier, ClassifierProvenance
from medistill.artifacts.new_folder import new_folder
from medistill.artifacts.normalisation import Normalisation
from medistill.artifacts.whitening import Whitening
from medistill.errors import ArtifactError, UsageError
from medistill.networks.registry import build_network
from medistill.networks.restored import classifier_spec, restored_network
from medistill.recipe import load_recipe


def _classifier(**changes: Any) -> Classifier:
    values: dict[str, Any] = {
        "weights": {"layer.weight": np.ones((2, 3), np.float32)},
        "class_names": ("COVID", "Normal"),
        "shape": (1, 8, 8),
        "normalisation": Normalisation((0.4,), (0.2,)),
        "recipe": load_recipe("demo", ["network.width=4", "network.depth=2"]),
        "images": 4,
        "bytes": 1000,
        "epochs": 5,
        "seconds": 1.5,
        "provenance": ClassifierProvenance(set={"method": "IADD"}, lr=0.01),
    }
    made = Classifier(**{**values, **changes})
    if "weights" in changes:
        return made
    network = build_network(classifier_spec(made), torch.Generator().manual_seed(7))
    return replace(made, weights={name: array.numpy() for name, array in network.state_dict().items()})


@pytest.fixture
def whitened() -> Classifier:
    grey = np.random.default_rng(0).integers(0, 256, (100, 1, 8, 8)).astype(np.uint8)
    return _classifier(normalisation=replace(Normalisation.full_scale(1), whitening=Whitening.of(grey, 0.1)))


def test_what_is_read_is_what_was_written(tmp_path: Path, whitened: Classifier) -> None:
    for name, written in (("plain", _classifier()), ("whitened", whitened)):
        with new_folder(tmp_path / name) as folder:
            written.save(folder)
        read = Classifier.load(tmp_path / name)
        assert all(np.array_equal(array, written.weights[key]) for key, array in read.weights.items())
        assert set(read.weights) == set(written.weights)
        assert replace(read, weights=written.weights) == written


def test_the_restored_network_answers_as_the_one_whose_weights_it_has() -> None:
    classifier = _classifier()
    images = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    original = build_network(classifier_spec(classifier), torch.Generator().manual_seed(7))
    assert torch.equal(restored_network(classifier)(images), original(images))
    with pytest.raises(ArtifactError, match="do not fit its network, ConvNet"):
        restored_network(replace(classifier, class_names=("COVID", "Normal", "Pneumonia")))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"weights": {}}, "missing or not float32"),
        ({"weights": {"a": np.ones(2)}}, "missing or not float32"),
        ({"weights": {"a": np.array([np.nan], np.float32)}}, "NaN"),
        ({"shape": (1, 8, 9)}, r"not \(C, H, H\)"),
        ({"normalisation": Normalisation((0.5,), (0.0,))}, "normalisation"),
        ({"class_names": ("COVID", "COVID")}, "named alike"),
    ],
)
def test_what_cannot_be_used_is_refused(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ArtifactError, match=told):
        _classifier(**change)


def test_altered_weights_and_foreign_files_are_refused(tmp_path: Path) -> None:
    _classifier().save(tmp_path)
    known = json.loads((tmp_path / PREPROCESSING).read_text())
    for change, told in (
        ({"schema": 2}, "schema 2"),
        ({"shape": [1, 8]}, "another kind"),
        ({"normalisation": {"mean": [0.4]}}, "another kind"),
        ({"recipe": {"network": {"name": "os.system"}}}, "cannot be used"),
        ({"files": {}}, "another kind"),
    ):
        (tmp_path / PREPROCESSING).write_text(json.dumps({**known, **change}))
        with pytest.raises(ArtifactError, match=told):
            Classifier.load(tmp_path)
    (tmp_path / PREPROCESSING).write_text(json.dumps(known))
    held = bytearray((tmp_path / WEIGHTS).read_bytes())
    held[-1] ^= 1
    (tmp_path / WEIGHTS).write_bytes(held)
    assert sha256_file(tmp_path / WEIGHTS) != known["files"][WEIGHTS]
    with pytest.raises(ArtifactError, match="not the one"):
        Classifier.load(tmp_path)


def test_a_new_folder_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "model"

    def write(broken: bool) -> None:
        with new_folder(out) as folder:
            (folder / "half").write_text("")
            if broken:
                raise KeyboardInterrupt
            (folder / "whole").write_text("")

    with pytest.raises(KeyboardInterrupt):
        write(broken=True)
    assert list(tmp_path.iterdir()) == []
    out.mkdir()
    write(broken=False)
    assert {path.name for path in out.iterdir()} == {"half", "whole"}
    with pytest.raises(UsageError, match="holds something already"):
        write(broken=False)
    assert list(tmp_path.iterdir()) == [out]
