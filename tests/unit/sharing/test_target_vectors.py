"""Target vectors on their way: what is said of them, what cannot be united or sent, and what contradicts itself."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.encoder_summary import EncoderSummary
from medistill.errors import ArtifactError, DataError, UsageError
from medistill.recipe import load_recipe
from medistill.sharing.bundle import Bundle, pack
from medistill.sharing.dd_ranking import dd_ranking_tensors
from medistill.sharing.labels import labels_csv
from medistill.sharing.merge_source import MergeSource
from medistill.sharing.merging import merge_sets
from medistill.sharing.outgoing import outgoing_recipe
from medistill.sharing.statement import Statement
from tests.factories.encoder_told import ENCODER
from tests.factories.sent_bundle import small_set

SAID = Statement(licence="CC-BY-4.0", intended_use="Tests.", acknowledged_risk="A test.")
WIDTH = 6
OTHER = ENCODER.model_copy(update={"sha256": "f" * 64})


def taught(seed: int = 0, teacher: EncoderSummary | None = ENCODER, named: str | None = None, **changes: Any) -> Any:
    """The small set, made by KRR-ST, whose recipe names a teacher; by default the one that it states."""
    named = named if named is not None else "" if teacher is None else teacher.sha256
    recipe = outgoing_recipe(
        load_recipe("covid-xray-krr-st", [f'method.teacher="{named}"', "method.init=real"]).model_dump(mode="json")
    )
    targets = np.random.default_rng(seed).normal(size=(4, WIDTH)).astype(np.float32)
    stated = {} if teacher is None else {"teacher": teacher.as_json()}
    told = {**small_set().provenance.as_json(), "method": "KRR-ST", "recipe": recipe, **stated}
    found = replace(small_set(), soft_labels=targets, label_kind="targets", provenance=told)
    return replace(found, images=found.images + seed, **changes)


def opened(distilled: DistilledSet) -> Bundle:
    """The set, sent and received."""
    return Bundle.of_files(pack(distilled, SAID))


def test_a_bundle_brings_them_to_the_bit_and_says_whose_features_they_are() -> None:
    files = pack(taught(), SAID)
    bundle = opened(taught())
    assert bundle.distilled.by_targets
    assert bundle.distilled.soft_labels is not None
    assert bundle.distilled.soft_labels.tobytes() == taught().soft_labels.tobytes()
    assert bundle.manifest.provenance.teacher == ENCODER
    card = " ".join(files["README.md"].decode().split())
    for said in (
        "Each image carries a target vector, learned with it: no class",
        "`targets` (target vectors to pretrain on by the mean squared error)",
        "frozen encoder has of what the images began as",
        ENCODER.sha256,
        "nobody needs it to train on the set",
    ):
        assert said in card
    for wrong in ("probabilities of all classes", "half the squared error", "medistill encoder add"):
        assert wrong not in card


def test_tables_for_people_leave_them_out_and_say_where_they_are() -> None:
    files = pack(taught(), SAID)
    hard = replace(taught(), soft_labels=None)
    assert labels_csv(taught()) == labels_csv(hard)
    told = json.loads(files["croissant.json"])
    names = [field["name"] for field in told["recordSet"][0]["field"]]
    assert names == ["index", "file", "class", "weight", "stage", "image"]
    assert "They lie in images.safetensors as targets." in told["description"]


@pytest.mark.parametrize(
    ("distilled", "said"),
    [
        (lambda: taught(named=OTHER.sha256), "states the teacher 0123456789ab, and its recipe names ffffffffffff"),
        (lambda: taught(teacher=None, named=OTHER.sha256), "states the teacher none, and its recipe names ffffff"),
        (lambda: taught(teacher=None), "has target vectors, and does not say whose features"),
        (lambda: replace(taught(), soft_labels=None), "states the teacher 0123456789ab, and has no target vectors"),
    ],
)
def test_a_bundle_that_contradicts_itself_about_its_teacher_is_refused(distilled: Any, said: str) -> None:
    with pytest.raises(ArtifactError, match=said):
        opened(distilled())


def test_dd_ranking_has_no_place_for_them() -> None:
    with pytest.raises(UsageError, match=r"labels are values .*medistill evaluate"):
        dd_ranking_tensors(taught())


def source(name: str, distilled: DistilledSet, **label_map: str) -> MergeSource:
    digest = hashlib.sha256(distilled.training_bytes()).hexdigest()
    return MergeSource(name, distilled, digest, sender=f"Hospital {name}", label_map=label_map)


def test_sets_of_one_teacher_are_united_whatever_their_classes_are_called() -> None:
    one, other = taught(1), taught(2, class_names=("Pneumonia", "healthy"))
    united = merge_sets([source("east", one), source("west", other, healthy="Normal")])
    assert united.by_targets
    assert united.soft_labels is not None
    np.testing.assert_array_equal(united.soft_labels, np.concatenate([one.soft_labels, other.soft_labels]))
    assert united.labels.tolist() == [0, 0, 1, 1, 1, 1, 0, 0]
    assert united.provenance.teacher == ENCODER


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (lambda: taught(2, teacher=OTHER), "come from different teachers .*east: efficientnet_lite0, SHA-256 012345"),
        (lambda: taught(2, teacher=None), "come from different teachers .*west: not stated"),
        (lambda: replace(taught(2), soft_labels=np.zeros((4, 5), np.float32)), "come from different teachers"),
        (lambda: replace(taught(2), soft_labels=None), "labels of east are target vectors to pretrain on"),
        (
            lambda: replace(taught(2), soft_labels=np.zeros((4, 2), np.float32), label_kind="values"),
            "labels of east are target vectors to pretrain on",
        ),
    ],
)
def test_others_are_not(other: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        merge_sets([source("east", taught(1)), source("west", other())])


def test_dicom_objects_name_the_teacher() -> None:
    dicom = pytest.importorskip("highdicom", reason="the dicom extra is not installed")
    assert dicom
    from medistill.sharing.dicom import _contribution

    told = _contribution(taught())
    assert (
        told
        == "Distilled images by kernel ridge regression (KRR-ST), taught by efficientnet_lite0, SHA-256 0123456789ab"
    )
