"""United: classes of the files that count as one, as the recipe's class map says."""

from __future__ import annotations

from collections.abc import Collection

from medistill.errors import DataError
from medistill.recipe import DataRecipe

MOST_NAMES = 12
"""So many names of classes or sites are repeated in a message at most; more may be patients."""


def class_words(recipe: DataRecipe) -> set[str]:
    """Every name of a class that a recipe knows, united or not."""
    return {*recipe.classes, *recipe.class_map, *recipe.united}


def told_of_map(seen: Collection[str], recipe: DataRecipe) -> list[str]:
    """What the report has to say of the class map.

    Args:
        seen: the classes as the files or the table call them.

    Raises:
        DataError: none of the classes that one unites is there.
    """
    notes = []
    for united, names in recipe.class_map.items():
        absent = [name for name in names if name not in seen]
        if len(absent) == len(names) and united not in seen:
            has = ", ".join(sorted(seen)) if len(seen) <= MOST_NAMES else f"{len(seen)} others"
            raise DataError(
                f"there is no class {' or '.join(names)} for data.class_map to make {united} of; this corpus has {has}",
                expected="classes that are there",
                do="correct data.class_map",
            )
        none = f"; no image is called {' or '.join(absent)}" if absent else ""
        notes.append(f"Class {united} unites {' and '.join(names)} (data.class_map){none}.")
    return notes
