"""Demographics: sex and age as far as a file or a table says them, in words too coarse to single anybody out.

An age becomes a band as soon as it is read, so that neither the cache nor a report ever holds an exact one; what they
serve for is to show whether a network does worse for some people, and bands do for that. The bands are those that
clinical studies of chest radiographs usually give (minors, two halves of working life, older people). Ages above 89,
which privacy law in the United States counts among the identifiers (HIPAA, 45 CFR 164.514(b)(2)(i)(C)), lie in the last
band with all others from 65 on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime

from medistill.data.words import plain, stated

AGE_BANDS = ("0 to 17", "18 to 39", "40 to 64", "65 and over")
_STARTS = (0, 18, 40, 65)
"""First full year of each band."""
_OLDEST = 122
"""Years; nobody is known to have lived longer, so that more is an error of typing."""
_SEXES = {
    **dict.fromkeys(("f", "w", "female", "woman", "weiblich", "frau", "femme", "feminin", "femenino"), "female"),
    **dict.fromkeys(("mujer", "femenina", "feminine"), "female"),
    **dict.fromkeys(("m", "h", "male", "man", "mannlich", "mann", "homme", "masculin", "masculino", "hombre"), "male"),
    **dict.fromkeys(("o", "d", "x", "other", "divers", "autre", "otro"), "other"),
}
_AGE = re.compile(r"(?P<open>[>≥]=?)?\s*(?P<count>\d{1,5}(?:[.,]\d+)?)\s*(?P<more>\+)?\s*(?P<unit>[a-z]*)\.?")
_PER_YEAR = {
    **dict.fromkeys(("", "y", "yr", "yrs", "year", "years", "a", "an", "ans", "ano", "anos", "j", "jahr", "jahre"), 1),
    **dict.fromkeys(("m", "mo", "mos", "month", "months", "monat", "monate", "mois", "mes", "meses"), 12.0),
    **dict.fromkeys(("w", "wk", "wks", "week", "weeks", "woche", "wochen", "semaine", "semaines"), 365.25 / 7),
    **dict.fromkeys(("semana", "semanas"), 365.25 / 7),
    **dict.fromkeys(("d", "day", "days", "tag", "tage", "jour", "jours", "dia", "dias"), 365.25),
}
"""How many of a unit make a year; a bare number is years."""


def sex_of(text: str) -> str | None:
    """Read a PatientSex or a table's cell: "female", "male", "other", "" where it says nothing, None where nonsense."""
    said = plain(stated(text))
    return "" if said in ("", "u") else _SEXES.get(said)


def age_band(text: str) -> str | None:
    """Read a PatientAge such as "045Y", or a table's cell such as "45", "6 months", ">89" or "40 to 64".

    Returns:
        One of `AGE_BANDS`, "" where it says nothing, None where it cannot be an age.
    """
    said = plain(stated(text))
    if said in ("", "u", *AGE_BANDS):
        return said if said in AGE_BANDS else ""
    found = _AGE.fullmatch(said)
    if found is None or found["unit"] not in _PER_YEAR:
        return None
    years = float(found["count"].replace(",", ".")) / _PER_YEAR[found["unit"]]
    if (found["open"] or found["more"]) and years < _STARTS[-1]:
        return None  # "more than 30" may be any age
    return _band(years)


def age_band_between(birth: str, study: str) -> str | None:
    """The band of the age that somebody born on one DICOM date (YYYYMMDD) had on another; like `age_band`.

    Equal dates say nothing: exports that remove dates put one and the same into every place.
    """
    if not stated(birth) or not stated(study) or birth.strip() == study.strip():
        return ""
    try:
        born, taken = _date(birth), _date(study)
    except ValueError:
        return None
    return _band(taken.year - born.year - ((taken.month, taken.day) < (born.month, born.day)))


def settled(first: str | None, second: str | None) -> str | None:
    """What holds of two readings of `sex_of` or `age_band`: the first one, as far as it says anything."""
    return first or second or (None if first is None or second is None else "")


def unread(nouns: str, said: Sequence[str | None]) -> list[str]:
    """The note of a reading on what was stated and could not be read, if there is any of that."""
    count = sum(1 for one in said if one is None)
    return [f"{nouns} that could not be read and count as not stated: {count}."] if count else []


def _band(years: float) -> str | None:
    if not 0 <= years <= _OLDEST:
        return None
    return AGE_BANDS[sum(1 for start in _STARTS if years >= start) - 1]


def _date(text: str) -> date:
    """A date as the standard writes it, also with the dots of its first edition.

    Raises:
        ValueError: it is none.
    """
    return datetime.strptime(text.strip().replace(".", ""), "%Y%m%d").date()
