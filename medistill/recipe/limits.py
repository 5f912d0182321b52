"""What a recipe may ask that came from outside, in a bundle, a set or a classifier: whoever uses it pays for it.

The limits lie far above every published setting. They keep a number in a stranger's file from taking a machine for
days, or more memory than it has; whoever means such a number types it, or allows what is large.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from medistill.errors import RecipeError
from medistill.method_names import method_names
from medistill.recipe.former import as_written_now
from medistill.recipe.method import is_section, settings_kind
from medistill.recipe.recipe import Recipe
from medistill.recipe.section import AtMost, Section

LargeRecipe = Literal["refuse", "allow"]


def limits() -> dict[str, int]:
    """Setting, as section.key -> the largest value that a received recipe may give it, under whichever method.

    The limits stand at the settings themselves (`AtMost`).
    """
    found = dict(_limits(Recipe, ""))
    for name in method_names():
        found |= _limits(settings_kind(name), "method.")
    return found


def _limits(kind: type[Section], prefix: str) -> Iterator[tuple[str, int]]:
    for name, field in kind.model_fields.items():
        if is_section(field.annotation):
            yield from _limits(field.annotation, f"{prefix}{name}.")
        else:
            yield from ((prefix + name, mark.value) for mark in field.metadata if isinstance(mark, AtMost))


def large_settings(recipe: Mapping[str, Any]) -> dict[str, int]:
    """Settings of a recipe's plain values that are above their limits, ``section.key`` -> value."""
    stated = {setting: _stated(recipe, setting) for setting in limits()}
    return {
        setting: int(value)
        for setting, limit in limits().items()
        if isinstance(value := stated[setting], int | float) and value > limit
    }


def _stated(values: object, setting: str) -> object:
    """What plain values say at a dotted path; None where they say nothing."""
    for part in setting.split("."):
        values = values.get(part) if isinstance(values, Mapping) else None
    return values


def refuse_large(
    received: object, origin: str, large_recipe: LargeRecipe, used: Mapping[str, Any] | None = None
) -> None:
    """Refuse a received recipe that asks for more than it may.

    Args:
        received: its plain values, as they came; anything else asks for nothing.
        origin: where it comes from, for messages.
        large_recipe: "allow" lets it pass.
        used: plain values of the recipe that is used instead, in which the user may have set what was large.

    Raises:
        RecipeError: with the setting, its value, the limit and what allows it.
    """
    if large_recipe == "allow" or not isinstance(received, Mapping):
        return
    asked = large_settings(as_written_now(received))
    kept = asked if used is None else large_settings(as_written_now(used))
    for setting, value in asked.items():
        if kept.get(setting) == value:
            raise RecipeError(
                f"{origin} asks for {setting} = {value}",
                expected=f"at most {limits()[setting]} in a recipe that came from outside",
                do=f"set your own with --set {setting}=N, ask the sender what it is for, or take it as it is with "
                "--allow-large-recipe",
            )
