"""Records that the former version wrote are read, and say the same as the files that they were read from."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

import pytest

from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.kept import read_result
from medistill.artifacts.making import load_making
from medistill.quantisation.record import Quantisation
from medistill.sharing.bundle import Bundle
from medistill.sharing.manifest import MANIFEST

RUNS = ("iadd", "datm", "ddoq")


@pytest.fixture(scope="module")
def former(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("former")
    with tarfile.open(Path(__file__).parents[1] / "former" / "former.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.mark.parametrize("run", RUNS)
def test_a_set_says_what_its_manifest_says_and_is_the_one_of_its_record(former: Path, run: str) -> None:
    stated = json.loads((former / run / "set" / "manifest.json").read_text())
    distilled = DistilledSet.load(former / run / "set")
    known = distilled.provenance
    assert known.as_json() == stated["provenance"]
    for name in ("method", "corpus", "network", "device", "starts_from", "split_unit", "training_images", "stages"):
        assert getattr(known, name) == stated["provenance"][name]
    assert (known.quantisation is not None) == ("quantisation" in stated["provenance"])
    assert distilled.digest() == stated["files"]["images.safetensors"]
    making, told = load_making(former / run), json.loads((former / run / "making.json").read_text())
    assert making is not None
    assert making.as_json() == told
    assert making.is_of(distilled)


def test_a_quantisation_says_what_its_file_says(former: Path) -> None:
    stored = read_result(former / "ddoq" / "quantisation.json", "quantisation")
    known = Quantisation.from_json(stored, "the file")
    assert known.as_json() == stored
    told = DistilledSet.load(former / "ddoq" / "set").provenance.quantisation
    assert told is not None
    assert (told.smallest_cluster, told.dimension, told.encoder) == (known.smallest, known.dimension, known.encoder)


@pytest.mark.parametrize("run", RUNS)
def test_a_bundle_opens_and_its_manifest_is_spelt_as_it_was(former: Path, run: str) -> None:
    bundle = Bundle.open(former / f"bundle-{run}.zip")
    assert bundle.manifest.to_bytes() == bundle.files[MANIFEST]
    held = hashlib.sha256(bundle.files["images.safetensors"]).hexdigest()
    assert bundle.manifest.files["images.safetensors"].sha256 == held == bundle.distilled.digest()
    left = json.loads(bundle.files[MANIFEST])["provenance"]
    assert bundle.distilled.provenance.as_json() == left
