"""Refusals: what pydantic has against a recipe, as an error that names the setting, its place and the remedy."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from medistill.errors import RecipeError
from medistill.method_names import DEFAULT_METHOD, method_names
from medistill.nearest_names import did_you_mean, nearest_names, proposed
from medistill.recipe.method import MethodSettings, is_section, methods_with, settings_kind
from medistill.recipe.recipe import Recipe
from medistill.recipe.section import Section
from medistill.visible import MOST_NAME, visible


def refusal(error: ValidationError, settings: Mapping[str, Any], origin: str) -> RecipeError:
    """The first complaint, for a user.

    Args:
        settings: the plain values that were refused.
        origin: where they come from.
    """
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return _unknown(field, first["input"], settings, origin)
    message = first["msg"].removeprefix("Value error, ").partition(", unable to parse")[0]
    message = message.replace("Input should be a valid", "a valid").replace("Input should be", "a value that is")
    if first["type"] == "dict_type":
        name = "Abnormal=COVID,Viral_Pneumonia" if field == "data.class_map" else "NAME=method.ipc=5"
        message = f"names with a list each, as in --set {field}.{name}"
    if first["type"] == "model_type":
        near = next(name for name in _fields(settings) if name.startswith(field))
        message = f"settings in that section, as in {near}"
    seen = _seen(first, field)
    return RecipeError(
        f"{origin}: {seen}" if field else f"{origin}: {message}",
        expected=message if field else "settings that fit together",
        do="correct it in the recipe or by --set",
    )


def _seen(first: ErrorDetails, field: str) -> str:
    """The setting and its value; of a method's section its name, which was refused."""
    value, names = first["input"], re.findall(r"'([^']*)'", str(first.get("ctx", {}).get("expected", "")))
    if field == "method" and isinstance(value, Mapping):
        field, value, names = "method.name", value.get("name"), [*method_names()]
    near = did_you_mean(value, names) if isinstance(value, str) else ""
    return f"{field} = {visible(repr(value), most=MOST_NAME)}{near}"


def _unknown(field: str, value: object, settings: Mapping[str, Any], origin: str) -> RecipeError:
    """A setting that there is not, or that another method has."""
    name = _method_of(settings)
    if isinstance(value, Mapping) and value and ("." not in field or field.startswith("method.")):
        field = f"{field}.{next(iter(value))}"  # an unknown section: its first key says what was meant
    having = methods_with(field.removeprefix("method.")) if field.startswith("method.") else []
    if having:
        return RecipeError(
            f"{origin}: {field} is a setting of {', '.join(having)}; {name} has none",
            expected=f"settings of {name}, which `medistill recipes show demo --method {name}` prints",
            do="leave it out, or choose that method",
        )
    key, known = field.rpartition(".")[2], [*_fields(settings)]  # its section may be wrong or left out
    of_others = [*dict.fromkeys(path for other in method_names() for path in _names(settings_kind(other), "method."))]
    elsewhere = [path for path in known if path.endswith(f".{key}")]
    near = elsewhere or nearest_names(field, [*dict.fromkeys([*known, *of_others])])
    having = methods_with(near[0].removeprefix("method.")) if near and near[0] not in known else []
    return RecipeError(
        f"{origin}: there is no setting '{field}'{proposed(near)}",
        expected=f"a setting of {name}; '{near[0]}' is one of {', '.join(having)}"
        if having
        else "one that `medistill recipes show` prints",
        do="correct the name or leave it out",
    )


def _method_of(settings: Mapping[str, Any]) -> str:
    method = settings.get("method")
    return str(method.get("name", DEFAULT_METHOD)) if isinstance(method, Mapping) else DEFAULT_METHOD


def _fields(settings: Mapping[str, Any]) -> Iterator[str]:
    """Every setting of a recipe with that method, as section.key."""
    name = _method_of(settings)
    kind = settings_kind(name) if name in method_names() else MethodSettings
    for field, _ in Recipe.model_fields.items():
        yield from _names(kind, "method.") if field == "method" else _names_of(Recipe, field, "")


def _names(kind: type[Section], prefix: str) -> Iterator[str]:
    for name in kind.model_fields:
        yield from _names_of(kind, name, prefix)


def _names_of(kind: type[Section], name: str, prefix: str) -> Iterator[str]:
    annotation = kind.model_fields[name].annotation
    if is_section(annotation):
        yield from _names(annotation, f"{prefix}{name}.")
    else:
        yield prefix + name
