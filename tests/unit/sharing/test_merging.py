"""Uniting sets: nothing is lost, mixed up or made better than it is."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.normalisation import Normalisation
from medistill.artifacts.provenance import MergedPart
from medistill.artifacts.whitening import Whitening
from medistill.errors import ArtifactError, DataError, UsageError
from medistill.privacy.accounting import Guarantee
from medistill.sharing.joint_privacy import joint_privacy
from medistill.sharing.merge_source import MergeSource
from medistill.sharing.merging import merge_sets, resized_plane


@pytest.fixture
def dp_guarantee() -> Guarantee:
    return Guarantee(2.0, 1e-5, "patient", "DP-SGD", "PRV", 1.0, 1.0, 0.1, 10, 2, 1000, "last outer step")


EAST = Normalisation((0.4,), (0.2,))
WEST = Normalisation((0.6,), (0.3,))


def _set(number: int, **changes: Any) -> DistilledSet:
    rng = np.random.default_rng(number)
    values: dict[str, Any] = {
        "images": rng.standard_normal((4, 1, 8, 8)).astype(np.float32),
        "labels": np.array([0, 1, 0, 1]),
        "weights": np.array([0.5, 1.5, 1, 1], np.float32),
        "stage": np.zeros(4, np.int64),
        "student_lr": 0.01,
        "normalisation": EAST,
        "class_names": ("COVID", "Normal"),
        "provenance": {"method": "IADD", "privacy": "No formal privacy guarantee was sought in this mode."},
    }
    return DistilledSet(**{**values, **changes})


def _source(name: str, distilled: DistilledSet, **label_map: str) -> MergeSource:
    digest = hashlib.sha256(distilled.training_bytes()).hexdigest()
    return MergeSource(name, distilled, digest, sender=f"Hospital {name}", label_map=label_map)


def test_equal_conventions_leave_every_image_as_it_is() -> None:
    one, other = _set(1), _set(2)
    united = merge_sets([_source("east", one), _source("west", other)])
    assert np.array_equal(united.images, np.concatenate([one.images, other.images]))
    assert united.labels.tolist() == [0, 1, 0, 1] * 2
    assert united.student_lr == 0.01
    assert united.normalisation == EAST
    assert united.soft_labels is None
    assert [(s.sender, s.first, s.images) for s in united.provenance.sources] == [
        ("Hospital east", 0, 4),
        ("Hospital west", 4, 4),
    ]


def test_classes_are_united_by_name_and_not_by_number() -> None:
    other = _set(2, class_names=("healthy", "Covid-19"))
    united = merge_sets(
        [_source("east", _set(1)), _source("west", other, **{"healthy": "Normal", "Covid-19": "COVID"})]
    )
    assert united.class_names == ("COVID", "Normal")
    told = [united.class_names[label] for label in united.labels]
    assert told == ["COVID", "Normal"] * 2 + ["Normal", "COVID"] * 2


def test_other_names_are_refused_with_what_to_type_and_typing_it_helps() -> None:
    east, west = _set(1), _set(2, class_names=("COVID", "healthy"))
    with pytest.raises(DataError, match=r"--label-map east:Normal=NAME, NAME being a class") as refused:
        merge_sets([_source("east", east), _source("west", west)])
    assert "--label-map east:Normal=Normal --label-map west:healthy=healthy" in str(refused.value)
    assert "Normal=healthy" not in str(refused.value)
    assert merge_sets([_source("east", east, Normal="healthy"), _source("west", west)]).class_names == (
        "COVID",
        "healthy",
    )
    kept = merge_sets([_source("east", east, Normal="Normal"), _source("west", west, healthy="healthy")])
    assert kept.class_names == ("COVID", "Normal", "healthy")
    assert kept.labels.tolist() == [0, 1, 0, 1, 0, 2, 0, 2]


@pytest.mark.parametrize(("other", "proposed"), [("NORMAL", "NORMAL"), ("nor-mal", "nor-mal"), ("Pneumonia", "NAME")])
def test_a_name_is_proposed_only_where_it_is_the_same_but_for_its_spelling(other: str, proposed: str) -> None:
    sets = [_source("east", _set(1)), _source("west", _set(2, class_names=("COVID", other)))]
    with pytest.raises(DataError, match=rf"--label-map east:Normal={proposed}[,;]"):
        merge_sets(sets)


def test_sets_of_equalised_originals_are_merged_with_their_like_alone() -> None:
    even, plain = {"recipe": {"data": {"equalise": True}}}, {"recipe": {"data": {}}}
    with pytest.raises(DataError, match="the originals of east had their histograms equalised"):
        merge_sets([_source("east", _set(1, provenance=even)), _source("west", _set(2, provenance=plain))])
    united = merge_sets([_source("east", _set(1, provenance=even)), _source("west", _set(2, provenance=even))])
    assert united.provenance.recipe is not None
    assert united.provenance.recipe["data"]["equalise"] is True


def test_patches_of_patients_are_merged_with_their_like_alone() -> None:
    patched, plain = {"starts_from": "patches"}, {"starts_from": "noise"}
    with pytest.raises(DataError, match="the images of west are pasted together from parts of originals"):
        merge_sets([_source("east", _set(1, provenance=plain)), _source("west", _set(2, provenance=patched))])
    united = merge_sets([_source("east", _set(1, provenance=patched)), _source("west", _set(2, provenance=patched))])
    assert united.provenance.starts_from == "patches"


def test_a_count_of_united_images_without_their_sets_is_refused() -> None:
    counted = _set(1, provenance={"united_images": 1000})
    with pytest.raises(ArtifactError, match="what west says of the sets that it was united from cannot be"):
        merge_sets([_source("east", _set(2)), _source("west", counted)])


def test_grey_values_survive_a_change_of_normalisation() -> None:
    one, other = _set(1), _set(2, normalisation=WEST)
    united = merge_sets([_source("east", one), _source("west", other)])
    grey = united.images.astype(np.float64) * united.normalisation.std[0] + united.normalisation.mean[0]
    np.testing.assert_allclose(grey[:4], one.images * 0.2 + 0.4, atol=1e-6)
    np.testing.assert_allclose(grey[4:], other.images * 0.3 + 0.6, atol=1e-6)
    drawn = np.random.default_rng(0)  # mean and deviation of grey values of which half are of each hospital
    mixed = np.concatenate([drawn.normal(0.4, 0.2, 400_000), drawn.normal(0.6, 0.3, 400_000)])
    assert united.normalisation.mean[0] == pytest.approx(mixed.mean(), abs=2e-3)
    assert united.normalisation.std[0] == pytest.approx(mixed.std(), abs=2e-3)


def test_other_sizes_are_refused_or_resized_in_grey_values() -> None:
    large = _set(2, images=np.random.default_rng(2).standard_normal((4, 1, 12, 12)).astype(np.float32))
    sources = [_source("east", _set(1)), _source("west", large)]
    with pytest.raises(DataError, match="--image-size 8"):
        merge_sets(sources)
    for size in (8, 20):
        united = merge_sets(sources, image_size=size)
        wanted = torch.nn.functional.interpolate(
            torch.from_numpy(large.images), (size, size), mode="bilinear", antialias=True, align_corners=False
        )
        np.testing.assert_allclose(united.images[4:], wanted.numpy(), atol=1e-5)
    assert united.provenance.resized_from == (8, 12)


def test_resizing_normalised_values_is_resizing_grey_values() -> None:
    plane = np.random.default_rng(3).standard_normal((12, 12)).astype(np.float32)
    np.testing.assert_allclose(resized_plane(plane * 0.3 + 0.6, 8), resized_plane(plane, 8) * 0.3 + 0.6, atol=1e-6)


def test_soft_labels_follow_their_classes_and_hard_ones_become_certain() -> None:
    soft = np.array([[0.7, 0.2, 0.1]] * 4, np.float32)
    other = _set(2, class_names=("viral", "Normal", "bacterial"), soft_labels=soft)
    united = merge_sets([_source("east", _set(1)), _source("west", other, viral="COVID", bacterial="COVID")])
    assert united.class_names == ("COVID", "Normal")
    assert united.soft_labels is not None
    np.testing.assert_array_equal(united.soft_labels[:4], np.eye(2, dtype=np.float32)[[0, 1, 0, 1]])
    np.testing.assert_allclose(united.soft_labels[4:], [[0.8, 0.2]] * 4, atol=1e-6)


def test_weights_keep_their_ratios_and_the_mean_one() -> None:
    other = _set(2, weights=np.array([2, 4, 2, 4], np.float32))
    weights = merge_sets([_source("east", _set(1)), _source("west", other)]).weights
    np.testing.assert_allclose(weights, [0.5, 1.5, 1, 1, 2 / 3, 4 / 3, 2 / 3, 4 / 3], rtol=1e-6)
    assert weights.mean() == pytest.approx(1)
    with pytest.raises(DataError, match="weight 0"):
        merge_sets([_source("east", _set(1)), _source("west", _set(2, weights=np.zeros(4, np.float32)))])


def test_weights_with_the_mean_one_in_every_class_stay_as_they_are() -> None:
    quantised = _set(2, weights=np.array([1.8, 0.5, 0.2, 1.5], np.float32))
    plain = _set(1, weights=np.ones(4, np.float32))
    united = merge_sets([_source("east", quantised), _source("west", plain)])
    np.testing.assert_allclose(united.weights, [1.8, 0.5, 0.2, 1.5, 1, 1, 1, 1], rtol=1e-6)
    for label in range(2):
        assert united.weights[united.labels == label].mean() == pytest.approx(1)


def test_a_set_united_of_quantised_ones_tells_the_smallest_cell_of_all() -> None:
    def quantised(number: int, **changes: Any) -> DistilledSet:
        known = {"encoder": "pca", "dimension": 64, "min_cluster_size": 5, "smallest_cluster": 7, "weights": "mass"}
        return _set(number, provenance={"starts_from": "quantised", "quantisation": {**known, **changes}})

    def told(*sets: DistilledSet) -> Any:
        united = merge_sets([_source(str(k), one) for k, one in enumerate(sets)])
        return united.provenance.as_json().get("quantisation")

    assert told(quantised(1), quantised(2, smallest_cluster=4, min_cluster_size=3, dimension=32)) == {
        "encoder": "pca", "weights": "mass", "min_cluster_size": 3, "smallest_cluster": 4,
    }  # fmt: skip
    assert told(quantised(1), _set(2)) is None
    assert told(quantised(1), quantised(2, smallest_cluster="many")) is None


def test_rates_are_averaged_by_their_logarithm_over_the_images() -> None:
    large = _set(2, student_lr=0.08)
    large = replace(
        large,
        images=np.concatenate([large.images] * 2),
        labels=np.tile(large.labels, 2),
        weights=np.tile(large.weights, 2),
        stage=np.tile(large.stage, 2),
    )
    united = merge_sets([_source("east", _set(1)), _source("west", large)])
    assert united.student_lr == pytest.approx((0.01 * 0.08 * 0.08) ** (1 / 3))


def test_stages_begin_at_the_same_share_of_the_epochs() -> None:
    two, four = _set(1, stage=np.array([0, 0, 1, 1])), _set(2, stage=np.array([0, 1, 2, 3]))
    plain = _set(3)
    united = merge_sets([_source("a", two), _source("b", four), _source("c", plain)])
    assert united.stage.tolist() == [0, 0, 2, 2, 0, 1, 2, 3, 0, 0, 0, 0]
    assert united.provenance.stages == 4


def test_whitened_sets_are_united_with_their_like_alone() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (200, 1, 8, 8)).astype(np.uint8)
    whitened = replace(Normalisation.full_scale(1), whitening=Whitening.of(grey, 0.1))
    one, other = _set(1, normalisation=whitened), _set(2, normalisation=whitened)
    united = merge_sets([_source("east", one), _source("west", other)])
    assert np.array_equal(united.images, np.concatenate([one.images, other.images]))
    with pytest.raises(DataError, match="east is whitened"):
        merge_sets([_source("east", one), _source("west", _set(2))])
    with pytest.raises(DataError, match="leave out --image-size"):
        merge_sets([_source("east", one), _source("west", other)], image_size=16)


def test_a_set_alone_or_twice_is_refused() -> None:
    with pytest.raises(DataError, match="one set"):
        merge_sets([_source("east", _set(1))])
    with pytest.raises(DataError, match="copy and east are, or hold, the same set"):
        merge_sets([_source("east", _set(1)), _source("copy", _set(1))])


def test_other_channels_and_unknown_classes_in_a_map_are_refused() -> None:
    colour = _set(2, images=np.zeros((4, 3, 8, 8), np.float32), normalisation=Normalisation((0.5,) * 3, (0.2,) * 3))
    with pytest.raises(DataError, match="1 and 3 channels"):
        merge_sets([_source("east", _set(1)), _source("west", colour)])
    with pytest.raises(DataError, match="west has no class 'Covid'"):
        merge_sets([_source("east", _set(1)), _source("west", _set(2), Covid="COVID")])


def test_sources_of_a_united_set_are_carried_on() -> None:
    inner = merge_sets([_source("a", _set(1)), _source("b", _set(2))])
    outer = merge_sets([_source("c", _set(3)), replace(_source("d", inner), sender="")])
    assert [(s.sender, s.first, s.images) for s in outer.provenance.sources] == [
        ("Hospital c", 0, 4),
        ("Hospital a", 4, 4),
        ("Hospital b", 8, 4),
    ]
    assert np.array_equal(outer.images[8:], _set(2).images)
    with pytest.raises(DataError, match="inner and b are, or hold, the same set"):
        merge_sets([_source("b", _set(2)), _source("inner", inner)])


def test_a_united_set_is_saved_and_read_again(tmp_path: Path) -> None:
    united = merge_sets([_source("east", _set(1)), _source("west", _set(2, normalisation=WEST))])
    united.save(tmp_path / "merged")
    read = DistilledSet.load(tmp_path / "merged")
    assert read.training_bytes() == united.training_bytes()
    assert read.provenance.as_json() == json.loads(json.dumps(united.provenance.as_json()))


@pytest.mark.parametrize(
    "changes",
    [{"first": 1}, {"images": 3}, {"epsilon": -1.0}, {"set_digest": "no digest"}, {"first": "0"}, {"images": None}],
)
def test_a_united_set_that_lies_about_its_sources_is_refused(changes: dict[str, Any]) -> None:
    inner = merge_sets([_source("a", _set(1)), _source("b", _set(2))])
    told = [
        {**part.as_json(), **(changes if number == 0 else {})} for number, part in enumerate(inner.provenance.sources)
    ]
    lying = replace(inner, provenance={**inner.provenance.as_json(), "sources": told})
    with pytest.raises(ArtifactError, match="united from cannot be"):
        merge_sets([_source("c", _set(3)), _source("d", lying)])
    for strange in ("text", [1, 2], {"a": 1}):
        with pytest.raises(ArtifactError, match="united from cannot be"):
            merge_sets([_source("c", _set(3)), _source("d", replace(inner, provenance={"sources": strange}))])


def test_guarantees_and_counts_of_the_sources_are_carried_over(dp_guarantee: Guarantee) -> None:
    def made(number: int, epsilon: float) -> DistilledSet:
        stated = replace(dp_guarantee, epsilon=epsilon).as_json()
        return _set(
            number, provenance={"differential_privacy": stated, "training_images": {"COVID": 5, "Normal": number}}
        )

    united = merge_sets([_source("a", made(1, 2.0)), _source("b", made(2, 3.0))])
    assert [(part.epsilon, part.unit) for part in united.provenance.sources] == [
        (2.0, "patient"),
        (3.0, "patient"),
    ]
    assert "epsilon = 3, delta = 1e-05 if no patient is in two" in united.provenance.privacy
    assert "else epsilon = 5, delta = 2e-05" in united.provenance.privacy
    assert united.provenance.training_images == {"COVID": 10, "Normal": 3}
    assert "differential_privacy" not in united.provenance.as_json()
    alone = {**dp_guarantee.as_json(), "epsilon": -1}
    with pytest.raises(ArtifactError, match="differential privacy"):
        merge_sets([_source("a", _set(1)), _source("b", _set(2, provenance={"differential_privacy": alone}))])


def _promised(*sources: tuple[float, float, str] | None) -> str:
    bounds = [dict(zip(("epsilon", "delta", "unit"), one or (None,) * 3, strict=True)) for one in sources]
    place = {"sender": "", "set_digest": "a" * 64, "first": 0, "images": 1, "privacy": ""}
    return joint_privacy([MergedPart(**place, **promised) for promised in bounds])


def test_the_joint_guarantee_is_the_largest_for_disjoint_patients_and_the_sum_else() -> None:
    told = _promised((2.001, 1e-5, "patient"), (3.5, 2e-5, "patient"))
    assert "epsilon = 3.5, delta = 2e-05 if no patient is in two of the sources" in told
    assert "else epsilon = 5.51, delta = 3e-05" in told  # 5.501, and never rounded down
    narrow = _promised((0.12341, 1.2341e-5, "patient"), (0.1, 1e-5, "patient"))
    assert "epsilon = 0.124, delta = 1.24e-05 if" in narrow
    assert "else epsilon = 0.224, delta = 2.24e-05" in narrow


def test_nothing_is_promised_of_all_where_one_source_promises_nothing() -> None:
    assert _promised(None, None) == "No formal privacy guarantee was sought for any of the united sets."
    partly = _promised((2.0, 1e-5, "patient"), None)
    assert "has no formal privacy guarantee: of its 2 sources, number 2 has none" in partly
    assert "epsilon" not in partly
    assert "the units differ" in _promised((2.0, 1e-5, "patient"), (2.0, 1e-5, "image"))


def _valued(number: int, **changes: Any) -> DistilledSet:
    values = np.random.default_rng(number).normal(size=(4, 2)).astype(np.float32)
    return _set(number, soft_labels=values, label_kind="values", **changes)


def test_label_values_follow_their_classes() -> None:
    one, other = _valued(1), _valued(2, class_names=("Normal", "COVID"))
    united = merge_sets([_source("east", one), _source("west", other)])
    assert united.by_values
    assert united.soft_labels is not None
    assert one.soft_labels is not None
    assert other.soft_labels is not None
    np.testing.assert_array_equal(united.soft_labels, np.concatenate([one.soft_labels, other.soft_labels[:, ::-1]]))


@pytest.mark.parametrize("soft", [None, np.full((4, 2), 0.5, np.float32)])
def test_label_values_do_not_go_with_other_labels(soft: np.ndarray | None) -> None:
    sources = [_source("east", _valued(1)), _source("west", _set(2, soft_labels=soft))]
    with pytest.raises(
        DataError, match=r"labels of east are values .* by the squared error, those of the other sets not"
    ):
        merge_sets(sources)


def test_label_values_of_other_classes_are_not_added() -> None:
    three = np.zeros((4, 3), np.float32)
    other = _set(2, class_names=("viral", "Normal", "bacterial"), soft_labels=three, label_kind="values")
    sources = [_source("east", _valued(1)), _source("west", other, viral="COVID", bacterial="COVID")]
    with pytest.raises(DataError, match=r"the same classes in every set"):
        merge_sets(sources)
    alone = [_source("east", _valued(1, class_names=("a", "b"))), _source("west", _valued(2, class_names=("b", "c")))]
    keep = [_source(one.name, one.distilled, **{name: name for name in one.distilled.class_names}) for one in alone]
    with pytest.raises(DataError, match=r"label values of east are of 2 classes, the united set's of 3"):
        merge_sets(keep)


def test_dd_ranking_has_no_place_for_label_values() -> None:
    from medistill.sharing.dd_ranking import dd_ranking_tensors

    with pytest.raises(UsageError, match=r"labels are values .*medistill evaluate"):
        dd_ranking_tensors(_valued(1))


def test_dd_ranking_gets_logits_in_the_order_of_the_classes_and_its_own_normalisation() -> None:
    from medistill.sharing.dd_ranking import dd_ranking_tensors

    soft = np.array([[0.9, 0.1], [0.25, 0.75], [1, 0], [0.5, 0.5]], np.float32)
    tensors = dd_ranking_tensors(_set(1, soft_labels=soft))
    assert torch.equal(tensors["images"], torch.from_numpy(_set(1).images[[0, 2, 1, 3]]))
    np.testing.assert_allclose(torch.softmax(tensors["labels"], 1), soft[[0, 2, 1, 3]], atol=1e-6)
    assert float(tensors["lr"]) == pytest.approx(0.01)
    colour = _set(
        1,
        images=np.random.default_rng(0).standard_normal((4, 3, 8, 8)).astype(np.float32),
        normalisation=Normalisation((0.5, 0.4, 0.3), (0.2, 0.25, 0.3)),
    )
    moved = dd_ranking_tensors(colour, "CIFAR10")["images"].double()
    mean, std = (
        torch.tensor(values).view(1, 3, 1, 1) for values in ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.201))
    )
    grey = colour.images * np.array([0.2, 0.25, 0.3]).reshape(1, 3, 1, 1) + np.array([0.5, 0.4, 0.3]).reshape(
        1, 3, 1, 1
    )
    np.testing.assert_allclose(moved * std + mean, grey[[0, 2, 1, 3]], atol=1e-5)
    with pytest.raises(UsageError, match="3 channels"):
        dd_ranking_tensors(_set(1), "CIFAR10")
    with pytest.raises(UsageError, match="CIFAR100"):
        dd_ranking_tensors(_set(1), "MNIST")


def test_what_dd_ranking_has_no_place_for_is_named() -> None:
    from medistill.sharing.dd_ranking import left_behind

    plain = _set(1, weights=np.ones(4, np.float32))
    assert left_behind(plain) == ""
    assert "the weights (" in left_behind(_set(1))
    assert "stages" not in left_behind(_set(1))
    both = left_behind(_set(1, stage=np.array([0, 0, 1, 1])))
    assert "the weights (" in both
    assert "the stages (" in both


def test_the_hash_of_a_corpus_under_differential_privacy_leaves_no_trace(dp_guarantee: Guarantee) -> None:
    def united(corpus: str) -> dict[str, Any]:
        private = {"differential_privacy": dp_guarantee.as_json(), "corpus": corpus}
        sources = [_source("a", _set(1, provenance={"corpus": "a" * 64})), _source("b", _set(2, provenance=private))]
        return merge_sets(sources).provenance.as_json()

    assert united("b" * 64) == united("c" * 64)
    assert "corpus" in united("b" * 64)
