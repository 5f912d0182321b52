"""Side markers: words on a radiograph that say how it was taken, and nothing of the patient."""

from __future__ import annotations

import re

SIDE_MARKERS = frozenset({
    "L", "R", "LT", "RT", "LEFT", "RIGHT", "PA", "AP", "LAT", "PORTABLE", "MOBILE", "ERECT", "UPRIGHT", "SUPINE",
    "SEMI", "SEMIERECT", "SITTING", "STANDING",
    "RECHTS", "LINKS", "LIEGEND", "STEHEND", "SITZEND", "BETTAUFNAHME",
    "DROITE", "GAUCHE", "DEBOUT", "COUCHE", "ASSIS",
    "DCHA", "IZQ", "IZDA", "DERECHA", "IZQUIERDA", "DECUBITO", "SUPINO", "PRONO",
    "DX", "SX", "DESTRA", "SINISTRA", "CLINOSTATISMO", "ORTOSTATISMO",
})  # fmt: skip
"""In English, German, French, Spanish and Italian."""
LONG = 7
"""Letters of a side marker from which one letter may be read wrongly; shorter ones are too near to names."""


def is_side_marker(text: str) -> bool:
    """Whether text is made of side markers alone, or has no more than one letter or digit."""
    words = words_of(text)
    return sum(map(len, words)) <= 1 or all(word in SIDE_MARKERS or _is_misread(word) for word in words)


def words_of(text: str) -> list[str]:
    """Runs of letters and digits, in capitals."""
    return re.findall(r"[^\W_]+", text.upper())


def _is_misread(word: str) -> bool:
    return any(len(marker) >= LONG and _one_letter_apart(word, marker) for marker in SIDE_MARKERS)


def _one_letter_apart(one: str, other: str) -> bool:
    """Whether a letter changed, added or left out makes one word of the other."""
    if len(one) > len(other):
        one, other = other, one
    same = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))
    return len(other) - len(one) <= 1 and one[same + (len(one) == len(other)) :] == other[same + 1 :]
