"""Whose images are whose: by table, PatientID and study, and what is said where these are missing or contradict."""

from __future__ import annotations

from typing import Literal

import pytest

from medistill.data.decoded import Decoded
from medistill.data.grouping import Grouping, group
from medistill.data.listing import FileEntry
from medistill.errors import DataError


def of(*images: tuple[str, str, str]) -> Grouping:
    """Grouping of images, each given as (patient of the table, patient of the file, study)."""
    return group([(FileEntry("f", patient=table), Decoded(None, patient=p, study=s)) for table, p, s in images])


def test_all_patients_known_is_by_patient_and_says_nothing() -> None:
    found = of(("", "p", "s1"), ("", "p", "s2"), ("", "q", "s3"))
    assert found.groups.tolist() == [0, 0, 1]
    assert (found.unit, found.notes, set(found.units)) == ("patient", (), {"patient"})


def test_studies_are_not_called_patients() -> None:
    found = of(("", "", "s1"), ("", "", "s1"), ("", "", "s2"))
    assert found.groups.tolist() == [0, 0, 1]
    assert found.unit == "study"
    assert "splits are by study" in found.notes[0]


def test_the_weakest_unit_is_claimed_with_counts() -> None:
    mixed = of(("", "p", "s1"), ("", "p", "s1"), ("", "q", "s2"), ("", "", "s3"))
    assert (mixed.unit, mixed.units) == ("study", ("patient", "patient", "patient", "study"))
    assert mixed.studies.tolist() == [0, 0, 1, 2]
    assert mixed.notes[0].startswith("Of 4 images the patient is known of 3; only the study of 1")
    worst = of(("", "p", "s1"), ("", "", "s3"), ("", "", ""))
    assert (worst.unit, worst.units, worst.studies.tolist()) == ("image", ("patient", "study", "image"), [0, 1, -1])
    assert "neither of 1" in worst.notes[0]


def test_an_image_is_of_the_patient_of_its_study() -> None:
    by_file = of(("", "p", "s1"), ("", "", "s1"), ("", "q", "s2"))
    by_table = of(("t", "", "s1"), ("", "", "s1"), ("u", "", "s2"))
    for found in (by_file, by_table):
        assert found.groups.tolist() == [0, 0, 1]
        assert found.unit == "patient"


def test_a_number_for_each_image_does_not_divide_a_study() -> None:
    """Some anonymisers number images, not patients; a study is of one person all the same."""
    found = of(("", "1", "a"), ("", "2", "a"), ("", "3", "b"), ("", "4", "b"), ("", "5", "c"), ("", "2", "d"))
    assert found.groups.tolist() == [0, 0, 1, 1, 2, 0]
    assert found.unit == "patient"
    assert "2 studies hold images under more than one patient number" in found.notes[0]
    assert "these 4 numbers count as 2" in found.notes[0]


def test_one_study_number_on_most_images_unites_nobody() -> None:
    found = of(("", "1", "a"), ("", "2", "a"), ("", "3", "a"), ("", "4", "b"))
    assert len(set(found.groups.tolist())) == 4
    assert "One StudyInstanceUID stands on 3 of 4 images" in found.notes[0]


def test_the_table_goes_before_studies() -> None:
    found = of(("t", "1", "a"), ("u", "1", "a"), ("v", "2", "b"))
    assert len(set(found.groups.tolist())) == 3
    assert found.notes == ()


def test_a_number_that_stands_for_many_is_told_of() -> None:
    images = [("", "0", f"s{n}") for n in range(20)] + [("", f"p{n}", f"t{n}") for n in range(40)]
    assert "20 of 60 images, of 20 studies, stand under one patient number" in of(*images).notes[0]
    assert of(*images[20:]).notes == ()


def test_one_name_for_all_is_an_error() -> None:
    for one, unit in ((("", "p", "s"), "patient"), (("", "", "s"), "study")):
        with pytest.raises(DataError, match=f"all 2 images name one and the same {unit}"):
            of(one, one)


def at_sites(*images: tuple[str, str, str], ids: Literal["site", "global"] = "site") -> Grouping:
    """Grouping of images, each given as (site, patient of the table, patient of the file)."""
    return group([(FileEntry("f", site=site, patient=t), Decoded(None, patient=p)) for site, t, p in images], ids)


@pytest.mark.parametrize("by_table", [True, False])
def test_a_number_at_two_sites_is_of_two_people_unless_the_recipe_says_otherwise(by_table: bool) -> None:
    said = [("north", "1"), ("south", "1"), ("north", "1"), ("south", "2")]
    images = [(site, patient if by_table else "", "" if by_table else patient) for site, patient in said]
    found = at_sites(*images)
    assert found.groups.tolist() == [0, 1, 0, 2]
    assert "at more than one site and count as other people at each: 1." in found.notes[-1]
    one = at_sites(*images, ids="global")
    assert one.groups.tolist() == [0, 0, 0, 1]
    assert one.notes == ()


def test_an_image_that_says_no_site_is_of_the_patient_of_that_name() -> None:
    assert at_sites(("north", "1", ""), ("", "1", ""), ("north", "2", "")).groups.tolist() == [0, 0, 1]
    several = at_sites(("north", "1", ""), ("", "1", ""), ("south", "1", ""))
    assert several.groups.tolist() == [0, 1, 2]
