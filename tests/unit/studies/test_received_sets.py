"""Received sets in a study: what does not verify or does not fit is named, and the others are taken as they came."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from medistill.artifacts.corpus import NOT_STATED, Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.encoder_summary import EncoderSummary
from medistill.artifacts.whitening import Whitening
from medistill.errors import UsageError
from medistill.networks.registry import network_spec
from medistill.recipe import Recipe, override_recipe
from medistill.sharing.archive import write_archive
from medistill.sharing.bundle import pack
from medistill.sharing.keys import keys_root
from medistill.sharing.merge_source import MergeSource
from medistill.sharing.statement import Statement
from medistill.studies.exchange import received
from medistill.studies.exchange.received import HOME, Senders, at_home
from medistill.training.context import Context
from tests.factories import sent_bundle
from tests.factories.drawn_corpus import CLASSES, drawn_corpus, drawn_set
from tests.factories.heard import Heard

PLAIN = {"starts_from": "real", "privacy": "No formal privacy guarantee was sought in this mode."}
STATEMENT = Statement(licence="CC0-1.0", intended_use="Tests.", sender="Dr East", acknowledged_risk="A test.")
OTHER = EncoderSummary(
    sha256="a" * 64,
    architecture="efficientnet_lite0",
    licence="MIT",
    trained_on="photographs",
    source="here",
    layers=("5",),
)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return drawn_corpus(tmp_path / "corpus")


@pytest.fixture
def context(corpus: Corpus, tiny_recipe: Recipe, tmp_path: Path) -> Context:
    recipe = override_recipe(tiny_recipe, ["data.image_size=16"], "test")
    return Context(corpus, recipe, network_spec(corpus, recipe, None), torch.device("cpu"), tmp_path, Heard())


def of_one_site(context: Context) -> Context:
    corpus = replace(context.corpus, sites=np.zeros_like(context.corpus.sites), site_names=("here",))
    return replace(context, corpus=corpus)


def made(corpus: Corpus, seed: int = 0, **changes: object) -> DistilledSet:
    found = drawn_set(corpus)
    images = found.images + np.float32(seed)
    return replace(found, **{"images": images, "provenance": PLAIN, **changes})


def bundle(path: Path, distilled: DistilledSet) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_archive(path, pack(distilled, STATEMENT))
    return path


def altered(path: Path, distilled: DistilledSet) -> Path:
    data = bytearray(bundle(path, distilled).read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    return path


def swapped(path: Path, distilled: DistilledSet) -> Path:
    """Zipped again around another file, as whoever carries it could."""
    files = pack(distilled, STATEMENT)
    write_archive(path, {**files, "labels.csv": files["labels.csv"].replace(b"COVID", b"Normal")})
    return path


def of_another_version(path: Path, distilled: DistilledSet) -> Path:
    files = pack(distilled, STATEMENT)
    told = files["manifest.json"].replace(b'"schema": 1', b'"schema": 2')
    assert told != files["manifest.json"]
    write_archive(path, {**files, "manifest.json": told})
    return path


def by_a_stranger(path: Path, distilled: DistilledSet) -> Path:
    theirs = path.parent / "theirs"
    sent_bundle.make_sender(theirs)
    write_archive(path, sent_bundle.signed(pack(distilled, STATEMENT), theirs))
    return path


def folder(path: Path, distilled: DistilledSet) -> Path:
    path.mkdir(parents=True)
    distilled.save(path)
    return path


def _changed(corpus: Corpus, what: str) -> DistilledSet:
    """A set that is in one way other than the study's."""
    plain, pixels = made(corpus), corpus.images[0].size
    rng = np.random.default_rng(0)
    changes: dict[str, dict[str, object]] = {
        "classes": {"class_names": ("Covid-19", "Normal", "Pneumonia")},
        "fewer": {"class_names": ("COVID", "Normal"), "labels": np.array([0, 0, 1, 1, 1, 0])},
        "one class": {"labels": np.zeros(6, np.int64)},
        "size": {"images": rng.normal(size=(6, 1, 8, 8)).astype(np.float32)},
        "whitened": {
            "normalisation": replace(
                plain.normalisation,
                whitening=Whitening(np.zeros(pixels, np.float32), np.eye(pixels, dtype=np.float32), 0.1),
            )
        },
        "equalised": {"provenance": {**PLAIN, "recipe": {"data": {"equalise": True}}}},
        "encoder": {"provenance": {**PLAIN, "encoder": OTHER.as_json()}},
        "weightless": {"weights": np.zeros(6, np.float32)},
        "large": {"provenance": {**PLAIN, "recipe": {"evaluate": {"epochs": 10**9}}}},
        "values": {"soft_labels": rng.normal(size=(6, 3)).astype(np.float32), "label_kind": "values"},
    }
    return replace(plain, **changes.get(what, {}))


