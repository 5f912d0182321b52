"""Listing: every file of a data folder with what its place or a table says of it, before any is opened."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medistill.artifacts.corpus import Split
from medistill.data.image import FORMATS
from medistill.data.layout import HOLDERS, MASKS, layout_of
from medistill.data.united import class_words, told_of_map
from medistill.data.words import plain, stated
from medistill.errors import DataError
from medistill.recipe import DataRecipe
from medistill.visible import MOST_NAME, steers

SPLIT_FOLDERS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
    "validierung": "val",
    "entrainement": "train",
    "apprentissage": "train",
    "entrenamiento": "train",
    "validacion": "val",
    "prueba": "test",
}
"""Names that stand for a split, in folders and in tables, without accents."""
MORE_WORDS: dict[str, Split] = {
    "development": "val",
    "tune": "val",
    "tuning": "val",
    "holdout": "test",
    "heldout": "test",
    "external": "test",
    "internaltest": "test",
    "externaltest": "test",
    "externalvalidation": "test",
    "internalvalidation": "val",
}
"""More of them, in tables alone, since a folder of such a name may be a site; without blanks, hyphens, underscores."""
MOST_STRAY = 0.1
"""Largest share of files that may lie less or more deep than the others."""
UNUSABLE_NAME = (
    f"the name of its class or site has a control character in it, or more than {MOST_NAME} characters; rename it"
)


@dataclass(frozen=True)
class FileEntry:
    """A file to read, or one that is left out before it is read.

    Attributes:
        file: path relative to the data folder, with forward slashes.
        label: its class.
        site: where it was taken, "" where nothing says so.
        patient: what a table calls its patient, "" where none does. Kept in memory only.
        view: what a table says of its view.
        split: given split, or None.
        sex: what a table says of its patient's sex. Kept in memory only.
        age: what a table says of its patient's age. Kept in memory only.
        category: why it is left out, "" where it is to be read.
        reason: the same in a sentence.
    """

    file: str
    label: str = ""
    site: str = ""
    patient: str = ""
    view: str = ""
    split: Split | None = None
    sex: str = ""
    age: str = ""
    category: str = ""
    reason: str = ""


def split_named(word: str) -> Split | None:
    """The split that a word in a table stands for, in any case, and also with "set" or "split" behind it."""
    joined = re.sub(r"[\s_-]+", "", plain(word))
    known = SPLIT_FOLDERS | MORE_WORDS
    return known.get(joined) or known.get(re.sub(r"(data)?(set|split)$", "", joined))


def files_of(folder: Path) -> list[str]:
    """Relative paths of all files below ``folder``, sorted; hidden ones are not listed.

    Links to folders are listed, not followed.

    Raises:
        DataError: the folder is missing, is a file, cannot be entered, or holds nothing.
    """
    if not folder.exists():
        raise DataError(f"there is no folder '{folder}'", expected="a folder of images", do="check the path of --data")
    if not folder.is_dir():
        raise DataError(
            f"'{folder}' is a file", expected="a folder of images", do="name the folder that the images lie in"
        )
    found: list[str] = []

    def fail(error: OSError) -> None:
        raise DataError(
            f"a folder in {folder} cannot be entered ({error.strerror})",
            expected="a folder that you may read",
            do="ask for the right to read it, or take it out of the folder",
        ) from error

    for place, folders, names in os.walk(folder, onerror=fail):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        names += [name for name in folders if Path(place, name).is_symlink()]
        found += [Path(place, name).relative_to(folder).as_posix() for name in names if not name.startswith(".")]
    if not found:
        raise DataError(
            f"the folder '{folder}' holds no files",
            expected=f"{FORMATS} files",
            do="check the path of --data",
        )
    return sorted(found)


def without_table(folder: Path, files: Sequence[str], table: Path) -> list[str]:
    """The files of a folder but the table of labels, which may lie among them."""
    return [file for file in files if not (Path(file).name == table.name and _same(folder / file, table))]


def _same(file: Path, other: Path) -> bool:
    return file.exists() and other.exists() and file.samefile(other)


def unusable(folder: Path, file: str) -> FileEntry | None:
    """The refusal of what is not to be opened: a link out of the folder, a link to a folder, a pipe or a device."""
    path = folder / file
    mode = path.lstat().st_mode
    if stat.S_ISREG(mode):
        return None
    if not stat.S_ISLNK(mode):
        kind = "a pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"
        return FileEntry(file, category="not a file", reason=f"it is {kind}, not a file")
    inside = Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))  # resolve() raises on loops
    if os.path.isdir(path):
        where = "in this one" if inside else "outside this one; copy it here"
        reason = f"it is a link to a folder {where}, and links to folders are not followed"
        return FileEntry(file, category="link to a folder", reason=reason)
    if not inside:
        reason = "it is a link to outside the folder, which is not followed; copy the file here"
        return FileEntry(file, category="link out of the folder", reason=reason)
    if os.path.isfile(path):
        return None
    try:
        path.stat()
    except OSError as error:
        circle = error.errno == errno.ELOOP
        reason = "it is a link that leads in a circle" if circle else "it is a link to nothing"
        return FileEntry(file, category="not a file", reason=reason)
    return FileEntry(file, category="not a file", reason="it is a link to something that is not a file")


def refuse_unusable_names(listed: Sequence[FileEntry]) -> list[FileEntry]:
    """Leave out files whose class or site has a name that no table, page or terminal should get."""
    return [
        FileEntry(one.file, category="unusable name", reason=UNUSABLE_NAME)
        if not one.category and any(steers(name) or len(name) > MOST_NAME for name in (one.label, one.site))
        else one
        for one in listed
    ]


def list_by_folders(folder: Path, files: Sequence[str], recipe: DataRecipe) -> tuple[list[FileEntry], list[str]]:
    """Read labels from ``CLASS/file``, ``SITE/CLASS/file`` or ``CLASS/SITE/file``, with a split's folder anywhere.

    Folders that say the sort of files alone, such as ``images``, count as if they were not there.

    Returns:
        Every file, and what the report has to say of how the folders were read.

    Raises:
        DataError: the folders do not say the classes.
    """
    refused = {file: one for file in files if (one := unusable(folder, file)) is not None}
    refused |= {
        file: FileEntry(file, category="mask", reason="it lies in a folder of masks, which are not images")
        for file in files
        if any(plain(part) in MASKS for part in Path(file).parts[:-1])
    }
    _refuse_nothing_but_links(folder, files, refused)
    places = {file: _place(file) for file in files if file not in refused}
    linked = sum(one.category == "link to a folder" for one in refused.values())
    depth = _depth(folder, [parts for parts, _ in places.values()], linked)
    if not all(_is_text(name) for parts, _ in places.values() for name in parts):
        raise DataError(
            f"a folder in {folder} has a name that is not UTF-8, so it can be no class or site",
            expected="names of classes and sites that can be written down",
            do="rename that folder",
        )
    notes: list[str] = []
    seen: set[str] = set()
    upper = ""
    if depth == 2:
        upper, note = layout_of(folder, {(p[0], p[1]) for p, _ in places.values() if len(p) == 2}, recipe)
        notes = [note] if note else []
    listed = []
    for file in files:
        if file in refused:
            listed.append(refused[file])
            continue
        parts, split = places[file]
        if len(parts) != depth:
            wanted = "CLASS/file" if depth == 1 else upper.upper() + "/file"
            reason = f"it does not lie where the others do ({wanted}), so its class is not known"
            listed.append(FileEntry(file, category="no label", reason=reason))
            continue
        site, label = (parts[1], parts[0]) if upper == "class/site" else (("", *parts)[-2], parts[-1])
        seen.add(label)
        listed.append(_of_folder(file, label, site, split, recipe))
    return listed, [*notes, *told_of_map(seen, recipe)]


def _of_folder(file: str, label: str, site: str, split: Split | None, recipe: DataRecipe) -> FileEntry:
    """A file by what its folders are called."""
    known = stated(label, named=class_words(recipe))
    if not known:
        return FileEntry(file, category="no label", reason="its folder says that its class is not known")
    return FileEntry(file, recipe.united.get(known, known), stated(site, named=recipe.sites), split=split)


def _refuse_nothing_but_links(folder: Path, files: Sequence[str], refused: Mapping[str, FileEntry]) -> None:
    """Refuse a folder in which nothing lies that can be opened.

    Raises:
        DataError: it is one.
    """
    if len(refused) < len(files):
        return
    found = ", ".join(
        f"{count} {category}" for category, count in Counter(one.category for one in refused.values()).items()
    )
    raise DataError(
        f"nothing that lies in {folder} can be opened: {found}",
        expected="files, or links to files in that same folder; others may lead to what nobody meant to be read",
        do="name the folder that they lead into with --data, or copy what they lead to here",
    )


def _depth(folder: Path, places: Sequence[tuple[str, ...]], linked: int) -> int:
    """How many folders deep most files lie, 1 or 2.

    Raises:
        DataError: they lie elsewhere, or some so and some so.
    """
    depths = Counter(len(parts) for parts in places)
    depth = max(depths, key=lambda d: depths[d], default=0)
    if depth not in (1, 2):
        raise DataError(
            f"most files in {folder} lie {'directly in it' if depth == 0 else f'{depth} folders deep'}"
            + (f", beside links to folders, which are not followed ({linked})" if linked else ""),
            expected="a folder a class (CLASS/file), or sites with a folder a class (SITE/CLASS/file)",
            do="sort them into class folders, or name a table of labels with --labels table.csv",
        )
    if depths[3 - depth] > MOST_STRAY * len(places):
        raise DataError(
            f"in {folder}, {depths[1]} files lie one folder deep and {depths[2]} lie two folders deep",
            expected="all files as CLASS/file, or all as SITE/CLASS/file",
            do="sort them into one of the two forms, or name a table of labels with --labels table.csv",
        )
    return depth


def _is_text(name: str) -> bool:
    return name.encode(errors="ignore").decode() == name


def _place(file: str) -> tuple[tuple[str, ...], Split | None]:
    """The folders of a file without those that name a split or say the sort of files, and the split."""
    named = [(name, plain(name)) for name in Path(file).parts[:-1]]
    splits = [SPLIT_FOLDERS[word] for _, word in named if word in SPLIT_FOLDERS]
    folders = tuple(name for name, word in named if word not in HOLDERS and word not in SPLIT_FOLDERS)
    return folders, splits[0] if splits else None
