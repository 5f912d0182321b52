"""A job as a folder that NVIDIA FLARE takes: three files of JSON and the recipe. No code is in it.

The files name two classes of the installed package by their paths, so that every site runs the medistill that it
installed, and a site's own list of allowed classes (``class_allow_list``) decides whether it runs that at all.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medistill.artifacts.atomic import write_json, write_text
from medistill.artifacts.new_folder import new_folder
from medistill.errors import UsageError
from medistill.federation.messages import MAKE, MOST_RECIPE, TEST
from medistill.recipe import Recipe
from medistill.recipe.limits import refuse_large
from medistill.recipe.load import recipe_toml
from medistill.sharing.public_key import checked_name
from medistill.workflow.encoder_choice import with_encoder, with_teacher

NAME, APP, SERVER = "medistill-exchange", "app", "server"
RECIPE_FILE = "recipe.toml"
CONTROLLER = "medistill.federation.controller.ExchangeController"
EXECUTOR = "medistill.federation.executor.ExchangeExecutor"
ALLOWED = "medistill.federation."
"""What a site, and the server, add to ``class_allow_list`` of their ``local/resources.json``."""
MOST_SITES, MOST_HOURS = 100, 24 * 365


@dataclass(frozen=True)
class WrittenJob:
    """A job that was written.

    Attributes:
        folder: to submit.
        recipe: in the folder, for the sites to read before they agree.
        sha256: of its text, which each site writes into its site file.
    """

    folder: Path
    recipe: Path
    sha256: str


def write_job(recipe: Recipe, sites: Sequence[str], *, out: str | Path, hours: float = 48.0) -> WrittenJob:
    """Write a job. The same recipe, sites and hours give the same bytes.

    Args:
        recipe: by which every site makes its set, and the server trains.
        sites: names of FLARE's clients; the server must trust a key of each name.
        out: folder, new or empty.
        hours: longest that sites are waited for, for the sets and again for the figures.

    Raises:
        UsageError: the recipe leaves open what must be the same at every site, or the sites or hours cannot be.
        RecipeError: it asks for more than a received recipe may, which every site would refuse.
        ArtifactError: the folder cannot be written.
    """
    names = _checked_sites(sites)
    if not (math.isfinite(hours) and 0 < hours <= MOST_HOURS):
        raise UsageError(f"--hours is {hours}", expected=f"more than 0, at most {MOST_HOURS}", do="take 48, or so")
    text = recipe_toml(_checked_recipe(recipe))
    if len(text.encode()) > MOST_RECIPE:
        raise UsageError(
            f"the recipe has {len(text.encode())} bytes",
            expected=f"at most {MOST_RECIPE}",
            do="shorten its description",
        )
    folder = Path(out)
    with new_folder(folder) as place:
        write_json(place / "meta.json", _meta(names))
        config = place / APP / "config"
        write_json(config / "config_fed_server.json", _server(names, hours))
        write_json(config / "config_fed_client.json", _client())
        write_text(config / RECIPE_FILE, text)
    return WrittenJob(folder, folder / APP / "config" / RECIPE_FILE, hashlib.sha256(text.encode()).hexdigest())


def _checked_sites(sites: Sequence[str]) -> list[str]:
    names = []
    for number, name in enumerate(sites, 1):
        try:
            names.append(checked_name(name))
        except UsageError as error:
            raise UsageError(f"--sites, name {number}: {error.seen}", expected=error.expected, do=error.do) from error
    if not 2 <= len(names) <= MOST_SITES or len(set(names)) < len(names) or SERVER in names:
        raise UsageError(
            f"--sites names {', '.join(names) or 'nobody'}",
            expected=f"from 2 to {MOST_SITES} clients of FLARE, each once, none called {SERVER}",
            do="write them as in --sites east,west,north",
        )
    return names


def _checked_recipe(recipe: Recipe) -> Recipe:
    """The recipe with its encoder and teacher named.

    Raises:
        UsageError: it leaves open what must be the same at every site, or wants a space that no job carries.
        RecipeError: it asks for more than a received one may.
    """
    recipe = with_teacher(with_encoder(recipe))
    if len(recipe.data.classes) < 2:
        raise UsageError(
            "the recipe does not name the classes (data.classes)",
            expected="two or more by name, since every site must mean the same by them",
            do="add --classes, as in --classes COVID,Normal",
        )
    if recipe.data.zca:
        raise UsageError(
            "the recipe whitens the images (data.zca)",
            expected="data.zca = false, since sets with a whitening of each site's own cannot be united",
            do="add --set data.zca=false",
        )
    if recipe.method.wants_space and not recipe.network.projection:
        raise UsageError(
            f"method {recipe.method.name} wants a whitened space, and a job carries none",
            expected="a space that every site and the server have, since two images show nothing of means in all of an "
            "encoder's features after few steps",
            do="add --set method.space=encoder --set method.iterations=1000; or --set network.projection=DIGEST, of a "
            "space that each has brought before (--public BUNDLE)",
        )
    refuse_large(recipe.model_dump(mode="json"), "the recipe", "refuse")
    return recipe


def _meta(sites: Sequence[str]) -> dict[str, Any]:
    """What FLARE's scheduler reads: the job begins when two sites are there."""
    return {"name": NAME, "resource_spec": {}, "min_clients": 2, "deploy_map": {APP: [SERVER, *sites]}}


def _server(sites: Sequence[str], hours: float) -> dict[str, Any]:
    controller = {"id": "controller", "path": CONTROLLER, "args": {"sites": list(sites), "hours": hours}}
    return {"format_version": 2, "workflows": [controller], "components": []}


def _client() -> dict[str, Any]:
    executor = {"tasks": [MAKE, TEST], "executor": {"path": EXECUTOR, "args": {}}}
    return {"format_version": 2, "executors": [executor], "components": []}