Make = Callable[[Path, DistilledSet], Path]
BAD: list[tuple[str, Make, str, str]] = [
    ("altered", altered, "checksum", "ask the sender for it again"),
    ("swapped", swapped, "its SHA-256 is not the one in the manifest", "have it sent again"),
    ("version", of_another_version, "has the schema '2'", "version of medistill that wrote it"),
    ("stranger", by_a_stranger, "signed by a key that is not known here", "ask the sender for the file of the key"),
    ("missing", lambda path, _: path, "there is no file or folder", "check the path"),
    ("classes", bundle, "has the classes Covid-19, Normal and Pneumonia, the study", r"data\.class_map"),
    ("fewer", bundle, "has the classes COVID and Normal, the study", "set of these classes"),
    ("one class", bundle, "holds images of one class, COVID", "set of every class"),
    ("size", bundle, "images of 1 x 8 x 8 .* the study of 1 x 16 x 16", r"data\.image_size = 8"),
    ("whitened", bundle, "is whitened", "without whitening"),
    ("equalised", folder, "had their histograms equalised", r"data\.equalise = true"),
    ("encoder", bundle, "made for the encoder .*aaaa; in the study networks see pixels", "--encoder"),
    ("weightless", bundle, "has the weight 0", "ask its sender"),
    ("large", folder, r"asks for evaluate\.epochs = 1000000000", "ask the sender"),
    ("twice", bundle, "are, or hold, the same set", "name each set once"),
    ("values", folder, "are values to be trained on by the squared error", "same method"),
]


@pytest.mark.parametrize(("what", "make", "seen", "do"), BAD, ids=[case[0] for case in BAD])
def test_a_set_that_cannot_be_taken_is_named_with_what_to_do_and_the_others_go_on(
    what: str, make: Make, seen: str, do: str, context: Context, tmp_path: Path
) -> None:
    good = bundle(tmp_path / "sent" / "good.zip", made(context.corpus, seed=1 if what != "twice" else 0))
    bad = make(tmp_path / "sent" / "bad.zip", _changed(context.corpus, what))
    found = Senders.of([good, bad], [], context)
    assert found.names == ("good.zip",)
    good_told, bad_told = found.told
    assert (good_told.name, good_told.reason, bad_told.name, bad_told.images) == ("good.zip", "", "bad.zip", 0)
    assert re.search(seen, bad_told.reason), bad_told.reason
    assert re.search(do, bad_told.do), bad_told.do
    assert isinstance(context.progress, Heard)
    [line] = [line for line in context.progress.said if line.startswith("bad.zip is left out: ")]
    assert str(tmp_path) not in f"{line} {bad_told.reason} {bad_told.do}"


def test_one_site_goes_on_alone_with_nobody(context: Context, tmp_path: Path) -> None:
    sent = tmp_path / "sent"
    bad = [altered(sent / "a.zip", made(context.corpus)), bundle(sent / "b.zip", _changed(context.corpus, "size"))]
    with pytest.raises(
        UsageError, match=r"none of 2 received sets can be taken; a\.zip: .*; b\.zip: b\.zip has images of"
    ):
        Senders.of(bad, [], of_one_site(context))
    assert Senders.of(bad, [], context).names == ()  # two sites here still have each other
    assert Senders.of([], [], of_one_site(context)).told == ()


