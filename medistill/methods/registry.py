"""The methods by name. A file in this package is a method; no list names them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from medistill.errors import RecipeError
from medistill.method_names import method_module, method_names
from medistill.methods.base import Facts, Method
from medistill.recipe import Recipe

UNKNOWN = Facts("", "", "", experts=True, outer_steps=True, learned_lr=True)
"""What is known of a set that does not say its method, or names one that is not known here."""


def find_method(name: str) -> Method[Any]:
    """The method of that name.

    Raises:
        KeyError: there is none.
    """
    method: Method[Any] = method_module(name).METHOD
    return method


def method_of(recipe: Recipe) -> Method[Any]:
    """The method that a recipe names."""
    return find_method(recipe.method.name)


def refuse_unmakeable(recipe: Recipe) -> None:
    """Refuse a recipe with fewer outer steps than its method can be made with, or that names what there is not, before
    anything is made.

    Raises:
        RecipeError: with both numbers, or with what there is.
        UsageError: a decoder that tells them was brought, and is not in the cache.
        ArtifactError: the recipe asks for a decoder that cannot be built.
    """
    method = method_of(recipe)
    steps, least = recipe.method.outer_steps, method.least_steps(recipe)
    if 0 < steps < least:
        raise RecipeError(
            f"method.iterations {steps} gives not each of {least} stages or layers of method {recipe.method.name} an "
            "outer step",
            expected=f"at least {least} outer steps",
            do=f"set method.iterations to {least} or more, or let fewer stages or layers be made (method.stages, "
            "method.layers)",
        )
    method.check(recipe)


def recipe_facts(recipe: Recipe) -> Facts:
    """What is said of a recipe's method."""
    return method_of(recipe).facts(recipe.method)


def facts_of(display_name: str) -> Facts:
    """What is said of the method that a set names, as "IADD"."""
    name = display_name.lower()
    return find_method(name).facts() if name in method_names() else UNKNOWN


def sections_facts(sections: Mapping[str, Mapping[str, Any]]) -> Facts:
    """What is said of the method of a run whose settings are known section by section (`recipe.load.sections_of`)."""
    told = dict(sections.get("method", {}))
    if told.get("name") not in method_names():
        return UNKNOWN
    for path, values in sections.items():
        outer, *inner = path.split(".")
        if outer == "method" and inner:
            place = told
            for key in inner[:-1]:
                place = place.setdefault(key, {})
            place[inner[-1]] = dict(values)
    method = find_method(told["name"])
    try:
        return method.facts(method.settings_type.model_validate(told))
    except ValidationError:  # of a version that had other settings
        return method.facts()


def citations() -> Mapping[str, str]:
    """How the methods' phrases cite a work -> the work."""
    found: dict[str, str] = {}
    for name in method_names():
        found |= find_method(name).facts().citations
    return found
