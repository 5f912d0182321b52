"""Reference pages that are generated from the code while the site is built, so that nothing is written twice."""

from __future__ import annotations

import html
import inspect
import json
import re
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, TypeGuard, get_args, get_origin

import annotated_types
import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from medistill.method_names import method_names, method_summary
from medistill.recipe import Recipe, load_recipe, recipe_names
from medistill.recipe.load import sections_of
from medistill.recipe.method import settings_kind

LIMITS = {annotated_types.Ge: "≥", annotated_types.Gt: "&gt;", annotated_types.Le: "≤", annotated_types.Lt: "&lt;"}
FIGURES = Path(__file__).parent / "first-page.toml"
MARKER = "<!-- figures: docs/first-page.toml -->"
MAP = re.compile(r"<!-- map: (assets/[\w-]+\.svg) -->")
METHOD = (
    "The method, by `name`, and its own settings: what a method does not have cannot be set. "
    "[The methods](../method.md#the-family) says what each does."
)
SKIPPED_OPTIONS = ("--help", "--install-completion", "--show-completion")


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Put the figures of the first page, and the maps, where their markers stand (an event of mkdocs)."""
    if page.file.src_uri == "index.md":
        markdown = markdown.replace(MARKER, first_page_figures())
    return MAP.sub(lambda marker: map_of(marker[1]), markdown)


def map_of(path: str) -> str:
    """A picture of `docs/maps.py` as part of its page, whose colours it takes in the light and in the dark."""
    svg = (Path(__file__).parent / path).read_text(encoding="utf-8")
    return f'<div class="map-frame">\n{svg}</div>'


def first_page_figures() -> str:
    """The figures of `docs/first-page.toml` as cards in HTML, each with the section of the ledger that it is from."""
    figures = tomllib.loads(FIGURES.read_text(encoding="utf-8"))["figure"]
    cards = [
        f'<div><p>{html.escape(figure["question"])}</p><p class="figure">{html.escape(figure["value"])}</p>'
        f"<p>{html.escape(' '.join(figure['words'].split()))} "
        f'<a href="benchmarks/index.html#{html.escape(figure["section"])}">Measured</a></p></div>'
        for figure in figures
    ]
    return "\n".join(['<div class="figures">', *cards, "</div>"])


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages to the site (an event of mkdocs)."""
    from mkdocs.structure.files import File

    for path, page in pages().items():
        files.append(File.generated(config, path, content=page))
    return files


def pages() -> dict[str, str]:
    """Path below docs/ -> Markdown of every generated page."""
    return {
        "reference/commands.md": commands_page(),
        "reference/recipes.md": recipes_page(),
        "reference/api.md": api_page(),
    }


def commands_page() -> str:
    """Every command of the Typer app with its arguments and options."""
    app = import_module("medistill_cli.main").app
    root = typer.main.get_command(app)
    lines = ["# Commands", "", "Generated from the command line's own definitions.", ""]
    for words, command in _commands(root, ("medistill",)):
        context = typer.Context(command, info_name=" ".join(words))
        lines += [f"## {' '.join(words)}" if len(words) > 1 else "## medistill", ""]
        lines += _help(command.help or "")
        lines += ["```text", " ".join([*words, *command.collect_usage_pieces(context)]), "```", ""]
        rows = [record for option in command.get_params(context) if (record := option.get_help_record(context))]
        rows = [(names, said) for names, said in rows if not names.startswith(SKIPPED_OPTIONS)]
        if rows:
            lines += ["| option | meaning |", "|---|---|"]
            lines += [f"| {_code(names)} | {_prose(said)} |" for names, said in rows]
            lines += [""]
    return "\n".join(lines)


def recipes_page() -> str:
    """Every shipped recipe, and every setting with its default, range and meaning."""
    lines = [
        "# Recipes and their settings",
        "",
        "Generated from `medistill/recipe/` and from the recipes that come with the package. "
        "`medistill recipes show NAME` prints a recipe in full; `--set section.key=value` changes one setting.",
        "",
        "## Recipes that come with the package",
        "",
    ]
    for name in recipe_names():
        recipe = load_recipe(name)
        lines += [f"### {name}", "", _prose(recipe.description), ""]
        lines += ['??? note "Where it differs from the defaults"', "", *_indented(_changed(recipe)), ""]
    lines += ["## Settings", ""]
    sections = {n: f.annotation for n, f in Recipe.model_fields.items() if _is_section(f.annotation)}
    lines += ["### Top level", "", *_table(Recipe, skip=(*sections, "method")), ""]
    lines += ["### method", "", METHOD, "", "| method | what it is |", "|---|---|"]
    lines += [f"| `{name}` | {_prose(method_summary(name))} |" for name in method_names()]
    lines += ["", *_method_sections({name: settings_kind(name) for name in method_names()}, "method")]
    for name, model in sections.items():
        if name != "method":
            lines += [f"### {name}", "", inspect.cleandoc(model.__doc__ or ""), "", *_table(model), ""]
    return "\n".join(lines)


