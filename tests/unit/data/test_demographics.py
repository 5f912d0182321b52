"""Demographics: what stands for a sex and an age, what does not, and that nothing exact comes out."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medistill.data.demographics import AGE_BANDS, age_band, age_band_between, settled, sex_of, unread

NONSENSE = ["-3", "abc", "999Y", "123", "45Q", "4 5", "30+", ">30", "12-05-1950", "1e2", "40 to 50", "045YY", "٤٥Y Y"]


@pytest.mark.parametrize(
    ("text", "sex"),
    [
        ("F", "female"),
        (" female ", "female"),
        ("Woman", "female"),
        ("m", "male"),
        ("MALE", "male"),
        ("O", "other"),
        ("", ""),
        ("U", ""),
        ("unknown", ""),
        ("nan", ""),
        ("1", None),
        ("FM", None),
        ("Doe^Jane", None),
    ],
)
def test_sexes(text, sex):
    assert sex_of(text) == sex


@pytest.mark.parametrize(
    ("text", "band"),
    [
        ("045Y", "40 to 64"),
        ("45", "40 to 64"),
        ("34 J.", "18 to 39"),
        ("71a", "65 and over"),
        ("45.0", "40 to 64"),
        ("17,9", "0 to 17"),
        ("18", "18 to 39"),
        ("39.99", "18 to 39"),
        ("40 years", "40 to 64"),
        ("64y", "40 to 64"),
        ("65 Yrs.", "65 and over"),
        ("006M", "0 to 17"),
        ("215M", "0 to 17"),
        ("216 months", "18 to 39"),
        ("003W", "0 to 17"),
        ("010D", "0 to 17"),
        ("0", "0 to 17"),
        ("90", "65 and over"),
        ("122", "65 and over"),
        (">89", "65 and over"),
        ("≥ 90", "65 and over"),
        ("90+", "65 and over"),
        ("18 to 39", "18 to 39"),
        ("65 and over", "65 and over"),
        ("", ""),
        (" n/a ", ""),
        ("NaN", ""),
        *((text, None) for text in NONSENSE),
    ],
)
def test_ages(text, band):
    assert age_band(text) == band


@pytest.mark.parametrize(
    ("birth", "study", "band"),
    [
        ("20000229", "20180228", "0 to 17"),
        ("20000229", "20180301", "18 to 39"),
        ("19500101", "20150101", "65 and over"),
        ("19500102", "20150101", "40 to 64"),
        ("1950.01.01", "20150101", "65 and over"),
        ("", "20150101", ""),
        ("19500101", "", ""),
        ("19000101", "19000101", ""),
        ("20200101", "20150101", None),
        ("18000101", "20150101", None),
        ("19501301", "20150101", None),
        ("1950", "20150101", None),
    ],
)
def test_ages_from_dates(birth, study, band):
    assert age_band_between(birth, study) == band


@given(st.dates(date(1900, 1, 1), date(2000, 12, 31)), st.integers(1, 40_000))
def test_ages_from_dates_count_birthdays(birth, days):
    """Against counting the birthdays one by one; who was born on 29 February has theirs on 1 March in other years."""
    study = birth + timedelta(days)
    birthdays, year = 0, birth.year + 1
    while True:
        try:
            birthday = birth.replace(year=year)
        except ValueError:
            birthday = date(year, 3, 1)
        if birthday > study:
            break
        birthdays, year = birthdays + 1, year + 1
    expected = next(band for band, last in zip(AGE_BANDS, (17, 39, 64, 200), strict=True) if birthdays <= last)
    told = age_band_between(f"{birth:%Y%m%d}", f"{study:%Y%m%d}")
    assert told == age_band(str(birthdays)) == expected


@given(st.text(max_size=12))
def test_nothing_but_bands_and_words_comes_out(text):
    assert age_band(text) in (*AGE_BANDS, "", None)
    assert age_band_between(text, "20200101") in (*AGE_BANDS, "", None)
    assert sex_of(text) in ("female", "male", "other", "", None)


def test_the_first_readable_statement_holds_and_nonsense_is_counted_where_nothing_else_is_known():
    assert [settled(*both) for both in (("male", "female"), ("", "female"), (None, "female"), ("male", None))] == [
        "male",
        "female",
        "female",
        "male",
    ]
    assert [settled(*both) for both in (("", ""), (None, ""), ("", None))] == ["", None, None]
    assert unread("Ages", ["", "0 to 17"]) == []
    assert unread("Ages", ["", None, "0 to 17", None]) == ["Ages that could not be read and count as not stated: 2."]
