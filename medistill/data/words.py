"""Words: what people write into tables and names of folders without case and accents, and which of it says nothing."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection

_SAY_NOTHING = frozenset(
    (
        "", "na", "nan", "nat", "nil", "none", "null", "missing", "undefined", "undetermined", "unk", "unknown",
        "unspecified", "notapplicable", "notavailable", "notknown", "notrecorded", "notspecified", "notstated",
        "fehlend", "fehlt", "keineangabe", "keineangaben", "nichtangegeben", "nichtbekannt", "nichtverfugbar",
        "unbekannt",
        "inconnu", "inconnue", "nonconnu", "nondisponible", "nonprecise", "nonrenseigne", "nonrenseignee",
        "desconocida", "desconocido", "noconsta", "nodisponible", "noespecificado", "sindatos",
    )
)  # fmt: skip
"""Words without their signs, so that N/A, n.a., <NA> and a dash are among them; English, German, French, Spanish."""
_WITH_SIGNS = frozenset(("#nv", "k.a.", "k. a.", "#ref!", "#bezug!", "#value!", "#wert!", "#name?", "#div/0!"))
"""What says nothing with its signs alone: Excel's errors, and a short form that could be a name without them."""

_NOBODY = frozenset(
    (
        "", "anon", "anonym", "anonymised", "anonymized", "anonymous", "deidentified", "deleted", "empty", "hidden",
        "noid", "patient", "patientid", "redacted", "removed",
    )
)  # fmt: skip
"""What stands in place of a patient's identifier, without its signs, where there is none; beside the words above."""


def plain(text: str) -> str:
    """The text in lower case, without accents and surrounding blanks, to compare it with."""
    return without_accents(text.strip().casefold())


def without_accents(text: str) -> str:
    """The text with letters in place of those that bear accents, in its own case."""
    return "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))


def stated(text: str, *, named: Collection[str] = ()) -> str:
    """What a cell or a folder says, without surrounding blanks; "" where that is a word for "not known".

    Args:
        named: words that the recipe names, which therefore say something.
    """
    said, compared = text.strip(), plain(text)
    if said in named:
        return said
    return "" if compared in _WITH_SIGNS or re.sub(r"[^\w+]|_", "", compared) in _SAY_NOTHING else said


def is_nobody(identifier: str) -> bool:
    """Whether what stands in place of a patient's identifier is no patient's."""
    return not stated(identifier) or re.sub(r"[\W_]", "", plain(identifier)) in _NOBODY