def _method_sections(kinds: dict[str, type[BaseModel]], title: str) -> list[str]:
    """A table of what methods may set in a section, and one for each section within it.

    Args:
        kinds: method -> that section of its settings.
        title: name of the section.
    """
    lines = ["| setting | methods | default | range | meaning |", "|---|---|---|---|---|"]
    within: dict[str, dict[str, type[BaseModel]]] = {}
    for name in dict.fromkeys(name for kind in kinds.values() for name in kind.model_fields):
        fields = {method: kind.model_fields[name] for method, kind in kinds.items() if name in kind.model_fields}
        if name == "name":
            continue
        if _is_section(next(iter(fields.values())).annotation):
            within[name] = {method: field.annotation for method, field in fields.items()}  # type: ignore[misc]
            continue
        field = next(iter(fields.values()))
        having = "all" if len(fields) == len(method_names()) else ", ".join(fields)
        told = " Or: ".join(dict.fromkeys(_prose(field.description or "") for field in fields.values()))
        cells = (f"`{name}`", having, _defaults(fields), _range(field), told)
        lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    for name, inner in within.items():
        about = inspect.cleandoc(next(iter(inner.values())).__doc__ or "")
        lines += [f"#### {title}.{name}", "", about, "", *_method_sections(inner, f"{title}.{name}")]
    return lines


def _defaults(fields: dict[str, FieldInfo]) -> str:
    """The default of a setting, and those of methods that have another."""
    told = {method: json.dumps(field.default) for method, field in fields.items()}
    common = max(told.values(), key=[*told.values()].count)
    others = [f"{method}: `{value}`" for method, value in told.items() if value != common]
    return "; ".join([f"`{common}`", *others])


def api_page() -> str:
    """The public names, each drawn from its own docstring by mkdocstrings."""
    public = import_module("medistill")
    lines = [
        "# Python API",
        "",
        "What `import medistill as md` offers. The [tour](../api-tour.md) uses it from end to end.",
        "",
    ]
    for name in public.__all__:
        target = getattr(public, name)
        if inspect.isclass(target) or inspect.isfunction(target):
            lines += [f"::: {target.__module__}.{target.__qualname__}"]
            if _is_section(target):
                lines += ["    options:", "      members: false", "", "[Every setting](recipes.md#settings)."]
            lines += [""]
    return "\n".join(lines)


def _commands(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if getattr(command, "hidden", False):
        return
    yield words, command
    for name, child in getattr(command, "commands", {}).items():
        yield from _commands(child, (*words, name))


def _help(text: str) -> list[str]:
    """A command's help as Markdown; a paragraph that starts with ``\\b`` keeps its lines."""
    lines: list[str] = []
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        kept = paragraph.strip("\n").removeprefix("\b\n")
        if kept == paragraph.strip("\n"):
            lines += [_prose(paragraph), ""]
        else:
            title, _, examples = kept.partition("\n")
            lines += [_prose(title), "", "```bash", inspect.cleandoc("\n" + examples), "```", ""]
    return lines


def _is_section(annotation: Any) -> TypeGuard[type[BaseModel]]:
    return inspect.isclass(annotation) and issubclass(annotation, BaseModel)


def _changed(recipe: Recipe) -> list[str]:
    """The recipe as TOML, without what it leaves at its default."""
    plain = sections_of(Recipe(method=settings_kind(recipe.method.name)()))
    lines = ["```toml"]
    for section, values in sections_of(recipe).items():
        told = {key: value for key, value in values.items() if value != plain[section][key]}
        if section == "method":
            told = {"name": recipe.method.name, **told}
        if section and told:
            lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in told.items()), ""]
    return [*lines[:-1], "```"]


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" if line else "" for line in lines]


def _table(model: type[BaseModel], skip: tuple[str, ...] = ()) -> list[str]:
    lines = ["| setting | default | range | meaning |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        if name not in skip:
            default = json.dumps(field.default)
            lines.append(f"| `{name}` | `{default}` | {_range(field)} | {_prose(field.description or '')} |")
    return lines


def _range(field: FieldInfo) -> str:
    """What pydantic will admit, in words."""
    choices = _choices(field.annotation)
    if choices:
        return " ".join(f"`{choice}`" for choice in choices)
    told = [
        f"{sign} {getattr(limit, kind.__name__.lower())}"
        for limit in field.metadata
        for kind, sign in LIMITS.items()
        if isinstance(limit, kind)
    ]
    kind = {int: "integer", float: "number", str: "text"}.get(field.annotation, "list")  # type: ignore[arg-type]
    return f"{kind} {', '.join(told)}".strip()


def _choices(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    for inner in get_args(annotation):
        if get_origin(inner) is Literal:
            return get_args(inner)
    return ()


def _code(text: str) -> str:
    return f"`{' '.join(text.split())}`"


def _prose(text: str) -> str:
    """One line of Markdown for a table's cell; outside of code its signs are signs, not markup."""
    escaped = {"<": "&lt;", "*": "\\*", "|": "\\|"}
    return re.sub(r"(`[^`]*`)|[<*|]", lambda found: found[1] or escaped[found[0]], " ".join(text.split()))
