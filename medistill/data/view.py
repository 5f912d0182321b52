"""View: which way a radiograph was taken, as far as a file or a table says it."""

from __future__ import annotations

from typing import Literal

View = Literal["frontal", "lateral", "unknown"]

FRONTAL = ("PA", "AP", "FRONTAL", "POSTEROANTERIOR", "ANTEROPOSTERIOR")
LATERAL = ("LL", "RL", "LAT", "LATERAL", "L", "LLD", "RLD", "LLO", "RLO", "LAO", "RAO", "LPO", "RPO", "OBLIQUE")


def view_of(text: str) -> View:
    """Read what a ViewPosition or a table's cell says, such as "PA", "AP Supine", "frontal" or "Lateral"."""
    words = text.upper().replace("-", "").replace("_", " ").replace("/", " ").split()
    if any(word in LATERAL for word in words):
        return "lateral"
    return "frontal" if any(word in FRONTAL for word in words) else "unknown"
