"""What a recipient uses is what `verify` accepts: signatures, claims and a recipe's limits, through every command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from medistill.artifacts.classifier import Classifier
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.quantised_summary import QuantisedSummary
from medistill.errors import ArtifactError
from medistill.recipe import load_recipe
from medistill.sharing import bundle as bundles
from medistill.sharing.archive import read_archive, write_archive
from medistill.sharing.bundle import Bundle, pack
from medistill.sharing.keys import find_key
from medistill.sharing.statement import Statement
from medistill.workflow.received import receive
from medistill.workflow.share import share
from medistill.workflow.train_classifier import train_classifier
from medistill_cli.main import app
from tests.factories import sent_bundle
from tests.settings_restored import settings_restored

SMALL = ("data.image_size=16", "network.depth=2", "network.width=4", "evaluate.networks=1", "evaluate.epochs=2")
USES = {
    "train": ("train", "{}", "--out", "made"),
    "merge": ("merge", "{}", "plain.zip", "--out", "made"),
    "evaluate": ("evaluate", "{}", "--out", "made"),
    "audit": ("audit", "{}", "--out", "made"),
    "export": ("export", "{}", "--out", "made"),
    "push": ("push", "{}", "--dicomweb", "http://127.0.0.1:9/dicom-web"),
}


def set_of(number: int, **recipe: dict[str, int]) -> DistilledSet:
    """Four images of 16 x 16 with a recipe inside."""
    small, stated = sent_bundle.small_set(), load_recipe("demo", SMALL).model_dump(mode="json")
    for section, changes in recipe.items():
        stated[section] |= changes
    return replace(
        small,
        images=np.random.default_rng(number).normal(size=(4, 1, 16, 16)).astype(np.float32),
        provenance={**small.provenance.as_json(), "recipe": stated, "synthetic_source": True},
    )


def packed(distilled: DistilledSet) -> dict[str, bytes]:
    return pack(
        distilled, Statement(licence="CC0-1.0", intended_use="Tests", sender="St Example", acknowledged_risk="A test.")
    )


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in, with a bundle that is signed, one that is not, the sender's keys, and none of ours."""
    monkeypatch.setenv("MEDISTILL_KEYS", str(tmp_path / "ours"))
    monkeypatch.chdir(tmp_path)
    sent_bundle.make_sender(tmp_path / "theirs")
    write_archive(tmp_path / "signed.zip", sent_bundle.signed(packed(set_of(1)), tmp_path / "theirs"))
    write_archive(tmp_path / "plain.zip", packed(set_of(2)))
    with settings_restored():
        yield tmp_path


