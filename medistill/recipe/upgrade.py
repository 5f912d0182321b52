"""A recipe's file, written anew as recipes are written now."""

from __future__ import annotations

from pathlib import Path

from medistill.recipe.former import upgrade
from medistill.recipe.load import parse_toml, read_text, validate_recipe
from medistill.recipe.recipe import Recipe

ALREADY = "The recipe is written as recipes are written now."
LOST = "Its comments but those at the top are not kept."


def upgraded_file(path: Path) -> tuple[str, str]:
    """A recipe's text as it is written now, and what to know of it.

    Raises:
        RecipeError: it cannot be read, or its settings do not fit together.
    """
    import tomli_w

    text, origin = read_text(path)
    now, note = upgrade(parse_toml(text, origin), origin)
    validate_recipe(now, origin)
    if not note:
        return text, ALREADY
    lines = text.splitlines()
    top = next((number for number, line in enumerate(lines) if line and not line.startswith("#")), len(lines))
    head = "\n".join(lines[:top]).rstrip()
    lost = any(line.lstrip().startswith("#") or " # " in line for line in lines[top:])
    order = {key: now[key] for key in Recipe.model_fields if key in now}
    written = tomli_w.dumps(order, multiline_strings=True)
    return f"{head}\n\n{written}".lstrip("\n"), f"{note} {LOST}" if lost else note
