"""The set that a command works on (a bundle, a set's folder or a run's), and the recipe that it was made with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medistill_cli.clock import today
from medistill_cli.terminal import write_error

if TYPE_CHECKING:
    from medistill.artifacts.distilled_set import DistilledSet
    from medistill.recipe import Recipe
    from medistill.workflow.received import ReceivedSet


def recipe_of_set(
    distilled: DistilledSet, source: Path, name: str | None, overrides: list[str], *, allow_large: bool = False
) -> Recipe:
    """The recipe that was named, or the one inside the set, with the overrides on top; the latter within its limits,
    unless it may be large."""
    from medistill.errors import UsageError
    from medistill.recipe import load_recipe

    if name is not None:
        return load_recipe(name, overrides)
    if distilled.provenance.recipe is None:
        raise UsageError(
            f"{source} does not say which recipe it was made with",
            expected="a set that medistill distilled, or --recipe",
            do="add --recipe with the network that you want to evaluate",
        )
    origin = f"the recipe inside {source}"
    return received_recipe(distilled.provenance.made_with(str(source)), overrides, origin, allow_large=allow_large)


def received_recipe(recipe: Recipe, overrides: list[str], origin: str, *, allow_large: bool) -> Recipe:
    """A recipe from outside with the overrides on top, refused where it asks for more than it may."""
    from medistill.recipe import override_recipe
    from medistill.recipe.limits import refuse_large

    used = override_recipe(recipe, overrides, origin)
    refuse_large(recipe.model_dump(), origin, "allow" if allow_large else "refuse", used.model_dump())
    return used


def without_text_reader() -> list[str]:
    """Overrides of a received recipe: where the reader is not installed, nobody needs it to test on his own images."""
    from medistill.data.burnt_in_text import reader_name

    return ["data.burnt_in_text=auto"] if reader_name() is None else []


def classes_of(given: str | None, class_names: Sequence[str], what: str) -> str:
    """The classes that a corpus is read with: those of the set or the classifier, in its order.

    Raises:
        UsageError: others were given. Images of other classes are left aside without it.
    """
    from medistill.errors import UsageError

    names = {name.strip() for name in (given or "").split(",")} - {""}
    if given is not None and names != set(class_names):
        raise UsageError(
            f"--classes {given} was given, and the {what} has the classes {', '.join(class_names)}",
            expected=f"the {what}'s own classes",
            do="leave out --classes: images of other classes are left aside, and classes may be missing",
        )
    return ",".join(class_names)


def without_own_sites(recipe: Recipe, settings: Sequence[str]) -> list[str]:
    """Overrides by which the sites of whoever made a set are taken where they are, and every site elsewhere."""
    if not recipe.data.sites or any(setting.startswith("data.sites=") for setting in settings):
        return []
    return ["data.sites=[]", f"data.prefer_sites={json.dumps(list(recipe.data.sites), ensure_ascii=False)}"]


def load_set(source: Path, trust: list[str] | None = None) -> ReceivedSet:
    """The set in a bundle, in its own folder, or in the folder of a run; who vouches for it is said on stderr, unless
    a run of this installation made it."""
    from medistill.workflow.received import receive

    received = receive(source, trust=trust or (), today=today())
    if received.bundled or not _made_here(source, received.distilled):
        write_error(received.origin)
    return received


def _made_here(source: Path, distilled: DistilledSet) -> bool:
    """Whether it lies in a run whose record of how it was made is sealed by this installation."""
    from medistill.artifacts.local_key import find_local_key
    from medistill.artifacts.making import load_making

    run = run_of(source)
    known = None if run is None else load_making(run)
    return known is not None and known.sealed_by(find_local_key()) and known.is_of(distilled)


def run_of(source: Path) -> Path | None:
    """The run that the set lies in, where it lies in one."""
    if (source / "set" / "manifest.json").is_file():
        return source
    return source.parent if source.name == "set" and (source.parent / "run.json").is_file() else None


def refuse_built_in(distilled: DistilledSet, source: Path, purpose: str) -> None:
    """Refuse the built-in corpus for a set that was made of real images; ``purpose`` is what a corpus is needed for."""
    from medistill.errors import UsageError

    if not distilled.provenance.synthetic_source:
        raise UsageError(
            f"{source} was made of real images, and no --data was given",
            expected=f"a corpus to {purpose}",
            do="add --data with a folder of images",
        )
