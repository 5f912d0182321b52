"""The matrix of sites against naive counting, and what it may not show."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from medistill.evaluate.site_matrix import OF_ONE_SITE, SOURCES, site_matrix
from tests.factories.exchange_example import CLASSES, SETTINGS, SITES, predictions, study, truth


def naive_auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Share of the pairs of a COVID and a Normal image in which the first scores higher for COVID."""
    pairs = list(product(scores[labels == 0], scores[labels == 1]))
    return float(np.mean([(one > other) + 0.5 * (one == other) for one, other in pairs]))


def rows_of(site: str) -> np.ndarray:
    return np.flatnonzero([name == site for name in truth().traits["site"]])


def test_every_cell_is_what_counting_gives() -> None:
    test, matrix = truth(), study().matrix
    assert [(row.source, row.site) for row in matrix.rows if not row.without] == [
        (source, site) for source in SOURCES for site in (SITES if source in OF_ONE_SITE else ("",))
    ]
    for row, told in zip(matrix.rows, predictions(), strict=True):
        if told.reason:
            assert {cell.accuracy.reason for cell in (*row.cells, row.pooled)} == {told.reason}
            continue
        everywhere = np.arange(len(test.labels))
        for cell, rows in ((row.cells[0], rows_of(SITES[0])), (row.pooled, everywhere)):
            areas = [naive_auc(one[rows, 0], test.labels[rows]) for one in told.test]
            assert cell.macro_auc.value == pytest.approx(np.mean(areas), abs=1e-6)
            right = [np.mean(one[rows].argmax(axis=1) == test.labels[rows]) for one in told.test]
            assert cell.accuracy.value == pytest.approx(np.mean(right))
            assert cell.macro_auc.low < cell.macro_auc.value < cell.macro_auc.high


def test_a_site_of_one_class_has_a_share_and_no_area() -> None:
    matrix = study().matrix
    assert [site.only_class for site in matrix.sites[:2]] == ["", "COVID"]
    told = next(entry for entry in predictions() if entry.source == "all_sets")
    cell = next(row for row in matrix.rows if row.source == "all_sets").cells[1]
    assert cell.macro_auc.reason == "every test image here is of class 'COVID'"
    assert cell.accuracy.value == pytest.approx(np.mean(told.test[:, rows_of("south")].argmax(axis=2) == 0))


def test_few_patients_are_not_shown_and_do_not_follow_from_the_others() -> None:
    """The last site has 3 patients; without the next smallest (7) its count would be the total less the others."""
    matrix = study().matrix
    assert [site.patients for site in matrix.sites] == [20, 12, None, None]
    assert (matrix.test_images, matrix.test_patients) == (69, 42)
    assert matrix.sites[3].reason == "fewer than 5 patients, who might be recognised"
    assert matrix.sites[2].reason == "the count of a smaller group would follow from it"
    assert [site.only_class for site in matrix.sites[2:]] == ["", ""]
    for row in matrix.rows:
        assert [cell.accuracy.value for cell in row.cells[2:]] == [None, None]
    assert all(
        entry.accuracy.value is None and entry.macro_auc.value is None
        for entry in matrix.differences
        if entry.site in SITES[2:]
    )


