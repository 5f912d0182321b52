"""Former recipes: those in which settings of the method lay in sections beside it. They are read for one version.

Then `method` was a name, and `distill`, `experts`, `importance`, `quantise` and `autoencoder` held settings of every
method at once. Now the section `method` holds those of the one that is named.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from medistill.errors import FormerFile, RecipeError
from medistill.method_names import DEFAULT_METHOD, method_names
from medistill.recipe.method import field_of, methods_with, settings_kind
from medistill.recipe.sections import LEAST_COINS, LEAST_SHADOWS

SECTIONS = {
    "distill": "",
    "experts": "experts.",
    "importance": "importance.",
    "quantise": "quantise.",
    "autoencoder": "autoencoder.",
}
"""Former section -> where its settings lie within the method."""
RENAMED = {
    "importance.mask": "mask.rule",
    "importance.mask_share": "mask.share",
    "importance.mask_until": "mask.until",
    "importance.mask_likeness": "mask.likeness",
}
"""Former setting -> its name within the method, where its section does not tell it."""
WITHIN = ("name", "experts", "importance", "mask", "quantise", "autoencoder")
"""What the section `method` holds beside the settings of the former `distill`."""
OFF: Mapping[str, Any] = {
    "experts.sharpness": 0.0,
    "experts.surrogate_gap": 0.0,
    "sharpness": 0.0,
    "stages": 1,
    "labels": "hard",
    "start_growth": 0.0,
    "importance.direction": "frozen",
    "mask.rule": "none",
    "init": "quantised",
}
"""Setting within the method -> the one value that a former recipe might give it under a method that lacks it now."""


def renamed(setting: str) -> str:
    """How a setting is written now, as section.key; the same where that did not change."""
    section, _, key = setting.partition(".")
    if setting == "method":
        return "method.name"
    path = _within(section, key) if section in SECTIONS else ""
    return f"method.{path}" if path else setting


def is_former(settings: Mapping[str, Any]) -> bool:
    """Whether plain values are those of a former recipe."""
    if isinstance(settings.get("method"), Mapping):
        return False
    return isinstance(settings.get("method"), str) or any(section in settings for section in SECTIONS)


def as_written_now(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values with every former setting in its present place, whether or not its method has it; unchecked.

    What never was a setting of a former recipe is left out.
    """
    if not is_former(settings):
        return dict(settings)
    method: dict[str, Any] = {"name": settings["method"]} if "method" in settings else {}
    for section in SECTIONS:
        values = settings.get(section)
        for key, value in values.items() if isinstance(values, Mapping) else ():
            if path := _within(section, key):
                _put(method, path, value)
    return {**_others(settings), "method": method}


def upgrade(settings: Mapping[str, Any], origin: str) -> tuple[dict[str, Any], str]:
    """A former recipe's plain values as they are written now, and a note; the same and no note of any other.

    What its method does not have is left out where it changed nothing.

    Args:
        settings: as they were read.
        origin: where they come from, for messages.

    Raises:
        RecipeError: it turns on what its method, as its name promises, leaves off; or a section is none.
    """
    if not is_former(settings):
        return dict(settings), ""
    name = settings.get("method", DEFAULT_METHOD)
    method: dict[str, Any] = {"name": name}
    idle = []
    for former, path, value in _settings(settings, origin):
        if not path:
            raise RecipeError(
                f"{origin}: there is no setting '{former}'",
                expected="one that `medistill recipes show` prints",
                do="correct the name or leave it out",
            )
        if name not in [*method_names()] or not (having := methods_with(path)) or name in having:
            _put(method, path, value)  # where no method has it, it is refused by its name
        elif path in OFF and OFF[path] != value:
            raise RecipeError(
                f"{origin}: method {name} leaves off what is set here: {former} = {value!r}",
                expected=f"settings of {name}, or a method that has this one ({', '.join(having)})",
                do="leave it out, or choose that method",
            )
        elif all(value != _default(one, path) for one in having) and path not in OFF:
            idle.append(former)
    others, replaced = _without_forward(_others(settings))
    left_out = f" Left out, since {name} has no such settings: {', '.join(idle)}." if idle else ""
    return {**others, "method": method}, (f"{origin} is written for a former version of medistill.{left_out}{replaced}")


def upgraded(settings: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """As `upgrade`, with the note as a warning that says how to be rid of it, and `askable`."""
    now, note = upgrade(settings, origin)
    if note:
        said = f"{note} It is read as it would be written now; `medistill recipes upgrade` writes a file anew."
        warnings.warn(said, FormerFile, stacklevel=2)
    return askable(now, origin)


def askable(settings: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """The same with 0 for a number of shadows or of coins that was too small to tell anything, and a warning: it did
    what 0 does, and is refused now where somebody asks for it (``--set``), which takes no run, set or file from whoever
    has it."""
    audit = settings.get("audit")
    if not isinstance(audit, Mapping):
        return dict(settings)
    least = {"shadows": LEAST_SHADOWS, "one_run_canaries": LEAST_COINS}
    few = {key: 0 for key, count in least.items() if type(audit.get(key)) is int and 0 < audit[key] < count}
    for key in few:
        said = f"{origin}: audit.{key} = {audit[key]} is too few to tell anything; it is read as 0, as it was taken."
        warnings.warn(said, FormerFile, stacklevel=2)
    return {**settings, "audit": {**audit, **few}}


def _settings(settings: Mapping[str, Any], origin: str) -> Iterator[tuple[str, str, Any]]:
    """Every former setting of the method: its former name, its name within the method, its value."""
    for section in SECTIONS:
        values = settings.get(section, {})
        if not isinstance(values, Mapping):
            raise RecipeError(
                f"{origin}: {section} = {str(values)[:64]}",
                expected="settings in that section",
                do="correct it in the recipe",
            )
        yield from ((f"{section}.{key}", _within(section, key), value) for key, value in values.items())


def _within(section: str, key: str) -> str:
    """Where a former setting lies within the method; empty where what lies there never was one of a former recipe."""
    path = RENAMED.get(f"{section}.{key}", SECTIONS[section] + key)
    never = not key or "." in key or path in WITHIN
    return "" if never else path


def _others(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in SECTIONS and name != "method"}


def _without_forward(settings: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The same with the way of differentiating that there is in place of the one that is gone, and a note of it."""
    compute = settings.get("compute")
    if not isinstance(compute, Mapping) or compute.get("step") != "forward":
        return settings, ""
    note = ' compute.step = "forward" is gone, and read as "reverse", which gives the same derivative.'
    return {**settings, "compute": {**compute, "step": "reverse"}}, note


def _default(method: str, path: str) -> Any:
    return field_of(settings_kind(method), path).default


def _put(values: dict[str, Any], path: str, value: Any) -> None:
    *sections, key = path.split(".")
    for section in sections:
        values = values.setdefault(section, {})
    values[key] = value
