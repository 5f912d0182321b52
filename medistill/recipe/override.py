"""Overrides: ``section.key=value``, put into a recipe's plain values, and the change from one method to another."""

from __future__ import annotations

import tomllib
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, get_origin

from medistill.errors import FormerFile, RecipeError
from medistill.method_names import DEFAULT_METHOD, method_names
from medistill.recipe.former import renamed
from medistill.recipe.method import MethodSettings, field_of, is_section, settings_kind
from medistill.recipe.recipe import Recipe
from medistill.recipe.section import Section


def apply_override(settings: dict[str, Any], override: str) -> None:
    """Put one override into plain values, in place.

    Raises:
        RecipeError: it has another form.
    """
    written, sign, text = override.partition("=")
    key = renamed(written.strip())
    if key != written.strip():
        warnings.warn(f"--set {written.strip()}: that setting is called {key} now.", FormerFile, stacklevel=3)
    parts, holds = _place(settings, key)
    if not sign or not all(parts) or (len(parts) > 2 and parts[0] != "method" and holds is not dict):
        raise RecipeError(
            f"--set {override}", expected="section.key=value, as in method.ipc=10", do="write it in that form"
        )
    value = _value(text, holds)
    target = settings
    for part in parts[:-1]:
        target = target.setdefault(part, {})
        if not isinstance(target, dict):
            raise RecipeError(
                f"--set {override}: {part} has no settings", expected="section.key=value", do="correct it"
            )
    if key == "method.name" and value in [*method_names()]:
        settings["method"] = changed_method(settings.get("method", {}), value)
    elif key == "method.name":
        settings["method"] = {"name": value}
    else:
        target[parts[-1]] = value


def changed_method(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Plain values of the section `method`, of another method or anew of the same.

    What makes the one or the other method takes this one's defaults, so that nothing of the former is left; what both
    have besides is kept.

    Args:
        values: the section as it is.
        name: the method that it is to be of.
    """
    former, kind = values.get("name", DEFAULT_METHOD), settings_kind(name)
    before = settings_kind(former) if former in [*method_names()] else MethodSettings
    own = kind.OWN if former == name else (*kind.OWN, *before.OWN)
    return {"name": name, **dict(_kept(values, "", before, kind, own))}


def _kept(
    values: Mapping[str, Any], prefix: str, before: type[Section], kind: type[Section], own: tuple[str, ...]
) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        path = prefix + key
        if path in ("name", *own) or (field_of(kind, path) is None and field_of(before, path) is not None):
            continue
        if isinstance(value, Mapping):
            yield key, dict(_kept(value, f"{path}.", before, kind, own))
        else:
            yield key, value  # also what neither has: it is refused by its name


def _place(settings: Mapping[str, Any], key: str) -> tuple[list[str], Any]:
    """The parts of a key, and what its setting holds beside single values: `tuple` for a list, `dict` for names with a
    list each, whose name may have dots; else None."""
    parts, kind = key.split("."), _method_kind(settings)
    section: type[Section] = Recipe
    for number, part in enumerate(parts):
        field = section.model_fields.get(part)
        annotation = kind if section is Recipe and part == "method" else None if field is None else field.annotation
        if is_section(annotation):
            section = annotation
            continue
        holds = get_origin(annotation)
        rest = parts[number + 1 :]
        if holds is dict and rest:
            return [*parts[: number + 1], ".".join(rest)], dict
        return parts, tuple if holds is tuple and not rest else None
    return parts, None


def _method_kind(settings: Mapping[str, Any]) -> type[MethodSettings]:
    method = settings.get("method")
    name = method.get("name", DEFAULT_METHOD) if isinstance(method, Mapping) else DEFAULT_METHOD
    return settings_kind(name) if name in [*method_names()] else MethodSettings


def _value(text: str, holds: Any) -> Any:
    try:
        value: Any = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text.strip()
    if holds is None or isinstance(value, list):
        return value
    return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else [value]
