"""Listing: every file of a data folder with what its place or a table says of it, before any is opened."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medistill.artifacts.corpus import Split
from medistill.errors import DataError
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
}
"""Names that stand for a split, in folders and in tables."""
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
FEW_CLASSES = 10
"""More folders of the second level than this, each below one folder alone or all numbered, are taken for patients."""


@dataclass(frozen=True)
class Listed:
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
    plain = re.sub(r"[\s_-]+", "", word).lower()
    known = SPLIT_FOLDERS | MORE_WORDS
    return known.get(plain) or known.get(re.sub(r"(data)?(set|split)$", "", plain))


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
            expected="DICOM, PNG, JPEG or NIfTI files",
            do="check the path of --data",
        )
    return sorted(found)


def unusable(folder: Path, file: str) -> Listed | None:
    """The refusal of what is not to be opened: a link out of the folder, a link to a folder, a pipe or a device."""
    path = folder / file
    mode = path.lstat().st_mode
    if stat.S_ISREG(mode):
        return None
    if stat.S_ISLNK(mode):
        if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):  # resolve() raises on loops
            return Listed(file, category="link out of the folder", reason="it is a link to outside the folder")
        if path.is_dir():
            return Listed(file, category="link to a folder", reason="it is a link; name the folder itself")
        if path.is_file():
            return None
    return Listed(file, category="not a file", reason="it is a pipe, a device or a link to nothing")


def refuse_unusable_names(listed: Sequence[Listed]) -> list[Listed]:
    """Leave out files whose class or site has a name that no table, page or terminal should get."""
    return [
        Listed(one.file, category="unusable name", reason=UNUSABLE_NAME)
        if not one.category and any(steers(name) or len(name) > MOST_NAME for name in (one.label, one.site))
        else one
        for one in listed
    ]


def list_by_folders(folder: Path, files: Sequence[str]) -> list[Listed]:
    """Read labels from ``CLASS/file`` or ``SITE/CLASS/file``, with a split's folder anywhere in between.

    Raises:
        DataError: the folders do not say the classes.
    """
    depths: dict[int, int] = {}
    places = {file: _place(file) for file in files}
    for parts, _ in places.values():
        depths[len(parts)] = depths.get(len(parts), 0) + 1
    depth = max(depths, key=lambda d: depths[d])
    if depth not in (1, 2):
        raise DataError(
            f"most files in {folder} lie {'directly in it' if depth == 0 else f'{depth} folders deep'}",
            expected="a folder a class (CLASS/file), or sites with a folder a class (SITE/CLASS/file)",
            do="sort them into class folders, or name a table of labels with --labels table.csv",
        )
    other = depths.get(3 - depth, 0)
    if other > MOST_STRAY * len(files):
        raise DataError(
            f"in {folder}, {depths[1]} files lie one folder deep and {depths[2]} lie two folders deep",
            expected="all files as CLASS/file, or all as SITE/CLASS/file",
            do="sort them into one of the two forms, or name a table of labels with --labels table.csv",
        )
    listed = []
    for file, (parts, split) in places.items():
        refused = unusable(folder, file)
        if refused is not None:
            listed.append(refused)
        elif len(parts) != depth:
            wanted = "CLASS/file" if depth == 1 else "SITE/CLASS/file"
            reason = f"it does not lie where the others do ({wanted}), so its class is not known"
            listed.append(Listed(file, category="no label", reason=reason))
        else:
            listed.append(Listed(file, label=parts[-1], site=parts[0] if depth == 2 else "", split=split))
    if any(not _is_text(name) for one in listed for name in (one.label, one.site)):
        raise DataError(
            f"a folder in {folder} has a name that is not UTF-8, so it can be no class or site",
            expected="names of classes and sites that can be written down",
            do="rename that folder",
        )
    tops: dict[str, set[str]] = {}
    for one in listed:
        if one.label:
            tops.setdefault(one.label, set()).add(one.site)
    apart = all(len(sites) == 1 for sites in tops.values())
    if depth == 2 and len(tops) > FEW_CLASSES and (apart or all(name[-1].isdigit() for name in tops)):
        kind = "no two have one name" if apart else "all are numbered"
        raise DataError(
            f"{folder} has {len(tops)} folders of the second level, and {kind}: they look like patients",
            expected="a folder a class (CLASS/file), or sites with a folder a class (SITE/CLASS/file)",
            do="name a table of labels and patients with --labels table.csv",
        )
    return listed


def _is_text(name: str) -> bool:
    return name.encode(errors="ignore").decode() == name


def _place(file: str) -> tuple[tuple[str, ...], Split | None]:
    """The folders of a file without those that name a split, and the split."""
    folders = Path(file).parts[:-1]
    splits = [SPLIT_FOLDERS[name.lower()] for name in folders if name.lower() in SPLIT_FOLDERS]
    return tuple(name for name in folders if name.lower() not in SPLIT_FOLDERS), splits[0] if splits else None
