"""The first recipe of a house: from four answers to the settings that go with them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medistill.artifacts.atomic import unwritable
from medistill.data.listing import files_of, list_by_folders, refuse_unusable_names, without_table
from medistill.data.table import list_by_table
from medistill.errors import UsageError
from medistill.nearest_names import did_you_mean
from medistill.recipe import DataRecipe, OuterLoopRecipe, Recipe, load_recipe
from medistill.recipe.commented import commented_toml

PRIVATE = "covid-xray-dp"
"""The recipe that keeps to the conditions of differential privacy."""
SHOWN = (
    "data.image_size", "data.classes", "data.burnt_in_text", "method.name", "method.ipc", "method.init",
    "schedule.choose", "privacy.mode",
)  # fmt: skip
"""Settings that a first recipe names whatever they are."""
MOST_DELTA = 1e-5
"""Largest probability of failure that is written; with many patients it is a tenth of 1 / their number."""
SHARE = 4
"""One in so many patients is expected in an update under differential privacy, at most."""


@dataclass(frozen=True)
class Bound:
    """Differential privacy that somebody has to be given.

    Attributes:
        epsilon: budget of the whole run.
        units: public, rounded number of training patients.
    """

    epsilon: float
    units: int


def training_files(data: Path, labels: Path | None) -> dict[str, int]:
    """Class -> how many of its files will be for training, as far as folders or a table say; no file is opened.

    Args:
        data: folder of images.
        labels: table of labels, where the folders do not say them.

    Raises:
        DataError: there is nothing to read, or the classes are not said.
    """
    settings, files = DataRecipe(), files_of(data)
    if labels is None:
        listed, _ = list_by_folders(data, files, settings)
    else:
        listed, _ = list_by_table(data, without_table(data, files, labels), labels, settings)
    usable = [one for one in refuse_unusable_names(listed) if one.label and not one.category]
    given, drawn = Counter[str](), Counter[str]()
    for one in usable:
        given[one.label] += one.split == "train"
        drawn[one.label] += one.split is None
    share = 1 - settings.val_fraction - settings.test_fraction
    return {name: given[name] + int(share * drawn[name]) for name in sorted(given)}


def refuse_absent(classes: Sequence[str], found: Mapping[str, int]) -> None:
    """Refuse classes that the corpus does not have; nothing is refused where it is not known what it has.

    Raises:
        UsageError: one is not there, or a single one was named.
    """
    absent = [name for name in classes if found and name not in found]
    if absent:
        raise UsageError(
            f"there is no class {' or '.join(absent)}{did_you_mean(absent[0], found)}",
            expected=f"some of {', '.join(found)}",
            do="correct the name, or take all",
        )
    if len(classes) == 1:
        raise UsageError(
            f"{classes[0]} is one class alone", expected="two or more, or all", do="name another one beside it"
        )


def first_recipe(
    base: str,
    *,
    classes: Sequence[str],
    ipc: int,
    bound: Bound | None,
    found: Mapping[str, int],
    settings: Sequence[str] = (),
) -> tuple[Recipe, str]:
    """The recipe for four answers, and what was chosen besides, in a sentence or empty.

    Args:
        base: shipped recipe, or a file, that it begins with.
        classes: to take, in this order; none takes all.
        ipc: distilled images of each class.
        bound: differential privacy; None goes without.
        found: training files of each class, as `training_files` tells; empty where not known.
        settings: ``section.key=value``, applied last.

    Raises:
        UsageError: differential privacy, and no class was named.
        RecipeError: the answers do not go together.
    """
    plain = load_recipe(base)
    words, names = (
        f"Begun by medistill init with the recipe {plain.name}.",
        json.dumps(list(classes), ensure_ascii=False),
    )
    overrides = ["name=custom", f"description={json.dumps(words)}", f"privacy.mode={'dp' if bound else 'none'}"]
    overrides += ["data.prefer_sites=[]", f"data.classes={names}", f"method.ipc={ipc}"]
    said = ""
    if bound is not None:
        if not classes:
            raise UsageError(
                "differential privacy was asked for, and all classes",
                expected="the names of the classes, which everybody may know: read off the files, they would tell that "
                "some patient has one",
                do="name them with --classes",
            )
        overrides += [f"privacy.epsilon={bound.epsilon!r}", f"privacy.units={bound.units}"]
        overrides += [f"privacy.delta={min(MOST_DELTA, 0.1 / bound.units)!r}"]
        if plain.method.followed is not None:  # else it is refused below, with what breaks the guarantee
            batch = max(1, min(plain.method.followed.batch_size, bound.units // SHARE))
            overrides += ["method.init=noise", f"method.experts.batch_size={batch}"]
    elif isinstance(plain.method, OuterLoopRecipe):
        small = [name for name in classes or found if name in found and found[name] < ipc]
        if small:
            overrides += ["method.init=noise"]
            said = (
                f"Fewer than {ipc} training files of {', '.join(f'{name} ({found[name]})' for name in small)} are "
                "there, so the distilled images begin as noise: from means of patients or from real images there would "
                "be too few."
            )
    return load_recipe(base, [*overrides, *settings]), said


def write_first_recipe(recipe: Recipe, out: Path) -> None:
    """Write it with its comments to a new file.

    Raises:
        UsageError: something is there already.
        ArtifactError: it cannot be written.
    """
    command = f"  medistill distill --recipe {out.name} --data FOLDER"
    head = [
        "A recipe for medistill: every setting of a run that differs from its default, and some more. Take it with",
        f"{command}\n{command} --labels TABLE.csv",
        "Where the images lie is no part of it, so it can be sent to another house; the names of classes go with it. "
        "Whatever it leaves out has its default: `medistill recipes show` with this file prints all of it.",
    ]
    write_new_recipe(commented_toml(recipe, head=head, shown=SHOWN), out)


def write_new_recipe(text: str, out: Path) -> None:
    """Write a recipe's text to a new file.

    Raises:
        UsageError: something is there already.
        ArtifactError: it cannot be written.
    """
    try:
        if out.parent.is_dir() or not out.parent.exists():  # else opening it says what is wrong with its folder
            out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(
            f"{out} exists already", expected="a file that is new", do="remove it, or choose another --out"
        ) from None
    except OSError as error:
        raise unwritable(out, error) from error
