"""`medistill recipes`: which recipes there are, and what is in one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medistill_cli import options
from medistill_cli.guard import guarded
from medistill_cli.recipe_choice import overrides_of
from medistill_cli.results import print_facts, print_json, print_next, print_written
from medistill_cli.terminal import write, write_error

recipes = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="List the recipes, show or upgrade one.\n\n"
    "\b\nExamples:\n  medistill recipes list\n  medistill recipes show demo\n  medistill recipes upgrade mine.toml",
)


@recipes.command("list")
@guarded
def list_recipes(json: options.AsJson = False, debug: options.Debug = False) -> None:
    """List the recipes that come with medistill.

    \b
    Examples:
      medistill recipes list
      medistill recipes list --json
    """
    from medistill.recipe import load_recipe, recipe_names

    told = {name: " ".join(load_recipe(name).description.split()) for name in recipe_names()}
    if json:
        print_json({"recipes": [{"name": name, "description": text} for name, text in told.items()]})
        return
    print_facts(told.items())
    print_next([(["medistill", "recipes", "show", "demo"], "every setting of one")])


@recipes.command("show")
@guarded
def show_recipe(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE", help="Name of a recipe, or a TOML file.")],
    method: options.Method = None,
    settings: options.Settings = None,
    json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Print a recipe with every setting, as TOML that --recipe takes.

    \b
    Examples:
      medistill recipes show demo
      medistill recipes show covid-xray-cpu --set method.ipc=5 > mine.toml
      medistill recipes show demo --method ftd
    """
    from medistill.recipe import load_recipe, recipe_toml

    recipe = load_recipe(name, overrides_of(settings, method=method))
    if json:
        print_json({**recipe.model_dump(mode="json"), "digest": recipe.digest})
        return
    write(recipe_toml(recipe).rstrip("\n"))


@recipes.command("upgrade")
@guarded
def upgrade_recipe(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A recipe that was written for a former version.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="New file; left out, the recipe is printed.", show_default=False),
    ] = None,
    json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Write a recipe of a former version as it is written now.

    The comments at its top are kept, others are not. Former recipes are read for one version without this.

    \b
    Examples:
      medistill recipes upgrade mine.toml
      medistill recipes upgrade mine.toml --out mine-new.toml
    """
    from medistill.recipe.upgrade import upgraded_file

    text, note = upgraded_file(file)
    if out is not None:
        from medistill.workflow.first_recipe import write_new_recipe

        write_new_recipe(text, out)
    if json:
        print_json({"recipe": text if out is None else str(out), "note": note})
        return
    write_error(note)
    if out is None:
        write(text.rstrip("\n"))
    else:
        print_written({"recipe": out})