def test_nothing_of_an_altered_bundle_is_looked_at(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> DistilledSet:
        raise AssertionError("it was looked at")

    monkeypatch.setattr(received, "fitted", never)
    bad = altered(tmp_path / "sent" / "bad.zip", made(context.corpus))
    assert Senders.of([bad], [], context).names == ()
    with pytest.raises(AssertionError, match="looked at"):
        Senders.of([bundle(bad, made(context.corpus))], [], context)


def test_only_the_demanded_key_will_do_and_who_signed_is_told(context: Context, tmp_path: Path) -> None:
    theirs, sent = tmp_path / "theirs", tmp_path / "sent"
    for name in ("st-east", "st-west"):
        sent_bundle.make_sender(theirs, name)
        sent_bundle.trust_sender(theirs, keys_root(), name)
    files = pack(made(context.corpus), STATEMENT)
    plain = bundle(sent / "plain.zip", made(context.corpus, seed=1))
    signed = sent / "signed.zip"
    write_archive(signed, sent_bundle.signed(files, theirs, "st-east"))
    anybody = Senders.of([plain, signed, sent], [], context)
    assert anybody.names == ("plain.zip", "signed.zip")
    assert [bool(one.signer) for one in anybody.told] == [False, True, False]
    assert "Dr East (verified by the key" in anybody.told[1].origin
    assert "Dr East (unverified)" in anybody.told[0].origin
    assert (anybody.told[0].verdict, anybody.told[0].risk) == ("", "A test.")
    assert Senders.of([plain, signed], ["st-east"], context).names == ("signed.zip",)
    of_west = Senders.of([plain, signed], ["st-west"], context)
    assert of_west.names == ()
    assert "is not signed, and --trust was given" in of_west.told[0].reason
    assert "is signed by the key" in of_west.told[1].reason
    with pytest.raises(UsageError, match="nothing was received"):
        Senders.of([], ["st-east"], context)
    with pytest.raises(UsageError, match="st-north"):
        Senders.of([signed], ["st-north"], context)


def test_classes_in_another_order_and_weights_of_another_mean_come_to_the_study_s(
    context: Context, tmp_path: Path
) -> None:
    theirs = ("Pneumonia", "COVID", "Normal")
    soft = np.random.default_rng(2).dirichlet(np.ones(3), 6).astype(np.float32)
    sent = made(context.corpus, class_names=theirs, soft_labels=soft, weights=np.array([2, 4, 6, 2, 4, 6], np.float32))
    found = Senders.of([folder(tmp_path / "sent" / "set", sent)], [], context)
    assert found.names == ("sent",)  # a folder "set" is called by the one that it lies in
    assert found.sets is not None
    taken = found.sets["sent"].distilled
    assert taken.class_names == CLASSES
    assert [taken.class_names[label] for label in taken.labels] == [theirs[label] for label in sent.labels]
    assert taken.soft_labels is not None
    for column, name in enumerate(CLASSES):
        np.testing.assert_array_equal(taken.soft_labels[:, column], soft[:, theirs.index(name)])
    np.testing.assert_allclose(taken.weights, np.array([2, 4, 6, 2, 4, 6]) / 4, rtol=1e-6)
    np.testing.assert_array_equal(taken.images, sent.images)


def test_names_are_those_of_files_and_never_those_of_sites(context: Context, tmp_path: Path) -> None:
    one = bundle(tmp_path / "a" / "east", made(context.corpus))  # a site is called so
    other = bundle(tmp_path / "b" / "set.zip", made(context.corpus, seed=1))
    again = bundle(tmp_path / "c" / "set.zip", made(context.corpus, seed=2))
    assert Senders.of([one, other, again], [], context).names == ("east (2)", "set.zip", "set.zip (2)")


def test_a_set_that_does_not_fit_those_made_here_falls_out_then(context: Context, tmp_path: Path) -> None:
    paths = [bundle(tmp_path / "sent" / f"{n}.zip", made(context.corpus, seed=n)) for n in (1, 2)]
    found = Senders.of(paths, [], context)
    assert found.sets is not None
    same = found.sets["1.zip"]
    own = {"east": MergeSource("east", same.distilled, same.set_digest, sender="east")}
    left = found.beside(own, context)
    assert left.names == ("2.zip",)
    assert "the same set" in left.told[0].reason
    last = {"east": MergeSource("east", found.sets["2.zip"].distilled, found.sets["2.zip"].set_digest, sender="east")}
    assert found.beside(last, context).names == ("1.zip",), "one that is left out takes no other with it"
    assert found.beside({}, context) == found


def test_images_of_no_stated_site_are_of_this_hospital(corpus: Corpus) -> None:
    assert at_home(corpus) is corpus
    nowhere = replace(corpus, sites=np.zeros_like(corpus.sites), site_names=(NOT_STATED,))
    assert at_home(nowhere).site_names == (HOME,)