def typed(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


@pytest.mark.parametrize("command", USES)
def test_no_command_uses_what_verify_refuses(command: str, place: Path) -> None:
    told = typed(*[word.format("signed.zip") for word in USES[command]])
    assert (told.exit_code, told.stdout) == (3, "")
    assert "signed by a key that is not known here" in told.stderr
    assert typed("verify", "signed.zip").stderr in told.stderr
    sent_bundle.trust_sender(place / "theirs", place / "ours")
    demanded = typed(*[word.format("plain.zip") for word in USES[command]], "--trust", sent_bundle.SENDER)
    assert demanded.exit_code == 3
    assert "is not signed, and --trust was given" in demanded.stderr
    assert not (place / "made").exists()


@pytest.mark.parametrize("command", USES)
def test_no_command_uses_a_set_that_contradicts_what_is_said_of_it(command: str, place: Path) -> None:
    files = packed(set_of(3))
    mean = QuantisedSummary(min_cluster_size=5, smallest_cluster=9)
    provenance = Bundle.of_files(files).manifest.provenance.model_copy(update={"quantisation": mean})
    write_archive(place / "lie.zip", sent_bundle.listed_anew(files, provenance=provenance))
    told = typed(*[word.format("lie.zip") for word in USES[command]])
    assert told.exit_code == 3
    assert "cannot be: the images began as real" in told.stderr
    assert not (place / "made").exists()


def test_a_classifier_says_which_key_vouches_for_its_set(place: Path) -> None:
    sent_bundle.trust_sender(place / "theirs", place / "ours")
    key = find_key(place / "ours", sent_bundle.SENDER)
    for source, signer in (("signed.zip", key.fingerprint), ("plain.zip", None)):
        out = source.removesuffix(".zip")
        told = typed("train", source, "--out", out, "--json")
        assert told.exit_code == 0, told.stderr
        result, kept = json.loads(told.stdout), Classifier.load(place / out).provenance
        assert (result["set_verified"], result["set_signer"]) == (signer is not None, signer)
        assert (kept.set_verified, kept.set_signer) == (signer is not None, signer)
        assert ("(unverified)" in told.stderr) == (signer is None)
        assert (key.fingerprint in told.stderr) == (signer is not None)
    received = receive("plain.zip")
    unsaid = train_classifier(received.distilled, load_recipe("demo", SMALL), out=place / "api").provenance
    assert unsaid.set_verified is False


def test_a_united_set_calls_each_sender_verified_or_not_and_believes_no_claim(place: Path) -> None:
    sent_bundle.trust_sender(place / "theirs", place / "ours")
    key = find_key(place / "ours", sent_bundle.SENDER)
    told = typed("merge", "signed.zip", "plain.zip", "--out", "united")
    assert told.exit_code == 0, told.stderr
    sources = DistilledSet.load(place / "united").provenance.sources
    assert [source.signer for source in sources] == [key.fingerprint, None]
    assert "unverified" in told.stdout
    share("united", out="united.zip", licence="CC0-1.0", intended_use="Tests", acknowledged_risk="A test.")
    card = Bundle.open("united.zip").files["README.md"].decode()
    assert f"St Example (verified by the key {key.fingerprint}) | 0 to 3" in card
    assert "St Example (unverified) | 4 to 7" in card
    write_archive(place / "other.zip", packed(set_of(7)))
    again = typed("merge", "united.zip", "other.zip", "--out", "again")
    assert again.exit_code == 0, again.stderr
    sources = DistilledSet.load(place / "again").provenance.sources
    assert not [one for one in sources if "signer" in one.as_json()], "united.zip is not signed: its word is not enough"
    shown = typed("verify", "united.zip", "--json")
    said = [check["told"] for check in json.loads(shown.stdout)["checks"] if check["name"] == "United from"]
    assert len(said) == 2
    assert all("(unverified)" in one for one in said)


def test_an_expired_key_and_a_folder_vouch_for_nothing(place: Path) -> None:
    sent_bundle.make_sender(place / "theirs", "ward-7", valid_days=3)
    sent_bundle.trust_sender(place / "theirs", place / "ours", "ward-7")
    write_archive(place / "old.zip", sent_bundle.signed(packed(set_of(4)), place / "theirs", "ward-7"))
    last = sent_bundle.TODAY + timedelta(days=3)
    assert receive("old.zip", trust=["ward-7"], today=last).signer is not None
    with pytest.raises(ArtifactError, match="expired"):
        receive("old.zip", today=last + timedelta(days=1))
    set_of(5).save(place / "folder")
    received = receive("folder")
    assert received.signer is None
    assert "unverified" in received.origin
    with pytest.raises(ArtifactError, match="is a folder, and --trust was given"):
        receive("folder", trust=["ward-7"])


def test_what_is_used_is_what_was_checked_since_a_bundle_is_read_once(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def once(path: str | Path) -> dict[str, bytes]:
        read.append(str(path))
        files = dict(read_archive(path))
        Path(path).unlink()
        write_archive(Path(path), packed(set_of(9)))  # somebody changes it as soon as it was read
        return files

    write_archive(place / "third.zip", packed(set_of(8)))
    monkeypatch.setattr(bundles, "read_archive", once)
    told = typed("merge", "plain.zip", "third.zip", "--out", "made", "--label-map", "Normal=Healthy")
    assert told.exit_code == 0, told.stderr
    assert read == ["plain.zip", "third.zip"]
    united = DistilledSet.load(place / "made")
    assert united.class_names == ("Healthy", "Pneumonia")
    assert np.array_equal(united.images, np.concatenate([set_of(2).images, set_of(8).images]))


@pytest.mark.parametrize("command", ["train", "merge", "evaluate", "audit"])
def test_a_received_recipe_that_asks_for_too_much_is_refused(command: str, place: Path) -> None:
    for section, key, value in (("network", "width", 20_000), ("evaluate", "epochs", 10**9)):
        write_archive(place / f"{key}.zip", packed(set_of(6, **{section: {key: value}})))
        told = typed(*[word.format(f"{key}.zip") for word in USES[command]])
        assert told.exit_code == 2
        assert f"{section}.{key} = {value}" in told.stderr
        assert "--allow-large-recipe" in told.stderr
        assert not (place / "made").exists()


def test_a_large_recipe_can_be_replaced_or_allowed(place: Path) -> None:
    write_archive(place / "epochs.zip", packed(set_of(6, evaluate={"raw_epochs": 2001})))
    for more in (["--set", "evaluate.raw_epochs=2"], ["--allow-large-recipe"]):
        told = typed("train", "epochs.zip", "--out", f"made-{len(more)}", *more)
        assert told.exit_code == 0, told.stderr
    merged = typed("merge", "epochs.zip", "plain.zip", "--out", "made", "--allow-large-recipe")
    assert merged.exit_code == 0, merged.stderr
    tested = typed("train", "made", "--out", "m")
    assert tested.exit_code == 2
    assert "evaluate.raw_epochs = 2001" in tested.stderr


def test_a_network_that_no_machine_holds_is_refused_before_the_work_and_the_advice_fits(place: Path) -> None:
    told = typed("train", "plain.zip", "--out", "made", "--set", "network.width=65536")
    assert told.exit_code == 3
    assert "network.width" in told.stderr
    assert "micro_batch" not in told.stderr
    assert not (place / "made").exists()
