"""From TOML text and overrides to a recipe, and back; what is wrong is named with its place and its remedy."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel, ValidationError

from medistill.errors import RecipeError, UsageError
from medistill.recipe.methods import METHODS, changed_to
from medistill.recipe.section import Section
from medistill.recipe.sections import Recipe
from medistill.visible import MOST_NAME, visible


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(entry.name.removesuffix(".toml") for entry in _shipped().iterdir() if entry.name.endswith(".toml"))


def load_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe that comes with the package, or a TOML file, and apply ``section.key=value`` overrides in order.

    Raises:
        RecipeError: no such recipe, not TOML, an unknown key, or a value outside its range.
    """
    text, origin = _read(name_or_path)
    try:
        settings = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also a number of 5,000 digits, and lists in lists in lists
        raise RecipeError(f"{origin} is not TOML: {error}", expected="a TOML recipe", do="mend that line") from None
    return _override(settings, overrides, origin)


def override_recipe(recipe: Recipe, overrides: Sequence[str], origin: str) -> Recipe:
    """The recipe with ``section.key=value`` overrides applied in order.

    Raises:
        RecipeError: an unknown key, or a value outside its range.
    """
    return _override(recipe.model_dump(mode="json"), overrides, origin)


def _override(settings: dict[str, Any], overrides: Sequence[str], origin: str) -> Recipe:
    for override in overrides:
        _apply(settings, override)
    return validate_recipe(settings, origin)


def validate_recipe(settings: Mapping[str, Any], origin: str) -> Recipe:
    """Make a recipe of plain values; ``origin`` says in messages where they come from.

    Raises:
        RecipeError: an unknown key, or a value outside its range.
    """
    try:
        return Recipe.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            if "." not in field and isinstance(first["input"], Mapping) and first["input"]:
                field = f"{field}.{next(iter(first['input']))}"  # an unknown section: its first key says what was meant
            key = field.rpartition(".")[2]  # its section may be wrong or left out
            near = [name for name in _fields(Recipe) if name.endswith(f".{key}")]
            near = near or difflib.get_close_matches(field, _fields(Recipe), n=1)
            raise RecipeError(
                f"{origin}: there is no setting '{field}'",
                expected=f"a setting such as '{near[0]}'" if near else "one that `medistill recipes show` prints",
                do="correct the name or leave it out",
            ) from None
        message = first["msg"].removeprefix("Value error, ").partition(", unable to parse")[0]
        message = message.replace("Input should be a valid", "a valid").replace("Input should be", "a value that is")
        if first["type"] == "dict_type":
            message = f"names with a list each, as in --set {field}.Abnormal=COVID,Viral_Pneumonia"
        if first["type"] == "model_type":
            message = f"settings in that section, as in {next(n for n in _fields(Recipe) if n.startswith(field))}"
        seen = (
            f"{origin}: {field} = {visible(repr(first['input']), most=MOST_NAME)}" if field else f"{origin}: {message}"
        )
        raise RecipeError(
            seen, expected=message if field else "settings that fit together", do="correct it in the recipe or by --set"
        ) from None


def recipe_differences(mine: Recipe, other: Recipe) -> list[str]:
    """Name each setting in which two recipes differ, as ``section.key: mine, not other``."""
    flat_mine, flat_other = dict(_flatten(mine.model_dump())), dict(_flatten(other.model_dump()))
    return [
        f"{key}: {flat_mine[key]!r}, not {flat_other[key]!r}"
        for key in flat_mine
        if flat_mine[key] != flat_other[key] and key not in ("name", "description")
    ]


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

    return tomli_w.dumps(recipe.model_dump(mode="json"))


def _shipped() -> Any:
    """The folder of recipes: inside the wheel, or beside the package in a checkout."""
    inside = resources.files("medistill") / "recipes"
    return inside if inside.is_dir() else Path(__file__).resolve().parents[2] / "recipes"


def _read(name_or_path: str | Path) -> tuple[str, str]:
    text = str(name_or_path)
    if not text.endswith(".toml") and text in recipe_names():
        return (_shipped() / f"{text}.toml").read_text(encoding="utf-8"), f"recipe {text}"
    path = Path(text)
    if not path.is_file():
        near = difflib.get_close_matches(text, recipe_names(), n=1)
        raise RecipeError(
            f"there is no recipe '{text}'",
            expected=f"one of {', '.join(recipe_names())}, or a path to a .toml file",
            do=f"take '{near[0]}'" if near else "run `medistill recipes list`",
        )
    try:
        return path.read_text(encoding="utf-8"), str(path)
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} cannot be read: {error}", expected="a UTF-8 text file", do="check it") from None


def _apply(settings: dict[str, Any], override: str) -> None:
    key, sign, text = override.partition("=")
    parts = key.strip().split(".", 2)
    of_map = len(parts) == 3 and _held(parts[0], parts[1]) is dict
    if not sign or not all(parts) or (len(parts) > 2 and not of_map):
        raise RecipeError(
            f"--set {override}", expected="section.key=value, as in distill.ipc=10", do="write it in that form"
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text.strip()
    if not isinstance(value, list) and (of_map or (len(parts) == 2 and _held(parts[0], parts[1]) is tuple)):
        value = [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else [value]
    target = settings
    for part in parts[:-1]:
        target = target.setdefault(part, {})
        if not isinstance(target, dict):
            raise RecipeError(
                f"--set {override}: {part} has no settings", expected="section.key=value", do="correct it"
            )
    former, target[parts[-1]] = target.get("method", "iadd"), value
    if parts == ["method"] and value in [*METHODS]:
        for name, of_method in (METHODS[value] if value == former else changed_to(value)).items():
            section, _, setting = name.partition(".")
            if isinstance(target.setdefault(section, {}), dict):
                target[section][setting] = of_method


def _held(section: str, key: str) -> Any:
    """What a setting holds beside single values: `tuple` for a list, `dict` for names with a list each; else None."""
    model = Recipe.model_fields.get(section)
    if model is None or not isinstance(model.annotation, type) or not issubclass(model.annotation, Section):
        return None
    field = model.annotation.model_fields.get(key)
    return None if field is None else get_origin(field.annotation)


def _fields(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _fields(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name


def _flatten(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The settings of all sections, ``section.key`` -> value."""
    for section, value in values.items():
        if isinstance(value, Mapping):
            yield from ((f"{section}.{key}", setting) for key, setting in value.items())
        else:
            yield section, value
