"""From TOML text and overrides to a recipe, and back; what is wrong is named with its place and its remedy."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from medistill.errors import RecipeError, UsageError
from medistill.nearest_names import did_you_mean
from medistill.recipe.former import upgraded
from medistill.recipe.override import apply_override
from medistill.recipe.recipe import Recipe
from medistill.recipe.refusal import refusal
from medistill.recipe.section import Section


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(entry.name.removesuffix(".toml") for entry in _shipped().iterdir() if entry.name.endswith(".toml"))


def load_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe that comes with the package, or a TOML file, and apply ``section.key=value`` overrides in order.

    Raises:
        RecipeError: no such recipe, not TOML, an unknown key, or a value outside its range.
    """
    text, origin = read_text(name_or_path)
    return _override(parse_toml(text, origin), overrides, origin)


def parse_toml(text: str, origin: str) -> dict[str, Any]:
    """Plain values of TOML text; ``origin`` says where it comes from.

    Raises:
        RecipeError: it is no TOML.
    """
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also a number of 5,000 digits, and lists in lists in lists
        raise RecipeError(f"{origin} is not TOML: {error}", expected="a TOML recipe", do="mend that line") from None


def override_recipe(recipe: Recipe, overrides: Sequence[str], origin: str) -> Recipe:
    """The recipe with ``section.key=value`` overrides applied in order.

    Raises:
        RecipeError: an unknown key, or a value outside its range.
    """
    return _override(recipe.model_dump(mode="json"), overrides, origin)


def _override(settings: Mapping[str, Any], overrides: Sequence[str], origin: str) -> Recipe:
    changed = upgraded(settings, origin)
    for override in overrides:
        apply_override(changed, override)
    return _checked(changed, origin)


def validate_recipe(settings: Mapping[str, Any], origin: str) -> Recipe:
    """Make a recipe of plain values, also of those of a former version; ``origin`` says where they come from.

    Raises:
        RecipeError: an unknown key, a setting of another method, or a value outside its range.
    """
    return _checked(upgraded(settings, origin), origin)


def _checked(settings: Mapping[str, Any], origin: str) -> Recipe:
    try:
        return Recipe.model_validate(settings)
    except ValidationError as error:
        raise refusal(error, settings, origin) from None


def recipe_differences(mine: Recipe, other: Recipe) -> list[str]:
    """Name each setting in which two recipes differ, as ``section.key: mine, not other``."""
    flat_mine, flat_other = dict(settings_of(mine)), dict(settings_of(other))
    keys = [key for key in {**flat_mine, **flat_other} if key not in ("name", "description")]
    return [
        f"{key}: {_told(flat_mine, key)}, not {_told(flat_other, key)}"
        for key in keys
        if _told(flat_mine, key) != _told(flat_other, key)
    ]


def _told(values: Mapping[str, Any], key: str) -> str:
    return repr(values[key]) if key in values else "none"


def refuse_another_recipe(mine: Recipe, stored: Recipe, run: Path) -> None:
    """Refuse to go on with the run in a folder under other settings than its own.

    Raises:
        UsageError: they differ; each setting is named.
    """
    if differences := recipe_differences(mine, stored):
        raise UsageError(
            f"the run in {run} was started under another recipe: {'; '.join(differences)}",
            expected="the settings that it was started with",
            do="repeat the first command with --resume, or choose another --out",
        )


def recipe_toml(recipe: Recipe) -> str:
    """The recipe as TOML text, every setting spelled out."""
    import tomli_w

    plain = recipe.model_dump(mode="json")
    exact = tomli_w.dumps(plain)
    return exact if "\\r" in exact else tomli_w.dumps(plain, multiline_strings=True)  # many lines keep no return


def _shipped() -> Any:
    """The folder of recipes: inside the wheel, or beside the package in a checkout."""
    inside = resources.files("medistill") / "recipes"
    return inside if inside.is_dir() else Path(__file__).resolve().parents[2] / "recipes"


def read_text(name_or_path: str | Path) -> tuple[str, str]:
    """Text of a recipe that comes with the package, or of a file, and what to call it in messages.

    Raises:
        RecipeError: there is none, or it cannot be read.
    """
    text = str(name_or_path)
    if not text.endswith(".toml") and text in recipe_names():
        return (_shipped() / f"{text}.toml").read_text(encoding="utf-8"), f"recipe {text}"
    path = Path(text)
    if not path.is_file():
        if text.endswith(".toml"):
            raise RecipeError(f"there is no file '{text}'", expected="a recipe in TOML", do="check the path")
        raise RecipeError(
            f"there is no recipe '{text}'{did_you_mean(text, recipe_names())}",
            expected=f"one of {', '.join(recipe_names())}, or a path to a .toml file",
            do="correct the name; `medistill recipes list` tells what each is for",
        )
    try:
        return path.read_text(encoding="utf-8"), str(path)
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} cannot be read: {error}", expected="a UTF-8 text file", do="check it") from None


def sections_of(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """Every setting as plain values, section by section: ``method.experts`` -> ``lr`` -> value, "" outside of all."""
    return dict(_sections(recipe, recipe.model_dump(mode="json"), ""))


def _sections(section: Section, plain: dict[str, Any], name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    within = [key for key in type(section).model_fields if isinstance(getattr(section, key), Section)]
    yield name, {key: value for key, value in plain.items() if key not in within}
    for key in within:
        yield from _sections(getattr(section, key), plain[key], f"{name}.{key}" if name else key)


def settings_of(section: Section, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting of a recipe or of a part of it: its name as section.key, and its value."""
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from settings_of(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
