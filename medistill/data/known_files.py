"""Known files: which file of a folder a table means, also where it was written on another machine."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

LONG_ENDINGS = (".nii.gz",)
"""Endings that have a dot in them."""


class KnownFiles:
    """Finds the files of a folder by what the rows of a table call them.

    A path from the folder, from the one above, from the root, or a name alone, is taken as it stands. What is not found
    so is looked for by the end of its path, down to the name alone, at last in any case of letters: only where that end
    is of one file alone, and of one row alone among those that are looked for so. Endings may be left out.
    """

    def __init__(self, folder: Path, files: Sequence[str], rows: Sequence[str]) -> None:
        self.places = (f"{folder.resolve().as_posix()}/", f"{folder.as_posix()}/", f"{folder.resolve().name}/")
        self.files, self.links = set(files), [file for file in files if (folder / file).is_dir()]
        self.by_end, self.by_letters = _ends(files, exact=True), _ends(files, exact=False)
        self.by_tail = 0
        """Rows that were found by the end of their path alone."""
        self.by_case = 0
        """Rows of these that have letters of other case."""
        found = {said: self._as_it_stands(said) for said in map(_plain, rows)}
        self.taken = {*found.values()}
        self.asked = Counter(_alike(end) for said, file in found.items() if file is None for end in _tails(said))

    def find(self, said: str) -> tuple[str, str]:
        """The file that a row means, and "" ; or "" and why none is found."""
        plain = _plain(said)
        if found := self._as_it_stands(plain):
            return found, ""
        if any(f"/{link}/" in f"/{plain}" for link in self.links):
            return "", "it lies behind a link to a folder, and such links are not followed: copy that folder here"
        for tail in _tails(plain):
            exact = self.by_end.get(tail, [])
            there = exact or self.by_letters.get(_alike(tail), [])
            if not there:
                continue
            if len(there) > 1:
                return "", f"the table names it, and {len(there)} files have this name: give their folders too"
            if self.asked[_alike(tail)] > 1 or there[0] in self.taken:
                return "", "it is not where the table says, and a file of its name may be that of another row"
            self.by_tail += 1
            self.by_case += not exact
            return there[0], ""
        return "", "the table names it, but it is not there"

    def notes(self) -> list[str]:
        """What is to be said of rows that were not found where they say."""
        if not self.by_tail:
            return []
        case = f", {self.by_case} of them in other upper or lower case" if self.by_case else ""
        return [
            f"Files that do not lie where the table says and were found by their names, which no other file and no "
            f"other row has: {self.by_tail}{case}."
        ]

    def _as_it_stands(self, plain: str) -> str | None:
        """The file at that path, or of that name alone; None where there is none or several."""
        for place in ("", *self.places):
            if plain.startswith(place) and plain.removeprefix(place) in self.files:
                return plain.removeprefix(place)
        there = self.by_end.get(plain, [])
        return there[0] if len(there) == 1 and ("/" not in plain or plain in _shorter(there[0])) else None


def _plain(said: str) -> str:
    return PurePosixPath(said.strip().replace("\\", "/")).as_posix().removeprefix("./")


def _ends(files: Sequence[str], *, exact: bool) -> dict[str, list[str]]:
    """Each end of a path, with and without the file's ending -> the files that it may mean."""
    found: dict[str, list[str]] = {}
    for file in files:
        ends = {*_tails(file), *(end for name in _shorter(file) for end in _tails(name))}
        for end in ends if exact else {_alike(end) for end in ends}:
            found.setdefault(end, []).append(file)
    return found


def _tails(path: str) -> Iterator[str]:
    """A path, then without its first folder, and so on, down to the name."""
    parts = [part for part in path.split("/") if part]
    return ("/".join(parts[k:]) for k in range(len(parts)))


def _shorter(file: str) -> tuple[str, ...]:
    """The path without its ending; without either half of a double one, too."""
    long = next((ending for ending in LONG_ENDINGS if file.lower().endswith(ending)), "")
    if not long:
        return (PurePosixPath(file).with_suffix("").as_posix(),)
    bare, first, last = file[: -len(long)], *PurePosixPath(file).suffixes[-2:]
    return (bare, bare + first, bare + last)


def _alike(text: str) -> str:
    """One spelling for letters of both cases, and for accents in one character or two."""
    return unicodedata.normalize("NFC", text).casefold()
