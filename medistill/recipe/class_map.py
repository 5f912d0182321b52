"""Class map: which classes of the files count as one."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from medistill.recipe.section import Names, Text

MOST_CLASSES = 1000
"""United classes that a recipe may have."""


def united_once(class_map: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """The map, if every name is united into one class.

    Raises:
        ValueError: a name stands in two of them, or in none of its own and in another, or a class unites nothing.
    """
    into: dict[str, str] = {}
    for united, names in class_map.items():
        if not united or not all(names) or not names:
            raise ValueError("a name for each united class, and the classes that it unites")
        for name in (united, *names):
            if into.setdefault(name, united) != united:
                raise ValueError(f"every class in one united class alone; {name} stands in {into[name]} and {united}")
    return class_map


ClassMap = Annotated[dict[Text, Names], Field(max_length=MOST_CLASSES), AfterValidator(united_once)]
"""United class -> the classes of the files that it is made of."""