def test_differences_are_paired_and_a_site_is_compared_with_its_own() -> None:
    matrix, test = study().matrix, truth()
    taught = {SITES[0], SITES[3]}  # at the others nothing could be learnt from what is their own
    assert [(entry.site, entry.minus) for entry in matrix.differences if entry.plus == "all_sets"] == [
        *(
            (site, minus)
            for site in SITES
            for minus in ("own_raw", "own_set", "random", "pooled_raw")
            if site in taught or not minus.startswith("own")
        ),
        ("", "random"),
        ("", "pooled_raw"),
    ]
    assert [(entry.of, entry.site, entry.minus) for entry in matrix.differences if entry.plus == "own_and_others"] == [
        (owner, place, minus)
        for owner in SITES
        for place in (*SITES, "")
        for minus in ("own_raw", "others_sets", "pooled_raw")
        if owner in taught or minus != "own_raw"
    ]
    by = {(told.source, told.site): told.test for told in predictions()}
    rows = rows_of(SITES[0])
    own, everyones = (
        np.mean([naive_auc(one[rows, 0], test.labels[rows]) for one in by[which]])
        for which in (("own_raw", SITES[0]), ("all_sets", ""))
    )
    assert matrix.differences[0].macro_auc.value == pytest.approx(everyones - own, abs=1e-6)
    beside = np.mean([naive_auc(one[rows, 0], test.labels[rows]) for one in by["own_and_others", SITES[0]]])
    found = next(
        entry for entry in matrix.differences if (entry.of, entry.site, entry.minus) == (SITES[0], SITES[0], "own_raw")
    )
    assert found.macro_auc.value == pytest.approx(beside - own, abs=1e-6)
    same = [replace(told, test=by["all_sets", ""]) if told.source == "random" else told for told in predictions()]
    twice = site_matrix(same, test, SITES, CLASSES, SETTINGS, seed=3)
    nothing = next(entry for entry in twice.differences if (entry.site, entry.minus) == ("", "random"))
    assert nothing.macro_auc.value == nothing.accuracy.value == 0
    assert nothing.macro_auc.reason == "every resample of the patients gives the same value"


def test_the_sets_of_the_others_are_compared_at_a_site_that_sent_nothing() -> None:
    matrix, test = study().matrix, truth()
    unseen = [entry for entry in matrix.differences if entry.plus == "others_sets"]
    assert [(entry.site, entry.of, entry.minus) for entry in unseen] == [
        (place, owner, "own_raw") for place in SITES for owner in (SITES[0], SITES[3])
    ]
    by, rows = {(told.source, told.site): told.test for told in predictions()}, rows_of(SITES[0])
    sets, elsewhere = (
        np.mean([naive_auc(one[rows, 0], test.labels[rows]) for one in by[which]])
        for which in (("others_sets", SITES[0]), ("own_raw", SITES[3]))
    )
    assert unseen[1].macro_auc.value == pytest.approx(sets - elsewhere, abs=1e-6)
    lost = [
        replace(told, test=told.test[:0], reason="no other site has a set") if told.source == "others_sets" else told
        for told in predictions()
    ]
    without = site_matrix(lost, test, SITES, CLASSES, SETTINGS, seed=3)
    assert not [entry for entry in without.differences if entry.plus == "others_sets"]


def test_own_originals_beside_the_rest_are_compared_where_nothing_was_sent() -> None:
    matrix, test = study().matrix, truth()
    found = [entry for entry in matrix.differences if entry.plus == "own_and_unseen"]
    assert [(entry.of, entry.site, entry.minus) for entry in found] == [
        (owner, place, minus)
        for owner, place in ((SITES[0], SITES[1]), (SITES[0], SITES[2]), (SITES[3], SITES[0]))
        for minus in ("own_raw", "own_and_others")
    ]
    mine = next(told for told in predictions() if (told.site, told.without) == (SITES[3], SITES[0]))
    by, rows = {(told.source, told.site): told.test for told in predictions()}, rows_of(SITES[0])
    for entry in found[4:]:
        areas = [
            np.mean([naive_auc(one[rows, 0], test.labels[rows]) for one in side])
            for side in (mine.test, by[entry.minus, SITES[3]])
        ]
        assert entry.macro_auc.value == pytest.approx(areas[0] - areas[1], abs=1e-6)
    assert [entry.macro_auc.value for entry in found[:2]] == [None, None]  # every patient there is of one class
    assert found[0].accuracy.value is not None


def test_a_site_without_test_images_says_so() -> None:
    test = truth()
    rows = np.flatnonzero([name in SITES[:2] for name in test.traits["site"]])
    fewer = replace(
        test,
        labels=test.labels[rows],
        groups=test.groups[rows],
        traits={"site": tuple(test.traits["site"][row] for row in rows)},
    )
    found = [replace(told, test=told.test[:, rows]) for told in predictions()]
    matrix = site_matrix(found, fewer, SITES, CLASSES, SETTINGS, seed=3)
    assert [site.reason for site in matrix.sites] == ["", "", "it has no test images", "it has no test images"]
    assert matrix.rows[0].cells[3].accuracy.reason == "it has no test images"
