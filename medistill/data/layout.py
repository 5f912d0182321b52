"""Layout: which of two levels of folders names the class, and which the site."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Literal

from medistill.data.words import plain
from medistill.errors import DataError
from medistill.recipe import DataRecipe

Layout = Literal["site/class", "class/site"]
HOLDERS = frozenset(
    (
        "bilder", "cliches", "dcm", "dicom", "dicoms", "image", "imagenes", "images", "img", "imgs", "jpeg", "jpegs",
        "jpg", "nifti", "png", "pngs",
    )
)  # fmt: skip
"""Folders that say what sort of files they hold, and neither class nor site; in lower case, without accents."""
MASKS = frozenset(("mascaras", "mask", "masken", "masks", "masques", "segmentation", "segmentations"))
"""Folders of what is not an image, but marks a part of one."""
FEW_CLASSES = 10
"""More folders of the second level than this, each below one folder alone or all numbered, are taken for patients."""
_CLASS = re.compile(
    r"(?<![^_])(normal|abnormal|health|control|covid|sars|pneumo|viral|bacteri|tubercul|opacit|effusion|cardiomegal|"
    r"atelecta|o?edema|consolidat|nodul|infiltrat|emphysem|fibros|hernia|pleura|fractur|lesion|cancer|tumou?r|carcinom|"
    r"malignan|benign|positiv|negativ|disease|finding|pathol|"
    r"gesund|krank(?!enh)|auffallig|unauffallig|kontroll|lungenentz|erguss|befund|"
    r"malade|temoin|epanchement|enferm|neumon|derrame|(mass|masses|tb|sick|sain|sains|sano|sanos)(?![^_]))"
)
"""Beginnings of words of classes, and short ones whole; English, German, French, Spanish."""
_SITE = re.compile(
    r"(?<![^_])(hospital|hopita|clinic|clinique|klinik|krankenhaus|cent(re|er|ro)|zentrum|institut|universi|uniklin|"
    r"site|standort|siti|sede|scanner|campus|(north|south|east|west|nord|sud|ost|ouest|est|norte|sur|este|oeste|chu)"
    r"(?![^_a-z0-9]))"
)
"""The same of sites."""


def layout_of(folder: Path, pairs: Collection[tuple[str, str]], recipe: DataRecipe) -> tuple[Layout, str]:
    """Which level of folders names the class, and what to say of how that was found.

    What the recipe says goes first, then the names that it or its words know as classes or sites, then that a level
    of one folder cannot name the classes. How often names repeat tells nothing: where every site has every class, both
    levels repeat alike.

    Args:
        pairs: the upper and the lower folder of each file.

    Raises:
        DataError: nothing tells, or the lower level looks like patients.
    """
    if recipe.folders != "auto":
        return recipe.folders, ""
    above, below = {pair[0] for pair in pairs}, {pair[1] for pair in pairs}
    found = _by_names(above, below, recipe) or _by_number(above, below)
    if not _count(below, _SITE, _CLASS, {*recipe.sites, *recipe.prefer_sites}):
        _refuse_patients(folder, pairs, found)
    if found is None:
        raise DataError(
            f"{folder} has two levels of folders, with {len(above)} names above and {len(below)} below, and these do "
            "not tell which are classes",
            expected="SITE/CLASS/file or CLASS/SITE/file, with names that are known as classes or sites",
            do="say it with --set data.folders=site/class or --set data.folders=class/site, or name the classes with "
            "--classes A,B",
        )
    return found, f"The folders were read as {found.upper()}; if that is wrong, say otherwise with data.folders."


def _by_names(above: Iterable[str], below: Iterable[str], recipe: DataRecipe) -> Layout | None:
    """By names that tell; None where there are none, or where they contradict one another."""
    classes, sites = {*recipe.classes, *recipe.class_map, *recipe.united}, {*recipe.sites, *recipe.prefer_sites}
    said = {level: (_count(names, _CLASS, _SITE, classes), _count(names, _SITE, _CLASS, sites))
            for level, names in (("above", above), ("below", below))}  # fmt: skip
    lower, upper = said["below"][0] + said["above"][1], said["above"][0] + said["below"][1]
    return None if bool(lower) == bool(upper) else "site/class" if lower else "class/site"


def _by_number(above: Collection[str], below: Collection[str]) -> Layout | None:
    """One class is none to tell apart: where a level has one folder, the other has the classes."""
    if len(above) == 1:
        return "site/class"
    return "class/site" if len(below) == 1 else None


def _count(names: Iterable[str], pattern: re.Pattern[str], other: re.Pattern[str], named: Collection[str]) -> int:
    """How many names are of one kind, and not also of the other."""
    words = {name: re.sub(r"\W+", "_", plain(name)) for name in names}
    return sum(
        name in named or (pattern.search(word) is not None and other.search(word) is None)
        for name, word in words.items()
    )


def _refuse_patients(folder: Path, pairs: Collection[tuple[str, str]], found: Layout | None) -> None:
    """Refuse folders of the second level that look like patients.

    Raises:
        DataError: they do.
    """
    over: dict[str, set[str]] = {}
    for upper, lower in pairs:
        over.setdefault(lower, set()).add(upper)
    apart, numbered = all(len(tops) == 1 for tops in over.values()), all(name[-1].isdigit() for name in over)
    many = len(over) > FEW_CLASSES and (apart or numbered)
    if many or (found == "class/site" and len(over) > 1 and apart and numbered):
        kind = "no two have one name" if apart else "all are numbered"
        raise DataError(
            f"{folder} has {len(over)} folders of the second level, and {kind}: they look like patients",
            expected="a folder a class (CLASS/file), or sites with a folder a class (SITE/CLASS/file)",
            do="name a table of labels and patients with --labels table.csv; or say with --set data.folders=class/site "
            "or site/class that they are none",
        )
