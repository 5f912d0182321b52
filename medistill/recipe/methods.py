"""The methods by name: each is settings over the same parts, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Method = Literal["iadd", "mtt", "pp", "ftd", "satm", "pdd", "datm", "ddoq", "d4m"]
QUANTISING: tuple[Method, ...] = ("ddoq", "d4m")
"""Methods that quantise the corpus, and follow no experts."""

_MTT: dict[str, Any] = {
    "experts.sharpness": 0.0,
    "experts.surrogate_gap": 0.0,
    "distill.sharpness": 0.0,
    "distill.stages": 1,
    "distill.labels": "hard",
    "distill.start_growth": 0.0,
    "importance.direction": "frozen",
    "importance.mask": "none",
}
_FREE = ("distill.labels", "distill.start_growth", "importance.mask")
"""What IADD's text leaves open: a recipe of it may choose."""
_QUANTISED: dict[str, Any] = {"distill.init": "quantised", "distill.labels": "soft"}
METHODS: dict[Method, dict[str, Any]] = {
    "iadd": {**{key: value for key, value in _MTT.items() if key not in _FREE}, "importance.direction": "descent"},
    "mtt": _MTT,
    "pp": {**_MTT, "importance.mask": "unlike"},
    "ftd": {**_MTT, "experts.sharpness": 0.01, "experts.surrogate_gap": 1.0, "distill.ema": 0.999},
    "satm": {**_MTT, "distill.sharpness": 0.05},
    "pdd": {**_MTT, "distill.stages": 5},
    "datm": {**_MTT, "distill.labels": "soft", "distill.start_growth": 0.5},
    "ddoq": {**_MTT, **_QUANTISED, "quantise.weights": "mass"},
    "d4m": {**_MTT, **_QUANTISED, "quantise.weights": "uniform"},
}
"""What each method sets, beside MTT's settings. A recipe may choose another value for what its method turns on."""


def changed_to(method: Method) -> dict[str, Any]:
    """What a recipe of another method is set to: nothing of that one is left, also where this one leaves it open."""
    return {**_MTT, **METHODS[method]}


def with_method(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Plain settings of a recipe, with those of its method where it says nothing itself."""
    filled: dict[str, Any] = dict(settings)
    method = filled.get("method", "iadd")
    for key, value in METHODS[method].items() if method in [*METHODS] else ():
        section, _, name = key.partition(".")
        present = filled.get(section, {})
        if isinstance(present, Mapping):
            filled[section] = {name: value, **present}
    return filled


def contradictions(method: Method, settings: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What a recipe turns on although its method, as its name promises, leaves it off."""
    return [
        f"{key} = {settings[section][name]!r}"
        for key, value in METHODS[method].items()
        for section, _, name in [key.partition(".")]
        if key in _MTT and value == _MTT[key] and settings[section][name] != value
    ]
