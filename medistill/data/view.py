"""View: which way a radiograph was taken, as far as a file or a table says it."""

from __future__ import annotations

from typing import Literal

View = Literal["frontal", "lateral", "unknown"]

FRONTAL = ("PA", "AP", "FRONTAL", "POSTEROANTERIOR", "ANTEROPOSTERIOR")
LATERAL = ("LL", "RL", "LAT", "LATERAL", "L", "LLD", "RLD", "LLO", "RLO", "LAO", "RAO", "LPO", "RPO", "OBLIQUE")


def view_of(text: str) -> View:
    """Read what a ViewPosition or a table's cell says, such as "PA", "AP Supine", "frontal" or "Lateral"."""
    words = _words(text)
    if any(word in LATERAL for word in words):
        return "lateral"
    return "frontal" if any(word in FRONTAL for word in words) else "unknown"


def view_words(text: str) -> str:
    """What is kept of a stated view: known words alone, so that nothing else that stands there gets into a corpus."""
    known = (*FRONTAL, *LATERAL, "SUPINE", "ERECT")
    return " ".join(word for word in _words(text) if word in known)


def _words(text: str) -> list[str]:
    return text.upper().replace("-", "").replace("_", " ").replace("/", " ").split()
