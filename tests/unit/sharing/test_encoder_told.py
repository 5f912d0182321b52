"""Of a set that was made with an encoder: what leaves with it, what a recipient is told, what contradicts itself."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from medistill.artifacts.distilled_set import DistilledSet
from medistill.encoders.store import remove_encoder
from medistill.errors import ArtifactError, DataError, UsageError
from medistill.networks.registry import spec_of
from medistill.recipe import load_recipe
from medistill.report.encoder_statements import NOT_EXPECTED, NOT_MEASURED
from medistill.sharing.archive import write_archive
from medistill.sharing.bundle import Bundle, pack
from medistill.sharing.merge_source import MergeSource
from medistill.sharing.merging import merge_sets
from medistill.sharing.pages import unconfirmed_pages
from medistill.sharing.statement import Statement
from medistill.workflow.encoder_here import other_network, require_encoder
from medistill.workflow.provenance import encoder_summary
from medistill.workflow.verify import verify
from tests.factories.encoder_told import ENCODER, encoded_set, recipe_of
from tests.factories.sent_bundle import listed_anew, small_set
from tests.factories.tiny_encoder import stored_tiny, tiny_architecture

STATEMENT = Statement(licence="CC0-1.0", intended_use="Tests", acknowledged_risk="a test")
EVERYTHING = (
    ENCODER.architecture, ENCODER.sha256, ENCODER.licence, ENCODER.trained_on, ENCODER.source,
    "stage2, stage3 and head",
)  # fmt: skip


def source(distilled: DistilledSet, name: str) -> MergeSource:
    return MergeSource(
        name, distilled, hashlib.sha256(distilled.training_bytes()).hexdigest(), sender=name, label_map={}
    )


def test_a_bundle_says_which_and_where_it_can_be_had_and_does_not_hold_it() -> None:
    files = pack(encoded_set(), STATEMENT)
    opened = Bundle.of_files(files)
    assert opened.manifest.provenance.encoder == opened.distilled.provenance.encoder == ENCODER
    assert unconfirmed_pages(opened) == ()
    assert {name for name in files if name.endswith(".safetensors")} == {"images.safetensors"}
    card, described = files["README.md"].decode(), json.loads(files["croissant.json"])["description"]
    for told in EVERYTHING:
        assert told in card.replace("\\", "")
        assert told in described
    assert card.count(NOT_EXPECTED) == 2, "beside the figures, and where it is not for"
    assert NOT_MEASURED in card.replace("\\", "")
    assert "medistill encoder add encoder/\nmedistill train bundle.zip --out model/" in card
    assert "--network" not in card
    assert "probe network" not in card


def test_a_set_for_pixels_says_nothing_of_encoders() -> None:
    files = pack(small_set(), STATEMENT)
    assert "encoder" not in json.loads(files["manifest.json"])["provenance"]
    assert "encoder" not in files["README.md"].decode()
    assert "--network resnet18" in files["README.md"].decode()


def test_the_dicom_objects_say_it() -> None:
    dicom = pytest.importorskip("medistill.sharing.dicom", reason="the dicom extra is not installed")
    assert dicom._contribution(encoded_set()) == (
        "Distilled images by trajectory matching (IADD), for the encoder efficientnet_lite0, SHA-256 0123456789ab"
    )


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ({"name": "probe", "encoder": "f" * 64}, "names ffffffffffff"),
        ({"name": "convnet", "encoder": ""}, "names none"),
        ({"name": "probe"}, "names none"),
        (5, "names none"),
    ],
)
def test_a_bundle_that_tells_of_another_encoder_than_its_recipe_is_refused(network: Any, said: str) -> None:
    files = pack(encoded_set(), STATEMENT)
    provenance = {**encoded_set().provenance.as_json(), "recipe": {**recipe_of(), "network": network}}
    distilled = replace(encoded_set(), provenance=provenance)
    told = Bundle.of_files(files).manifest.provenance.replaced(recipe=distilled.provenance.recipe)
    with pytest.raises(ArtifactError, match=f"states the encoder 0123456789ab, and its recipe {said}"):
        Bundle.of_files(listed_anew(files, provenance=told))


def test_verify_tells_whether_it_is_here(tmp_path: Path) -> None:
    write_archive(tmp_path / "sent.zip", pack(encoded_set(), STATEMENT))
    (check,) = [one for one in verify(tmp_path / "sent.zip", today=date(2026, 11, 30)).checks if one.name == "Encoder"]
    assert check.state == "declared"
    for told in (ENCODER.words, ENCODER.trained_on, ENCODER.licence, "it is not here, and not in the bundle; from the"):
        assert told in check.told
    with tiny_architecture():
        here = encoder_summary(stored_tiny(tmp_path / "tiny"))
        told_here = encoded_set(encoder=here.as_json(), recipe=recipe_of(here))
        write_archive(tmp_path / "here.zip", pack(told_here, STATEMENT))
        (check,) = [
            one for one in verify(tmp_path / "here.zip", today=date(2026, 11, 30)).checks if one.name == "Encoder"
        ]
    assert check.told.endswith("; it is here")


def test_who_has_it_not_is_told_hash_licence_and_source(tmp_path: Path) -> None:
    settings = ["network.name=probe", "data.image_size=128"]
    with pytest.raises(UsageError) as raised:
        require_encoder(
            encoded_set().provenance,
            load_recipe("covid-xray-cpu", [*settings, f"network.encoder={ENCODER.sha256}"]),
        )
    assert ENCODER.sha256 in raised.value.seen
    assert ENCODER.licence in raised.value.expected
    assert ENCODER.source in raised.value.expected
    assert "medistill encoder add" in raised.value.do
    require_encoder(encoded_set().provenance, load_recipe("covid-xray-cpu"))
    with tiny_architecture():
        encoder = stored_tiny(tmp_path / "tiny")
        known = encoded_set(encoder=encoder_summary(encoder).as_json()).provenance
        recipe = load_recipe("covid-xray-cpu", [*settings, f"network.encoder={encoder.sha256}"])
        require_encoder(known, recipe)
        remove_encoder(encoder.sha256)
        with pytest.raises(UsageError, match=encoder.sha256):
            require_encoder(known, recipe)


def test_another_network_than_the_set_s_is_a_note(tmp_path: Path) -> None:
    known, convnet = encoded_set().provenance, load_recipe("covid-xray-cpu")
    pixels = spec_of(convnet.network, 1, 128, 2)
    assert NOT_EXPECTED in other_network(known, pixels)
    assert other_network(small_set().provenance, pixels) == ""
    assert other_network(encoded_set(method="DDOQ").provenance, pixels) == "", "means of originals are for any network"
    with tiny_architecture():
        encoder = stored_tiny(tmp_path / "tiny")
        probe = spec_of(convnet.network.of("probe").model_copy(update={"encoder": encoder.sha256}), 1, 128, 2)
        assert "another encoder" in other_network(known, probe)
        assert other_network(encoded_set(encoder=encoder_summary(encoder).as_json()).provenance, probe) == ""


def test_sets_for_one_encoder_are_united_and_for_others_refused() -> None:
    one = encoded_set()
    other = replace(one, images=one.images + 1)
    assert merge_sets([source(one, "east"), source(other, "west")]).provenance.encoder == ENCODER
    further = encoded_set(encoder={**ENCODER.as_json(), "sha256": "f" * 64})
    for west in (replace(further, images=one.images + 1), replace(small_set(), images=one.images + 1)):
        with pytest.raises(
            DataError, match=r"different encoders \(east: efficientnet_lite0, SHA-256 0123456789ab; west"
        ):
            merge_sets([source(one, "east"), source(west, "west")])
