"""Phrases: what a header or a table says, brought into one form in which words of several languages can be found."""

from __future__ import annotations

import re
from collections.abc import Mapping

from medistill.data.words import without_accents

_WORD = re.compile(r"[^\W\d_]+|\d+")
_HAN = re.compile(r"((?:后前|後前|前后|前後|正|侧|側)位|[正侧側]面|胸)")
"""Words of a script that sets none apart."""


def joined_words(text: str) -> str:
    """The words of a text in capitals and without accents, with one space between them; figures are words too."""
    return " ".join(_WORD.findall(without_accents(_HAN.sub(r" \1 ", text)).upper()))


def pattern_of(names: Mapping[str, str]) -> re.Pattern[str]:
    """What finds whole words and phrases in `joined_words`, each under its name, the first ones before the others."""
    parts = "|".join(f"(?P<{name}>{pattern})" for name, pattern in names.items())
    return re.compile(rf"(?<!\S)(?:{parts})(?!\S)")
