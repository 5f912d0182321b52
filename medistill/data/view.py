"""View: which way a radiograph was taken, as far as a file or a table says it, in words of several languages.

A word that is not known says nothing, and never that a view is frontal. What is kept of a view are names of our own
(`PA`, `LATERAL` and the like), so that nothing else that stands in a header or a cell gets into a corpus.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from medistill.data.phrases import joined_words, pattern_of
from medistill.data.words import stated

View = Literal["frontal", "lateral", "unknown"]

FRONTAL = ("PA", "AP", "FRONTAL")
LATERAL = ("LATERAL", "LL", "RL", "LLD", "RLD", "LLO", "RLO", "LAO", "RAO", "LPO", "RPO", "OBLIQUE")
_LATERAL_ADJECTIVE = "LAT|LATERAL(?:E|ES|ER|EN|IS)?|LATERAAL|SEITLICH(?:E|ER|ES|EN)?|SEITL"
_ANTERIOR = "ANTERI(?:OR|ORE|EUR|EURE|EURES)"
_POSTERIOR = "POSTERI(?:OR|ORE|EUR|EURE|EURES)"
NAMES = {
    "PA": f"PA|P A|POSTERO ?{_ANTERIOR}|{_POSTERIOR} (?:TO )?{_ANTERIOR}|ACHTERVOORWAARTS|后前位|後前位",
    "AP": f"AP|A P|ANTERO ?{_POSTERIOR}|{_ANTERIOR} (?:TO )?{_POSTERIOR}|VOORACHTERWAARTS|前后位|前後位",
    "LLD": "LLD",
    "RLD": "RLD",
    "LLO": "LLO",
    "RLO": "RLO",
    "LAO": f"LAO|LEFT {_ANTERIOR} OBLIQUE",
    "RAO": f"RAO|RIGHT {_ANTERIOR} OBLIQUE",
    "LPO": f"LPO|LEFT {_POSTERIOR} OBLIQUE",
    "RPO": f"RPO|RIGHT {_POSTERIOR} OBLIQUE",
    "LL": f"LL|L L|LLAT|LTLAT|LATLT|L LAT|(?:LEFT|LT|LINKS|LI) (?:{_LATERAL_ADJECTIVE})|LATERO ?LATERALE?",
    "RL": f"RL|R L|RLAT|RTLAT|LATRT|R LAT|(?:RIGHT|RT|RECHTS|RE) (?:{_LATERAL_ADJECTIVE})",
    "OBLIQUE": "OBLIQUES?|OBLIQU[AOI]|OBLICU[AO]|OBL|SCHRA?E?G(?:E|ER|ES)?|SCHRAE?GAUFNAHME|SCHUIN",
    "LATERAL": (
        f"{_LATERAL_ADJECTIVE}|SEITENAUFNAHME|SEITENBILD|SEITBILD|SIDE VIEW|PROFILO?|PERFIL|ZIJDELINGS|DWARS|"
        "SIDEBILDE?|SIDOBILD|BOCZN[AEY]|БОКОВАЯ|侧位|側位|侧面|側面"
    ),
    "FRONTAL": (
        "FRONTAL(?:E|ES|ER|EN|NA|NE)?|FRONTAAL|FRONT VIEW|DE FACE|DE FRENTE|"
        "(?:THORAX|TORAX|TORACE|POUMONS?|PULMONAIRE) (?:FACE|FRENTE)|FACE(?= (?:ET )?PROFIL)|"
        "FRENTE(?= (?:E |Y )?PERFIL)|ПРЯМАЯ|正位|正面"
    ),
    "SUPINE": "SUPINE?|SUPINO|LIEGEND|COUCHE",
    "ERECT": "ERECT|UPRIGHT|STANDING|STEHEND|DEBOUT",
}
"""Name under which a word is kept -> the words and phrases that mean it, in capitals and without accents."""
ALONE = {"FACE": "FRONTAL", "FRENTE": "FRONTAL", "FRONT": "FRONTAL", "L": "LATERAL"}
"""What means a view where a view is stated and nothing else, but may mean a face or a side in a description."""
_NAMED = pattern_of(NAMES)
_BOTH = re.compile(
    r"(?<!\S)(?:[2-9]|TWO|THREE|FOUR|MULTIPLE|ZWEI|DREI|DEUX|TROIS|DOS|TRES|DUE|DOIS|DUAS|TWEE)(?: OR MORE| PLUS)? "
    r"(?:V|VWS?|VIEWS?|EBENEN|INCIDENCES?|INCIDENCIAS|PROJECTIONS?|PROYECCIONES|PROIEZIONI|RICHTINGEN|POSITIONS?)"
    r"(?!\S)|(?<!\S)(?:PA|AP|P A|A P) (?:AND |UND |ET |Y |E |EN )?(?:L|S)(?!\S)"
)
"""What tells of several views of one study, of which any image may be either."""
_BESIDE = pattern_of(
    {"beside": f"{NAMES['SUPINE']}|{NAMES['ERECT']}|PORTABLE|BEDSIDE|MOBILE|CHEST|THORAX|TORAX|TORACE|LUNGS?"}
)
"""What may stand where a view is stated, and is none."""
UNSAID = ("", "OTHER", "SCONOSCIUTO", "U")
"""What a cell or an element that is there to state a view may say beside words for "not known", and states none."""


def view_of(text: str) -> View:
    """Read what a ViewPosition or a table's cell says, such as "PA", "AP Supine", "frontal" or "seitlich"."""
    return _view(_names(text))


def view_words(text: str) -> str:
    """What is kept of a stated view: names of our own alone, such as "AP SUPINE"."""
    names = _names(text)
    told = set(names)
    vague = {"FRONTAL"} if told & {"PA", "AP"} else set()
    vague |= {"LATERAL"} if told & set(LATERAL[1:]) else set()
    return " ".join(name for name in names if name not in vague)


def states_view(text: str) -> bool:
    """Whether a ViewPosition or a table's cell says anything of the view, be it known or not."""
    words = joined_words(stated(text))
    return words not in UNSAID and bool(_BESIDE.sub("", words).strip())


def united_views(cells: Iterable[str]) -> str:
    """What several cells say of one image's view; a word that is not known is left as it is."""
    return " ".join(dict.fromkeys(view_words(cell) or cell.strip() for cell in cells if states_view(cell)))


def described_view(text: str) -> str:
    """The view that a description of a study, a series or a protocol gives, as `view_words` has it.

    Empty where it gives none, and where it tells of several views, as "CHEST PA AND LATERAL" does: a description of a
    study stands in the headers of all of its images.
    """
    words = joined_words(text)
    names = [found.lastgroup or "" for found in _NAMED.finditer(words)]
    several = _BOTH.search(words) or (set(names) & set(FRONTAL) and set(names) & set(LATERAL))
    return "" if several or _view(names) == "unknown" else view_words(text)


def _names(text: str) -> list[str]:
    words = joined_words(text)
    if words in ALONE:
        return [ALONE[words]]
    return list(dict.fromkeys(found.lastgroup or "" for found in _NAMED.finditer(words)))


def _view(names: list[str]) -> View:
    if any(name in LATERAL for name in names):
        return "lateral"
    return "frontal" if any(name in FRONTAL for name in names) else "unknown"
