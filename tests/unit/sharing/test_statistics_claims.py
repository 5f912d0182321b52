"""Class statistics beside a guarantee: honest ones pass whatever their shares, and each way to lie is refused."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medistill.artifacts.class_statistics import ClassStatistics
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.projection import Projection, ProjectionRecord
from medistill.errors import ArtifactError, DataError
from medistill.privacy.accounting import MECHANISM
from medistill.sharing.archive import write_archive
from medistill.sharing.bundle import Bundle, pack
from medistill.sharing.merge_source import MergeSource
from medistill.sharing.merging import merge_sets
from medistill.sharing.statement import Statement
from medistill.workflow.received import receive
from medistill.workflow.verify import verify
from tests.factories.encoder_told import ENCODER
from tests.factories.released import FEATURES, carrying, released_set, statistics_of
from tests.factories.sent_bundle import TODAY

STATEMENT = Statement(licence="CC0-1.0", intended_use="Tests", acknowledged_risk="a test")
PUBLIC = (15, 15)


def sent(distilled: DistilledSet) -> Bundle:
    """The set as a recipient opens it."""
    return Bundle.of_files(pack(distilled, STATEMENT))


def source(name: str, distilled: DistilledSet, **label_map: str) -> MergeSource:
    return MergeSource(name, distilled, hashlib.sha256(distilled.training_bytes()).hexdigest(), label_map=label_map)


def recorded(distilled: DistilledSet, **changes: Any) -> DistilledSet:
    """The set with another record of its statistics."""
    found = statistics_of(distilled)
    return carrying(distilled, replace(found, record=found.record.replaced(**changes)))


def promised(distilled: DistilledSet, **changes: Any) -> DistilledSet:
    """The set with another guarantee."""
    stated = {**(distilled.provenance.differential_privacy or {}), **changes}
    return carrying(distilled, statistics_of(distilled), differential_privacy=stated, privacy=None)


def without_recipe(distilled: DistilledSet) -> DistilledSet:
    return carrying(distilled, statistics_of(distilled), recipe=None)


@pytest.mark.parametrize("epsilon", [0.5, 3.0, 100.0])
@pytest.mark.parametrize(
    "shares",
    [
        {"counts": 0.05},
        {"counts": 0.0, "class_units": PUBLIC},
        {"counts": 0.4, "second": 0.5},
        {"counts": 0.0, "second": 0.3, "class_units": PUBLIC, "clip": 0.2},
    ],
)
def test_what_was_released_in_earnest_passes(epsilon: float, shares: dict[str, Any]) -> None:
    made = released_set(epsilon=epsilon, **shares)
    assert sent(made).distilled.statistics is not None
    other = released_set(1, epsilon=epsilon / 2 + 1, **shares)
    united = merge_sets([source("east", made), source("west", other)])
    assert statistics_of(sent(united).distilled).record.releases == 2
    third = released_set(2, epsilon=epsilon, **{**shares, **({} if shares["counts"] else {"class_units": (20, 10)})})
    nested = merge_sets([source("united", united), source("third", third)])
    assert statistics_of(sent(nested).distilled).record.releases == 3


def test_a_sum_of_public_and_noisy_counts_and_of_classes_that_not_all_have_passes() -> None:
    public, noisy = released_set(counts=0.0, class_units=PUBLIC), released_set(1)
    assert statistics_of(sent(merge_sets([source("a", public), source("b", noisy)])).distilled).second is None
    own = {"Pneumonia": "COVID", "Normal": "Normal"}
    united = merge_sets([source("a", public, Pneumonia="Pneumonia"), source("b", released_set(2, epsilon=8), **own)])
    assert len(sent(united).distilled.class_names) == 3


@pytest.mark.parametrize("shares", [{"counts": 0.3, "second": 0.3}])
def test_less_noise_on_any_part_is_refused(shares: dict[str, float]) -> None:
    made = released_set(**shares)
    record = statistics_of(made).record
    for changes in (
        {"sums_noise": tuple(0.99 * noise for noise in record.sums_noise)},
        {"counts_noise": tuple(0.99 * noise for noise in record.counts_noise)},
        {"second_noise": 0.99 * record.second_noise},
    ):
        with pytest.raises(ArtifactError, match="less than the guarantee needs"):
            sent(recorded(made, **changes))
    for changes in ({"sums_noise": (9.0, 10.0)}, {"counts_noise": (90.0, 100.0)}, {"counts_noise": (0.0, 100.0)}):
        with pytest.raises(ArtifactError, match="less noise on one class"):
            sent(recorded(made, **changes))


def test_noise_that_was_the_least_without_shares_is_too_little_with_them() -> None:
    made = released_set(counts=0.3)
    sigma = (made.provenance.differential_privacy or {})["sigma"]
    with pytest.raises(ArtifactError, match="noise on the sums of Normal"):
        sent(recorded(made, sums_noise=(sigma, sigma)))


def test_counts_without_noise_are_public_or_refused() -> None:
    made = released_set(counts=0.0, class_units=PUBLIC)
    measured = replace(statistics_of(made), counts=np.array([14.0, 15.0]))
    for liar in (
        recorded(released_set(), counts_noise=(0.0, 0.0)),
        carrying(made, measured),
        without_recipe(made),
    ):
        with pytest.raises(ArtifactError, match="no noise on the counts"):
            sent(liar)
    united = merge_sets([source("a", released_set()), source("b", released_set(1))])
    with pytest.raises(ArtifactError, match="no noise on a count"):
        sent(recorded(united, counts_noise=(0.0, 0.0)))


def test_counts_without_noise_are_told_of(tmp_path: Path) -> None:
    for made, told in ((released_set(), False), (released_set(counts=0.0, class_units=PUBLIC), True)):
        write_archive(tmp_path / f"{told}.zip", pack(made, STATEMENT))
        found = {check.name: check for check in verify(tmp_path / f"{told}.zip", today=TODAY).checks}["Their noise"]
        assert found.state == "declared"
        assert ("numbers that the sender calls public" in found.told) == told


def test_second_moments_without_noise_are_none() -> None:
    with pytest.raises(ArtifactError, match="second moments without noise"):
        recorded(released_set(second=0.2), second_noise=0.0)
    with pytest.raises(ArtifactError, match="second moments without noise"):
        recorded(released_set(), second_noise=1.0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"unit": "image"}, "unit is image"), ({"clip": 0.5}, "clip is 0.5"), ({"releases": 2}, "releases is 2")],
)
def test_another_unit_clip_or_number_of_releases_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ArtifactError, match=said):
        sent(recorded(released_set(), **changes))


@pytest.mark.parametrize(
    "changes", [{"mechanism": MECHANISM}, {"mechanism": "noise"}, {"accountant": "PRV"}, {"steps": 2}]
)
def test_statistics_are_of_one_release_or_of_none(changes: dict[str, Any]) -> None:
    liar = promised(released_set(), epsilon=2.99, **changes)
    with pytest.raises(ArtifactError, match=r"not that of one release|its own noise, rate and steps"):
        sent(liar)


def test_statistics_without_a_guarantee_are_refused() -> None:
    made = released_set()
    with pytest.raises(ArtifactError, match="no guarantee of privacy is stated"):
        sent(carrying(made, statistics_of(made), differential_privacy=None, privacy="None was sought."))


@pytest.mark.parametrize("second", [0.0, 0.3])
def test_a_clip_that_the_numbers_are_larger_than_is_refused(second: float) -> None:
    """Noise that is right for a clip of a millionth, on sums or second moments that were never shortened to it."""
    made, tiny = released_set(second=second), 1e-6
    found = statistics_of(made)
    exact = np.full((2, FEATURES), 0.0 if second else 4.0)
    record = found.record.replaced(
        clip=tiny,
        sums_noise=tuple(tiny * noise for noise in found.record.sums_noise),
        second_noise=tiny**2 * found.record.second_noise,
    )
    moments = np.eye(FEATURES) * 5 if second else None
    liar = carrying(made, replace(found, sums=exact, second=moments, record=record))
    with pytest.raises(ArtifactError, match=r"differ in privacy\.clip"):
        sent(promised(liar, clip=tiny))
    with pytest.raises(ArtifactError, match=r"have the norm .* with their clip"):
        sent(without_recipe(promised(liar, clip=tiny)))


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"delta": 0.002}, "delta"), ({"unit": "study"}, "unit"), ({"epsilon": 3.5}, "epsilon"), ({"clip": 2.0}, "clip")],
)
def test_a_guarantee_that_the_recipe_did_not_ask_for_is_refused(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ArtifactError, match=f"differ in privacy.{named}"):
        sent(promised(released_set(), **changes))


def test_a_guarantee_beside_a_recipe_without_one_is_refused() -> None:
    made = released_set()
    recipe = made.provenance.recipe or {}
    recipe = {**recipe, "privacy": {**recipe["privacy"], "mode": "none"}}
    with pytest.raises(ArtifactError, match=r"differ in privacy\.mode"):
        sent(carrying(made, statistics_of(made), recipe=recipe))


def test_statistics_of_another_encoder_or_space_are_refused() -> None:
    made = released_set()
    found = statistics_of(made)

    def placed(matrix: np.ndarray, record: ProjectionRecord) -> ClassStatistics:
        space = Projection(found.projection.centre, matrix, record)
        return replace(found, projection=space, record=found.record.replaced(projection=record))

    other = placed(found.projection.matrix, ProjectionRecord(kind="encoder", encoder="f" * 64))
    with pytest.raises(ArtifactError, match="are of the encoder ffffffffffff, and the set names 0123456789ab"):
        carrying(made, other)
    with pytest.raises(ArtifactError, match="the set names none"):
        carrying(made, found, encoder=None)
    public = placed(np.eye(FEATURES, dtype=np.float32), ProjectionRecord(kind="public", encoder=ENCODER.sha256))
    with pytest.raises(ArtifactError, match="the recipe names none"):
        sent(carrying(made, public))


def lied(united: DistilledSet, **changes: Any) -> DistilledSet:
    """A united set that says something else of its second source."""
    [first, second] = united.provenance.as_json()["sources"]
    changed = {
        name: value for name, value in {**second, **changes}.items() if value is not None or name != "statistics"
    }
    return carrying(united, statistics_of(united), sources=[first, changed], privacy=None)


def test_a_sum_is_held_to_the_guarantees_of_its_sources() -> None:
    east, west = released_set(), released_set(1, epsilon=2.0)
    united = merge_sets([source("east", east), source("west", west)])
    record, alone = statistics_of(united).record, statistics_of(east).record
    plain = {"privacy": "One."}
    for liar, said in (
        (lied(united, **plain, epsilon=None, delta=None, unit=None), "no guarantee is stated"),
        (lied(united, **plain, epsilon=1.5), "less than the guarantee needs"),
        (lied(united, **plain, epsilon=1e-300), "guarantee of source 2 is none"),
        (lied(united, **plain, unit="image"), "that of source 2 is another"),
        (lied(united, **plain, statistics=None), "to have had none"),
        (lied(united, **plain, statistics=statistics_of(east).digest), "the same as another"),
        (recorded(united, releases=3), "of 3 releases"),
        (recorded(united, sums_noise=alone.sums_noise), "less than the guarantee needs"),
        (recorded(united, sums_noise=(record.sums_noise[0], alone.sums_noise[1])), "less than the guarantee needs"),
    ):
        with pytest.raises(ArtifactError, match=said):
            sent(liar)
    with pytest.raises(ArtifactError, match="one guarantee is stated for all"):
        sent(
            carrying(
                united,
                statistics_of(united),
                differential_privacy=east.provenance.differential_privacy,
                recipe=None,
            )
        )


def test_a_folder_is_held_to_it_as_a_bundle_is(tmp_path: Path) -> None:
    made = released_set()
    made.save(tmp_path / "honest")
    assert receive(tmp_path / "honest").distilled.statistics is not None
    recorded(made, sums_noise=(0.1, 0.1)).save(tmp_path / "liar")
    with pytest.raises(ArtifactError, match="less than the guarantee needs"):
        receive(tmp_path / "liar")


def test_one_release_is_added_once_whatever_images_were_made_of_it() -> None:
    made = released_set()
    again = replace(made, images=-made.images)
    with pytest.raises(DataError, match="again and made are, or hold, the same class statistics"):
        merge_sets([source("made", made), source("again", again)])
    united = merge_sets([source("made", made), source("other", released_set(1))])
    with pytest.raises(DataError, match="the same class statistics"):
        merge_sets([source("united", united), source("again", again)])
    without = merge_sets([source("made", made), source("other", released_set(1))], statistics="leave out")
    with pytest.raises(DataError, match="the same class statistics"):
        merge_sets([source("without", without), source("again", again)])


def test_noise_that_has_no_sum_is_told_of() -> None:
    loud = [recorded(released_set(seed), sums_noise=(9e14, 9e14)) for seed in (0, 1)]
    with pytest.raises(DataError, match="have no sum: sums_noise"):
        merge_sets([source("east", loud[0]), source("west", loud[1])])
