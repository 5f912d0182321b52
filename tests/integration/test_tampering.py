"""The tampering table: what someone on the way can do to a bundle, and that `verify` refuses every row.

Each row is made from a good, signed bundle of a trusted sender; another error than those for users, a file that was
written, memory or time without bound would show.
"""

from __future__ import annotations

import stat
import struct
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from medistill.errors import MedistillError
from medistill.sharing.archive import write_archive
from medistill.sharing.bundle import Bundle
from medistill.sharing.manifest import AuditRecord, PrivacyRecord
from medistill.workflow.verify import verify
from tests.attacks import (
    Attack,
    Files,
    another_picture,
    canonical,
    counted,
    directory_with,
    each,
    end_with,
    flipped,
    held_otherwise,
    held_otherwise_plus,
    huge_png,
    key_set,
    linked,
    listing,
    manifest,
    overlapping,
    plus,
    png_with,
    put,
    quoted_overlap,
    says,
    signature,
    signature_kept,
    tensors,
    unsigned,
    with_name,
    without,
    zipped,
)
from tests.factories import sent_bundle

MOST_MEMORY = 48 * 2**20
MOST_SECONDS = 20.0


@pytest.fixture(scope="module")
def keyrings(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sender's keys, and those of a recipient who trusts the sender."""
    theirs, ours = tmp_path_factory.mktemp("theirs"), tmp_path_factory.mktemp("ours")
    sent_bundle.make_sender(theirs)
    sent_bundle.trust_sender(theirs, ours)
    return theirs, ours


@pytest.fixture(scope="module")
def good(keyrings: tuple[Path, Path]) -> Files:
    """The files of the good bundle."""
    return sent_bundle.signed(sent_bundle.unsigned(), keyrings[0])


@pytest.fixture(scope="module")
def nowhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nowhere")


DEEP = b'{"a":' * 200_000
TABLE: list[tuple[str, Attack, str]] = [
    # what happens on a bad line or a bad disk
    ("one bit flipped in the images", lambda f: flipped(f, "images.safetensors"), "checksum"),
    ("one bit flipped in the data card", lambda f: flipped(f, "README.md"), "checksum"),
    ("cut off by one byte", lambda f: canonical(f)[:-1], "cut off"),
    ("cut off in the middle", lambda f: canonical(f)[: len(canonical(f)) // 2], "cut off"),
    ("cut off in front", lambda f: canonical(f)[1:], "cut off"),
    ("a hole in the middle", lambda f: canonical(f)[:400] + canonical(f)[900:], "cut off"),
    ("empty", lambda f: b"", "cut off, or is something else"),
    ("a picture", lambda f: f["contact_sheet.png"], "something else"),
    ("an archive of nothing", lambda f: canonical({}), "manifest.json.*missing"),
    # zipped again
    ("compressed", lambda f: zipped(sorted(f.items()), zipfile.ZIP_DEFLATED), "is compressed"),
    ("compressed by bzip2", lambda f: zipped(sorted(f.items()), zipfile.ZIP_BZIP2), "is compressed"),
    ("compressed by lzma", lambda f: zipped(sorted(f.items()), zipfile.ZIP_LZMA), "is compressed"),
    ("in another order", lambda f: zipped(sorted(f.items(), reverse=True)), "not in the order"),
    ("with dates", each("date_time", (2026, 11, 21, 9, 30, 0)), "zipped it again"),
    ("with other modes", each("external_attr", (stat.S_IFREG | 0o755) << 16), "zipped it again"),
    ("from another system", each("create_system", 0), "zipped it again"),
    ("with extra fields", each("extra", struct.pack("<HHI", 0x5455, 4, 1)), "extra field"),
    ("with comments of files", each("comment", b"hello"), "has a comment"),
    ("with a comment", lambda f: zipped(sorted(f.items()), comment=b"hello"), "comment"),
    ("something before it", lambda f: b"#!/bin/sh\n" + canonical(f), "something stands before it"),
    ("something after it", lambda f: canonical(f) + b"\0", "appended"),
    ("a second archive after it", lambda f: canonical(f) + canonical({"README.md": b""}), "something stands before"),
    ("with folders", plus("previews/", b""), "is a folder"),
    # names
    ("a path that climbs", plus("../../.ssh/authorized_keys"), "leads out"),
    ("a path that climbs later", plus("previews/../../x.png"), "leads out"),
    ("a long path that climbs", plus("../" * 200 + "etc/passwd"), "leads out"),
    ("an absolute path", plus("/etc/passwd"), "absolute path"),
    ("a drive", plus("C:evil.png"), "absolute path"),
    ("a backslash", with_name(b"previews\\9999.png"), "backslash"),
    ("a backslash that climbs", with_name(b"..\\..\\evil.png"), "backslash"),
    ("a NUL", with_name(b"README.md\0.exe"), "NUL"),
    ("no name", plus(""), "does not belong"),
    ("bytes that are no UTF-8", with_name(b"previews/\xff\xfe"), "does not belong"),
    ("a name that is there already", lambda f: zipped(sorted([*f.items(), ("README.md", b"x")])), "the one before it"),
    ("a name that differs in capitals", plus("readme.md"), "capitals alone"),
    ("a name in other capitals", plus("Previews/0000.PNG"), "capitals alone"),
    ("a symbolic link", lambda f: linked(f), "symbolic link"),
    # files
    ("a file that belongs in no bundle", plus("run.sh"), "does not belong"),
    ("a pickle", plus("weights.pkl"), "does not belong"),
    ("an archive inside", plus("inner.zip", canonical({"README.md": b""})), "does not belong"),
    ("a file that is not listed", plus("previews/0099.png"), "does not list it"),
    *((f"without {n}", without(n), "missing") for n in ("README.md", "labels.csv", "images.safetensors")),
    ("without a preview", without("previews/0002.png"), "missing"),
    ("without the manifest", without("manifest.json"), "missing"),
    ("one more preview, listed", held_otherwise_plus("previews/0004.png"), "one preview an image"),
    ("an archive for the report", held_otherwise_plus("report.html", canonical({"README.md": b""})), "belong together"),
    # lies of the archive
    ("encrypted", directory_with(8, "<H", 1), "encrypted"),
    ("strongly encrypted", directory_with(8, "<H", 0x41), "encrypted"),
    ("a method that is not used", directory_with(10, "<H", 99), "is compressed"),
    ("sizes after the data", directory_with(8, "<H", 8), "zipped it again"),
    ("zip64 sizes", directory_with(24, "<I", 0xFFFFFFFF), "zip64"),
    ("a zip64 place", directory_with(42, "<I", 0xFFFFFFFF), "zip64"),
    ("a zip64 end", end_with(10, "<H", 0xFFFF), "zip64"),
    ("a zip64 directory", end_with(16, "<I", 0xFFFFFFFF), "zip64"),
    ("a size that is too large", directory_with(24, "<I", 2**31), "two sizes"),
    ("a size that is too small", directory_with(20, "<I", 1), "two sizes"),
    ("a place inside another file", directory_with(42, "<I", 7), "overlap"),
    ("another disk", directory_with(34, "<H", 1), "zipped it again"),
    ("parts on other disks", end_with(4, "<H", 1), "several parts"),
    ("more entries than there are", lambda f: counted(f, 1), "missing from its directory"),
    ("fewer entries than there are", lambda f: counted(f, -1), "goes on"),
    ("60,000 entries", lambda f: counted(f, 60_000), "declares 600"),
    ("a directory in front", end_with(16, "<I", 0), "something stands before"),
    ("a directory of 4 GB", end_with(12, "<I", 0xFFFFFFF0), "declares"),
    ("a long name without its bytes", directory_with(28, "<H", 0xFFFF), "does not belong|zipped it again|in its name"),
    ("headers that differ", lambda f: canonical(f).replace(b"README.md", b"README.mb", 1), "differs from the one"),
    # bombs
    ("a bomb", lambda f: zipped([("README.md", b"\0" * 2**26)], zipfile.ZIP_DEFLATED), "is compressed"),
    ("overlapping files", overlapping, "overlap"),
    ("files that quote each other", quoted_overlap, "overlap"),
    # the manifest
    ("no JSON", manifest(lambda d: b"{"), "JSON"),
    ("deep JSON", manifest(lambda d: DEEP), "JSON"),
    ("no object", manifest(lambda d: b"[]"), "no JSON object|not the manifest"),
    ("no UTF-8", manifest(lambda d: b"\xff\xfe" + d), "JSON"),
    ("a byte order mark", manifest(lambda d: b"\xef\xbb\xbf" + d), "JSON"),
    ("a number without end", manifest(lambda d: d.replace(b'"bytes": ', b'"bytes": ' + b"9" * 5000, 1)), "JSON"),
    ("NaN", manifest(lambda d: d.replace(b'"acknowledged_risk": "A test."', b'"acknowledged_risk": NaN')), "NaN"),
    ("a key twice", manifest(lambda d: d.replace(b'"schema": 1', b'"schema": 1,\n  "schema": 1')), "twice"),
    ("half a character", manifest(lambda d: d.replace(b"A test.", b"\\ud800")), "surrogates|no place"),
    (
        "a line that clears the screen",
        manifest(lambda d: d.replace(b"A test.", b"\\u001b[2J")),
        "character",
    ),
    ("a line that runs backwards", manifest(lambda d: d.replace(b"A test.", "\u202ex".encode())), "character"),
    ("schema 2", manifest(key_set("schema", 2)), "schema"),
    ("schema true", manifest(key_set("schema", True)), "schema"),
    ("no schema", manifest(key_set("schema", None)), "schema"),
    ("another kind", manifest(key_set("kind", "medistill run")), "manifest"),
    ("a field more", manifest(key_set("run_this", "rm -rf /")), "run_this"),
    ("no list of files", manifest(key_set("files", {})), "missing|does not list"),
    ("itself in the list", manifest(listing("manifest.json")), "missing"),
    ("a path in the list", manifest(listing("../../etc/passwd")), "missing"),
    ("other classes", manifest(lambda d: d.replace(b'"Normal"', b'"Healthy"')), "does not agree"),
    (
        "an audit without its record",
        says(audit=AuditRecord(verdict="pass", set_digest="0" * 64, thresholds={})),
        "audit",
    ),
    (
        "a guarantee that the set has not",
        says(privacy=PrivacyRecord(epsilon=1.0, delta=1e-5, unit="patient", mechanism="DP-SGD", accountant="prv")),
        "privacy",
    ),
    # the set
    ("NaN in an image", tensors(images=put((1, 0, 2, 3), np.nan)), "NaN or infinite"),
    ("infinity in an image", tensors(images=put((1, 0, 2, 3), np.inf)), "NaN or infinite"),
    ("an image out of range", tensors(images=put((1, 0, 2, 3), 1e30)), "images"),
    ("NaN in a weight", tensors(weights=put((1,), np.nan)), "NaN or infinite"),
    ("a negative weight", tensors(weights=put((1,), -5.0)), "weight"),
    ("a label without a class", tensors(labels=put((1,), 7)), "label"),
    ("a negative label", tensors(labels=put((1,), -1)), "label"),
    ("a learning rate of NaN", tensors(student_lr=put((0,), np.nan)), "learning rate"),
    ("a learning rate below zero", tensors(student_lr=put((0,), -1.0)), "learning rate"),
    ("a deviation of zero", tensors(std=put((0,), 0.0)), "normalisation"),
    ("images of another kind", tensors(images=lambda a: a.astype(np.float64)), "float32"),
    ("images of another shape", tensors(images=lambda a: a.reshape(4, 8, 8)), "images"),
    ("fewer images", tensors(images=lambda a: a[:3]), "one entry an image"),
    ("no images", tensors(images=lambda a: a[:0]), "images are"),
    ("another image for people", tensors(viewable=lambda a: 255 - a), "people"),
    ("one tensor more", held_otherwise(images_safetensors=lambda d: save({**load(d), "x": np.zeros(9)})), "more than"),
    ("metadata", held_otherwise(images_safetensors=lambda d: save(load(d), {"patient": "x"})), "more than"),
    ("a tensor less", held_otherwise(images_safetensors=lambda d: save({"images": load(d)["images"]})), "missing"),
    (
        "a header of 2**63 bytes",
        held_otherwise(images_safetensors=lambda d: b"\xff" * 7 + b"\x7f" + d[8:]),
        "safetensors",
    ),
    (
        "a header past the end",
        held_otherwise(images_safetensors=lambda d: struct.pack("<Q", 10**7) + d[8:]),
        "safetensors",
    ),
    ("a deep header", held_otherwise(images_safetensors=lambda d: struct.pack("<Q", len(DEEP)) + DEEP), "safetensors"),
    ("no tensors", held_otherwise(images_safetensors=lambda d: b""), "safetensors"),
    # what stands beside the set
    ("other labels in the table", held_otherwise(labels_csv=lambda d: d.replace(b"Normal", b"Healthy")), "labels.csv"),
    ("another picture", held_otherwise(previews_0001_png=another_picture), "does not show"),
    ("words in a picture", held_otherwise(previews_0001_png=png_with(b"tEXt", b"name\0John")), "something else"),
    ("something behind a picture", held_otherwise(previews_0001_png=lambda d: d + b"John"), "behind its end"),
    ("a picture of 2.5 thousand million pixels", held_otherwise(previews_0001_png=huge_png), "previews/0001.png"),
    ("a sheet of 2.5 thousand million pixels", held_otherwise(contact_sheet_png=huge_png), "contact_sheet.png"),
    ("no picture", held_otherwise(previews_0001_png=lambda d: b"GIF89a"), "no PNG"),
    # the signature
    ("content and list changed, signature kept", signature_kept, "does not fit the manifest"),
    (
        "the manifest changed, signature kept",
        lambda f: canonical(sent_bundle.listed_anew(f, sender="Other")),
        "not fit",
    ),
    ("a signature that is no JSON", lambda f: canonical({**f, "manifest.sig": b"\x30\x45"}), "signature"),
    ("a deep signature", lambda f: canonical({**f, "manifest.sig": DEEP}), "signature"),
    ("a signature of 8 MiB", lambda f: canonical({**f, "manifest.sig": b"[" + b"0," * 2**22 + b"0]"}), "at most"),
    ("an empty signature", lambda f: canonical({**f, "manifest.sig": b"{}"}), "manifest.sig"),
    ("a signature of zeros", signature(signature="A" * 86 + "=="), "does not fit"),
    ("a key of zeros", signature(public_key="A" * 43 + "="), "does not fit"),
    ("algorithm none", signature(algorithm="none"), "algorithm"),
    ("a signature of schema 2", signature(schema=2), "schema"),
    ("another name of the key", signature(key_name="../x"), "of another kind"),
    ("a field more in the signature", signature(note="x"), "spelt"),
]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(("what", "attack", "reason"), TABLE, ids=[what for what, _, _ in TABLE])
def test_it_is_refused_with_its_reason(
    what: str,
    attack: Attack,
    reason: str,
    good: Files,
    keyrings: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent = tmp_path / "bundle.zip"
    sent.write_bytes(attack(dict(good)))
    monkeypatch.setenv("MEDISTILL_KEYS", str(keyrings[1]))
    monkeypatch.chdir(tmp_path)
    tracemalloc.start()
    began = time.monotonic()
    with pytest.raises(MedistillError, match=reason) as refused:
        verify(sent, today=sent_bundle.TODAY)
    seconds, (_, memory) = time.monotonic() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refused.value.exit_code == 3
    assert str(refused.value).isprintable()
    assert seconds < MOST_SECONDS
    assert memory < MOST_MEMORY + 4 * sent.stat().st_size
    assert [path.name for path in tmp_path.iterdir()] == ["bundle.zip"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_no_two_rows_are_the_same_bytes_and_none_is_the_good_one(good: Files) -> None:
    made = [attack(dict(good)) for _, attack, _ in TABLE]
    assert canonical(good) not in made
    assert len(set(made)) == len(made)


def test_the_good_one_passes(
    good: Files, keyrings: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bundle.zip").write_bytes(canonical(good))
    monkeypatch.setenv("MEDISTILL_KEYS", str(keyrings[1]))
    assert verify(tmp_path / "bundle.zip", today=sent_bundle.TODAY).signer == sent_bundle.SENDER


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_whatever_bytes_change_the_bundle_opens_equal_or_is_refused(
    good: Files, nowhere: Path, data: st.DataObject
) -> None:
    held = bytearray(canonical(good))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(held) - 1))
        match data.draw(st.sampled_from(["set", "cut", "insert"])):
            case "set":
                held[place] = data.draw(st.integers(0, 255))
            case "cut":
                del held[place : place + data.draw(st.integers(1, 99))]
            case "insert":
                held[place:place] = data.draw(st.binary(min_size=1, max_size=30))
    sent = nowhere / "bundle.zip"
    sent.write_bytes(held)
    try:
        assert dict(Bundle.open(sent).files) == good
    except MedistillError:
        assert bytes(held) != canonical(good)


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_whatever_a_file_holds_that_its_manifest_fits_it_opens_or_is_refused(
    good: Files, nowhere: Path, data: st.DataObject
) -> None:
    """Behind the hashes: the attacker lists what was changed, and the readers of each kind see it."""
    name = data.draw(st.sampled_from(["images.safetensors", "labels.csv", "previews/0000.png", "contact_sheet.png"]))
    held = bytearray(good[name])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, min(len(held) - 1, 1200)))
        held[place] = data.draw(st.integers(0, 255))
    changed = sent_bundle.listed_anew({**unsigned(good), name: bytes(held)})
    sent = nowhere / "bundle.zip"
    write_archive(sent, changed)
    try:
        found = Bundle.open(sent)
    except MedistillError:
        assert bytes(held) != good[name]
    else:
        assert np.isfinite(found.distilled.images).all()
        assert dict(found.files) == changed
