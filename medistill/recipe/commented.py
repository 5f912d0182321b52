"""A recipe as commented TOML: what differs from the defaults, each setting under the words that describe it."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Collection, Iterator, Sequence

from medistill.recipe.section import Section
from medistill.recipe.sections import Recipe
from medistill.visible import visible

COLUMNS = 100
"""Widest comment."""


def commented_toml(recipe: Recipe, *, head: Sequence[str], shown: Collection[str] = ()) -> str:
    """The recipe as TOML that is read as this very recipe; every setting has its description above it.

    Args:
        recipe: what to write.
        head: paragraphs and commands for the top, a comment each; a line that begins with a space is kept as it is.
        shown: settings as ``section.key`` that are written although they have their default.
    """
    parts = ["\n#\n".join(_comment(paragraph) for paragraph in head), "\n".join(_top(recipe))]
    for name, field in Recipe.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            settings = list(_settings(getattr(recipe, name), f"{name}.", shown))
            if settings:
                about = _comment(inspect.cleandoc(field.annotation.__doc__ or ""))
                parts.append("\n\n".join([f"{about}\n[{name}]", *settings]))
    return "\n\n".join(parts) + "\n"


def _top(recipe: Recipe) -> Iterator[str]:
    """Settings outside of any section; the name and the description need no comment."""
    plain = Recipe()
    for key, field in Recipe.model_fields.items():
        value = getattr(recipe, key)
        if not isinstance(value, Section) and value != getattr(plain, key):
            own_words = key in ("name", "description")
            yield _line(key, value) if own_words else f"{_comment(field.description or '')}\n{_line(key, value)}"


def _settings(section: Section, prefix: str, shown: Collection[str]) -> Iterator[str]:
    plain = type(section)()
    for key, field in type(section).model_fields.items():
        value = getattr(section, key)
        if value != getattr(plain, key) or prefix + key in shown:
            yield f"{_comment(field.description or '')}\n{_line(key, value)}"


def _line(key: str, value: object) -> str:
    import tomli_w

    return tomli_w.dumps({key: list(value) if isinstance(value, tuple) else value}).rstrip("\n")


def _comment(text: str) -> str:
    """The text as comment lines. No word of it can end the comment."""
    lines = (
        [visible(line) for line in text.splitlines()]
        if text.startswith(" ")
        else textwrap.wrap(visible(" ".join(text.split())), COLUMNS - 2, break_long_words=False, break_on_hyphens=False)
    )
    return "\n".join(f"# {line}".rstrip() for line in lines)
