"""Splits: properties that every drawing must have, whatever the corpus."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medistill.data.splits import part, refuse_shared_patients
from medistill.errors import DataError
from medistill.recipe import DataRecipe


def drawn(labels, groups, sites, recipe, seed=0, given=None):
    given = [None] * len(labels) if given is None else given
    numbers = np.random.default_rng(seed)
    return part(given, np.asarray(labels), np.asarray(groups), np.asarray(sites), recipe, numbers)


@st.composite
def corpora(draw):
    """Images of patients who have one to four each, of one class and site, or now and then of two classes."""
    patients = draw(st.integers(12, 120))
    numbers = np.random.default_rng(draw(st.integers(0, 2**31)))
    classes, sites = draw(st.integers(2, 4)), draw(st.integers(1, 3))
    groups = np.repeat(np.arange(patients), numbers.integers(1, 5, patients))
    labels = numbers.integers(0, classes, patients)[groups]
    odd = numbers.random(len(groups)) < draw(st.sampled_from([0.0, 0.1]))
    labels[odd] = numbers.integers(0, classes, odd.sum())
    order = numbers.permutation(len(groups))
    return labels[order], groups[order], numbers.integers(0, sites, patients)[groups][order]


@settings(max_examples=60, deadline=None)
@given(corpora(), st.integers(0, 1000))
def test_no_patient_is_in_two_splits(corpus, seed):
    labels, groups, sites = corpus
    splits, source, notes = drawn(labels, groups, sites, DataRecipe(), seed)
    assert source == "drawn"
    assert notes == []
    assert set(splits) <= {0, 1, 2}
    for group in np.unique(groups):
        assert len(np.unique(splits[groups == group])) == 1


@settings(max_examples=60, deadline=None)
@given(corpora(), st.sampled_from([(0.1, 0.2), (0.25, 0.25), (0.05, 0.3)]))
def test_the_shares_of_each_class_are_those_of_the_recipe(corpus, shares):
    labels, groups, sites = corpus
    labels = labels[np.unique(groups, return_index=True)[1]][groups]  # one class a patient, so that a count is exact
    splits, _, _ = drawn(labels, groups, sites, DataRecipe(val_fraction=shares[0], test_fraction=shares[1]))
    for label in np.unique(labels):
        patients = len(np.unique(groups[labels == label]))
        for split, share in zip((1, 2), shares, strict=True):
            here = len(np.unique(groups[(labels == label) & (splits == split)]))
            assert abs(here - share * patients) <= 1, (label, split)


def test_a_large_class_is_shared_out_site_by_site():
    groups = np.arange(600)
    sites = np.repeat([0, 1, 2], [300, 200, 100])
    splits, _, _ = drawn(groups % 2, groups, sites, DataRecipe(val_fraction=0.1, test_fraction=0.2))
    for site, size in enumerate((300, 200, 100)):
        assert abs((splits[sites == site] == 1).sum() - 0.1 * size) <= 2
        assert abs((splits[sites == site] == 2).sum() - 0.2 * size) <= 2


@settings(max_examples=150, deadline=None)
@given(corpora(), st.sampled_from([(0.1, 0.2), (0.05, 0.3), (0.3, 0.3), (0.4, 0.4), (0.5, 0.3)]), st.integers(0, 99))
def test_every_class_of_at_least_three_patients_is_in_every_split(corpus, shares, seed):
    labels, groups, sites = corpus
    labels = labels[np.unique(groups, return_index=True)[1]][groups]  # one class a patient
    small = np.isin(groups, np.unique(groups)[: len(np.unique(groups)) // 2])
    labels = np.where((labels == 0) & small, 1, labels)  # one class becomes rare
    recipe = DataRecipe(val_fraction=shares[0], test_fraction=shares[1])
    splits, _, _ = drawn(labels, groups, sites, recipe, seed)
    for label in np.unique(labels):
        if len(np.unique(groups[labels == label])) >= 3:
            assert set(splits[labels == label]) == {0, 1, 2}


def test_every_class_of_three_patients_is_in_every_split():
    labels = np.repeat([0, 1, 2], [3, 3, 100])
    splits, _, _ = drawn(labels, np.arange(106), np.zeros(106, int), DataRecipe())
    for label in range(3):
        assert set(splits[labels == label]) == {0, 1, 2}


def test_a_patient_of_two_classes_counts_in_the_rarer():
    labels = np.array([0] * 100 + [0, 1] * 4)
    groups = np.concatenate([np.arange(100), np.repeat(np.arange(100, 104), 2)])
    for seed in range(10):
        splits, _, _ = drawn(labels, groups, np.zeros(108, int), DataRecipe(), seed)
        assert set(splits[labels == 1]) == {0, 1, 2}


def test_the_seed_decides():
    arguments = (np.arange(100) % 2, np.arange(100), np.zeros(100, int), DataRecipe())
    first, again, other = (drawn(*arguments, seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_given_splits_are_kept():
    said = ["train", "val", "test"] * 10
    splits, source, notes = drawn(np.arange(30) % 2, np.arange(30), np.zeros(30, int), DataRecipe(), given=said)
    assert (source, notes) == ("given", [])
    np.testing.assert_array_equal(splits, [0, 1, 2] * 10)


@pytest.mark.parametrize("missing", ["val", "test"])
def test_a_missing_split_is_cut_out_of_train_by_patient(missing):
    other = {"val": "test", "test": "val"}[missing]
    groups = np.repeat(np.arange(60), 2)
    labels = groups % 2
    said = ["train" if group < 40 else other for group in groups]
    recipe = DataRecipe(val_fraction=0.25, test_fraction=0.25)
    splits, source, notes = drawn(labels, groups, np.zeros(120, int), recipe, given=said)
    assert source == "given"
    assert missing in notes[0]
    kept, cut = (1, 2) if missing == "test" else (2, 1)
    np.testing.assert_array_equal(splits == kept, groups >= 40)
    assert len(np.unique(groups[splits == cut])) == 10
    assert not set(groups[splits == cut]) & set(groups[splits == 0])


def test_a_patient_in_two_given_splits_is_an_error():
    with pytest.raises(DataError, match="1 patient has images in more than one of the given splits"):
        drawn([0, 1, 0, 1], [0, 1, 0, 2], [0] * 4, DataRecipe(), given=["train", "val", "test", "test"])
    with pytest.raises(DataError) as error:
        refuse_shared_patients(["train", "val"], ["ID-4711", "ID-4711"])
    assert "4711" not in str(error.value)
    refuse_shared_patients(["train", "val", None, "test"], ["", "", "a", "a"])


def test_splits_for_some_images_alone_are_an_error():
    with pytest.raises(DataError, match="1 of 2 images lie outside"):
        drawn([0, 1], [0, 1], [0, 0], DataRecipe(), given=["train", None])
