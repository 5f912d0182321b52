"""The server: bundles that were changed, swapped or made otherwise are refused by name, and the others go on."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medistill.artifacts.classifier import Classifier
from medistill.artifacts.distilled_set import DistilledSet
from medistill.errors import DataError
from medistill.federation.figures import Figure, HomeFigures, HomeRow
from medistill.federation.messages import BUNDLE, HEAD, MAKE, TEST, WEIGHTS, Answer, message, own_version
from medistill.federation.round import BROKEN, SILENT, Round, exchange
from medistill.recipe import Recipe, load_recipe
from medistill.recipe.load import recipe_toml
from medistill.sharing.archive import write_archive
from medistill.sharing.bundle import pack
from medistill.sharing.statement import Statement
from tests.factories import sent_bundle
from tests.factories.hospitals import make_keys

SMALL = (
    "data.image_size=8", 'data.classes=["Normal", "Pneumonia"]', "network.depth=2", "network.width=2",
    "evaluate.epochs=2", "schedule.choose=fixed",
)  # fmt: skip
RECIPE = load_recipe("demo", SMALL)
HOUSES = ("east", "west", "north")


@pytest.fixture(autouse=True)
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDISTILL_KEYS", str(tmp_path / "keys"))
    make_keys(*HOUSES)
    return tmp_path / "keys"


@pytest.fixture
def this(tmp_path: Path) -> Round:
    return Round(recipe_toml(RECIPE), HOUSES, tmp_path / "round", device="cpu")


def made(seed: int, recipe: Recipe = RECIPE) -> DistilledSet:
    """A set that says that it was made by the recipe."""
    small, numbers = sent_bundle.small_set(), np.random.default_rng(seed)
    known = small.provenance.replaced(recipe=recipe.model_dump(mode="json"), recipe_digest=recipe.digest)
    images = numbers.normal(size=small.images.shape).astype(np.float32)
    return replace(small, images=images, provenance=known)


def packed(distilled: DistilledSet) -> dict[str, bytes]:
    words = Statement(licence="CC0-1.0", intended_use="Tests.", acknowledged_risk="Invented images.")
    return pack(distilled, words)


def zipped(files: Mapping[str, bytes], folder: Path) -> bytes:
    path = folder / "packed.zip"
    path.unlink(missing_ok=True)
    write_archive(path, dict(files))
    return path.read_bytes()


def sent(bundle: bytes) -> dict[str, bytes]:
    return message(Answer(protocol=1, medistill=own_version(), code="done"), **{BUNDLE: bundle})


def bundle_of(site: str, seed: int, keys: Path, recipe: Recipe = RECIPE) -> bytes:
    return zipped(sent_bundle.signed(packed(made(seed, recipe)), keys, site), keys.parent)


def with_another_class(distilled: DistilledSet) -> DistilledSet:
    return replace(distilled, class_names=("Normal", "COVID"))


def altered(bundle: bytes) -> bytes:
    """The same archive with another image, written anew so that its checksums are right."""
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    tensors = bytearray(files["images.safetensors"])
    tensors[-1] ^= 1
    files["images.safetensors"] = bytes(tensors)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, held in files.items():
            archive.writestr(name, held)
    return buffer.getvalue()


Hostile = Callable[[Path], object]
HOSTILE: dict[str, tuple[Hostile, str]] = {
    "of nobody": (lambda keys: sent(zipped(packed(made(3)), keys.parent)), "not signed"),
    "of another house": (lambda keys: sent(bundle_of("west", 3, keys)), "signed by the key"),
    "altered": (lambda keys: sent(altered(bundle_of("north", 3, keys))), "bundle was refused"),
    "no archive": (lambda keys: sent(b"\x80\x04cos\nsystem\n"), "bundle was refused"),
    "by another recipe": (
        lambda keys: sent(bundle_of("north", 3, keys, load_recipe("demo", [*SMALL, "method.ipc=4"]))),
        "another recipe",
    ),
    "of other classes": (
        lambda keys: sent(zipped(sent_bundle.signed(packed(with_another_class(made(3))), keys, "north"), keys.parent)),
        "other classes",
    ),
    "somebody else's set": (lambda keys: sent(bundle_of("north", 1, keys)), "the same set"),
    "without a bundle": (lambda keys: {HEAD: sent(b"")[HEAD]}, "missing"),
    "no bytes": (lambda keys: {**sent(b""), BUNDLE: "text"}, "no bytes"),
    "no answer": (lambda keys: None, SILENT),
    "no message": (lambda keys: b"pickle", BROKEN),
    "no head": (lambda keys: {HEAD: b"{}"}, "another version"),
    "more than an answer": (lambda keys: {HEAD: json.dumps({**head(), "x": 1}).encode()}, BROKEN),
    "another version": (lambda keys: {HEAD: json.dumps({**head(), "medistill": "9.9"}).encode()}, "another version"),
}


def head() -> dict[str, Any]:
    return Answer(protocol=1, medistill=own_version(), code="done").as_json()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_bundle_that_is_not_right_is_named_and_left_out(name: str, this: Round, keys: Path) -> None:
    hostile, words = HOSTILE[name]
    this.take_set("east", sent(bundle_of("east", 1, keys)))
    this.take_set("west", sent(bundle_of("west", 2, keys)))
    this.take_set("north", hostile(keys))
    assert list(this.sets) == ["east", "west"]
    assert words in this.sites["north"].reason
    assert str(keys.parent) not in this.sites["north"].reason


def test_a_site_whose_key_is_not_trusted_is_not_asked(tmp_path: Path) -> None:
    found = Round(recipe_toml(RECIPE), [*HOUSES, "stranger"], tmp_path / "round")
    assert found.asked == list(HOUSES)
    assert "trusts no key" in found.sites["stranger"].reason


def test_a_round_goes_through_with_those_that_are_left(this: Round, keys: Path) -> None:
    asked: list[tuple[str, tuple[str, ...]]] = []
    figures = HomeFigures(
        hidden=False,
        confidence=0.95,
        class_patients=(20, 30),
        rows=(HomeRow(learnt_from="exchange", macro_auc=Figure(value=0.7, low=0.6, high=0.8), accuracy=Figure()),),
    )
    answers = {"east": figures, "west": figures.replaced(class_patients=(2, 30)), "north": None}
    offered: dict[str, bytes] = {}

    def ask(task: str, pieces: Mapping[str, bytes], sites: Sequence[str]) -> Mapping[str, object]:
        asked.append((task, tuple(sites)))
        if task == MAKE:
            gate = message(Answer(protocol=1, medistill=own_version(), code="gate", verdict="fail"))
            return {"east": sent(bundle_of("east", 1, keys)), "west": sent(bundle_of("west", 2, keys)), "north": gate}
        offered.update(pieces)
        return {
            site: message(Answer(protocol=1, medistill=own_version(), code="done", figures=told))
            for site, told in answers.items()
            if told is not None
        }

    found = exchange(this, ask, MAKE, TEST)
    assert asked == [(MAKE, HOUSES), (TEST, HOUSES)]
    united = DistilledSet.load(this.folder / "united")
    expected = np.concatenate([made(1).images, made(2).images])
    np.testing.assert_array_equal(united.images, expected)
    assert len(united.provenance.sources or ()) == 2
    classifier = Classifier.load(this.folder / "classifier")
    assert classifier.class_names == ("Normal", "Pneumonia")
    assert offered[WEIGHTS] == (this.folder / "classifier" / "weights.safetensors").read_bytes()
    outcomes = {site.name: site for site in found.sites}
    assert outcomes["east"].figures == figures
    assert outcomes["west"].figures is None, "what told of two patients is not kept"
    assert b"0.7" in (this.folder / "exchange.json").read_bytes()
    page = (this.folder / "exchange.html").read_text()
    assert "north gave no set, because its set did not pass the gate (fail)" in page
    assert "Invented images." in page


def test_without_any_set_the_report_says_so(this: Round) -> None:
    with pytest.raises(DataError, match="no set arrived"):
        exchange(this, lambda task, pieces, sites: {}, MAKE, TEST)
    told = json.loads((this.folder / "exchange.json").read_text())
    assert "no set arrived" in told["failure"]
    assert {site["reason"] for site in told["sites"]} == {SILENT}
