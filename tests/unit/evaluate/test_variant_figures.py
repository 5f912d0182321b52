"""Figures of ways of making sets: at home, elsewhere and everywhere against counting, and what may not be shown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medistill.evaluate.predictions import Truth
from medistill.evaluate.rare import few_patients
from medistill.evaluate.site_matrix import site_matrix
from medistill.evaluate.subgroups import FEW_HERE, FOLLOWS
from medistill.evaluate.variant_figures import NOBODY, VariantFigures, variant_figures
from tests.factories.exchange_example import CLASSES, SETTINGS, SITES, of_variants, predictions, study, truth


def figures(test: Truth | None = None) -> VariantFigures:
    found, tested = (*predictions(), *of_variants()), study().matrix.sites
    return variant_figures(found, test or truth(), tested, CLASSES, SETTINGS, seed=3)


def area(source: str, variant: str, rows: np.ndarray) -> float:
    """Of the first site's networks."""
    found = (*predictions(), *of_variants())
    told = next(one for one in found if (one.source, one.site, one.variant) == (source, SITES[0], variant))
    return float(np.mean([roc_auc_score(truth().labels[rows] == 0, one[rows, 0]) for one in told.test]))


def test_every_place_has_what_counting_gives_and_differences_are_of_the_same_patients() -> None:
    found = figures()
    assert list(found.rows) == ["", "epsilon 3", "epsilon 1"]
    assert [row.site for row in found.rows["epsilon 3"]] == list(SITES)
    names = np.array(truth().traits["site"])
    places = {"home": names == SITES[0], "elsewhere": names != SITES[0], "everywhere": names != ""}
    mine, base, alone = found.rows["epsilon 3"][0], found.rows[""][0], found.alone[0]
    assert mine.over_recipe is not None
    assert base.over_recipe is None
    for place, there in places.items():
        rows = np.flatnonzero(there)
        own, recipe = area("own_raw", "", rows), area("own_and_others", "", rows)
        private = area("own_and_others", "epsilon 3", rows)
        for at, expected in (
            (alone, own),
            (base.figures, recipe),
            (mine.figures, private),
            (mine.over_own, private - own),
            (mine.over_recipe, private - recipe),
        ):
            told = getattr(at, place).macro_auc
            assert told.value == pytest.approx(expected, abs=1e-6)
            assert told.low < told.value < told.high
    row = study().row("own_and_others", SITES[0])
    assert (base.figures.home, base.figures.everywhere) == (row.cells[0], row.pooled)


def test_elsewhere_of_two_sites_is_the_matrix_cell_of_the_other_with_its_very_interval() -> None:
    both = np.array([name if name == SITES[0] else "south" for name in truth().traits["site"]])
    test = replace(truth(), traits={"site": tuple(both)})
    pair = (SITES[0], "south")
    found = tuple(one for one in predictions() if one.site in ("", *pair) and not one.without)
    matrix = site_matrix(found, test, pair, CLASSES, SETTINGS, seed=3)
    told = variant_figures(found, test, matrix.sites, CLASSES, SETTINGS, seed=3)
    row = next(row for row in matrix.rows if (row.source, row.site) == ("own_and_others", SITES[0]))
    assert row.cells[1].macro_auc.low is not None
    assert told.rows[""][0].figures.elsewhere == row.cells[1]
    assert told.alone[0].elsewhere == matrix.rows[0].cells[1]


def test_no_difference_names_a_rare_class_unless_it_is_of_all_test_images() -> None:
    """One patient of the first class at home, one elsewhere: who is at which site is not to be counted."""
    labels, names = np.array(truth().labels), np.array(truth().traits["site"])
    labels[:] = 1
    for place in (names == SITES[0], names != SITES[0]):
        labels[np.isin(truth().groups, np.unique(truth().groups[place])[:1])] = 0
    test = replace(truth(), labels=labels)
    tested = site_matrix(predictions(), test, SITES, CLASSES, SETTINGS, seed=3).sites
    found = (*predictions(), *of_variants())
    mine = variant_figures(found, test, tested, CLASSES, SETTINGS, seed=3).rows["epsilon 3"][0]
    assert mine.figures.home.macro_auc.reason == FEW_HERE
    assert mine.over_recipe is not None
    for at in (mine.over_own, mine.over_recipe):
        assert at.home.macro_auc.value is not None
        assert [at.home.macro_auc.reason, at.elsewhere.macro_auc.reason] == [FEW_HERE] * 2
    one = np.isin(truth().groups, np.unique(truth().groups[labels == 0])[:1])
    alone = replace(test, labels=np.where(one, 0, 1))
    matrix = site_matrix(predictions(), alone, SITES, CLASSES, SETTINGS, seed=3)
    reasons = {(difference.site == "", difference.macro_auc.reason) for difference in matrix.differences}
    assert (True, few_patients(CLASSES[0], 1)) in reasons  # all test images: as in any evaluation
    assert (False, FEW_HERE) in reasons
    assert not any("test patient" in reason for everywhere, reason in reasons if not everywhere)


def test_a_way_in_which_nothing_was_exchanged_has_its_reason_everywhere() -> None:
    for row in figures().rows["epsilon 1"]:
        for at in (row.figures, row.over_own, row.over_recipe):
            assert at is not None
            assert at.everywhere.macro_auc.reason == "no budget"


def test_what_is_hidden_at_home_does_not_follow_from_elsewhere() -> None:
    """The third and fourth site are hidden in the matrix, so their complements are."""
    rows = figures().rows["epsilon 3"]
    assert [row.figures.elsewhere.macro_auc.reason for row in rows] == ["", "", FOLLOWS, FOLLOWS]
    assert [row.over_recipe.elsewhere.accuracy.value is None for row in rows if row.over_recipe] == [
        False,
        False,
        True,
        True,
    ]


@pytest.mark.parametrize(
    ("more", "reason"), [(0, NOBODY), (2, "fewer than 5 patients")], ids=["one site", "few patients elsewhere"]
)
def test_one_site_has_no_elsewhere_and_few_patients_there_are_hidden(more: int, reason: str) -> None:
    names = truth().traits["site"]
    kept = names.count(SITES[0]) + more
    test = Truth(truth().labels[:kept], truth().groups[:kept], {"site": names[:kept]})
    short = [replace(one, test=one.test[:, :kept]) for one in (*predictions(), *of_variants()) if not one.without]
    tested = site_matrix([one for one in short if not one.variant], test, SITES[:2], CLASSES, SETTINGS, seed=3).sites
    told = variant_figures(short, test, tested, CLASSES, SETTINGS, seed=3).rows["epsilon 3"][0]
    for at in (told.figures, told.over_own):
        assert at.elsewhere.macro_auc.reason.startswith(reason)
        assert (at.home.macro_auc.value is None) == bool(more)  # else how many there are elsewhere would follow
        assert at.everywhere.macro_auc.value is not None
