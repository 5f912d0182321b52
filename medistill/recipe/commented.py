"""A recipe as commented TOML: what differs from the defaults, each setting under the words that describe it."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Collection, Iterator, Sequence

from medistill.method_names import DEFAULT_METHOD
from medistill.recipe.method import MethodSettings
from medistill.recipe.recipe import Recipe
from medistill.recipe.section import Section
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
    for name in Recipe.model_fields:
        section = getattr(recipe, name)
        if isinstance(section, Section):
            parts += _section(section, name, shown)
    return "\n\n".join(parts) + "\n"


def _top(recipe: Recipe) -> Iterator[str]:
    """Settings outside of any section; the name and the description need no comment."""
    plain = Recipe()
    for key, field in Recipe.model_fields.items():
        value = getattr(recipe, key)
        if not isinstance(value, Section) and value != getattr(plain, key):
            own_words = key in ("name", "description")
            yield _line(key, value) if own_words else f"{_comment(field.description or '')}\n{_line(key, value)}"


def _section(section: Section, name: str, shown: Collection[str]) -> Iterator[str]:
    """A section, and those within it; none that has nothing to say."""
    settings = list(_settings(section, f"{name}.", shown))
    if settings:
        about = _comment(inspect.cleandoc(type(section).__doc__ or ""))
        yield "\n\n".join([f"{about}\n[{name}]", *settings])
    for key in type(section).model_fields:
        within = getattr(section, key)
        if isinstance(within, Section):
            yield from _section(within, f"{name}.{key}", shown)


def _settings(section: Section, prefix: str, shown: Collection[str]) -> Iterator[str]:
    plain = type(section)()
    if isinstance(section, MethodSettings) and section.name != DEFAULT_METHOD:
        shown = {*shown, f"{prefix}name"}  # else it would be read as another method's
    for key, field in type(section).model_fields.items():
        value = getattr(section, key)
        if isinstance(value, Section):
            continue
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
