"""Purge: take away all that came from patients from the private cache, and tell what could not be taken away."""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from pathlib import Path

from medistill.artifacts.atomic import PRIVATE_FOLDER
from medistill.artifacts.cache import KINDS, Held, cache_folder, held
from medistill.artifacts.cache_users import nobody_joins
from medistill.errors import UsageError

OURS = re.compile(r"\.?([0-9a-f]{64}|dicomweb-[0-9a-f]+)(\.(json|lock)|\..*\.(tmp|part))?")
"""How entries of the cache are called. Behind a link nothing else is removed: it may lead anywhere."""


@dataclass(frozen=True)
class Purged:
    """What a purge did.

    Attributes:
        removed: what is gone.
        left: what is still there of all that should be gone, and why, a sentence each.
    """

    removed: Held
    left: tuple[str, ...]


def purge(root: Path | None = None) -> Purged:
    """Remove every kind, each by itself; the built-in corpus and files of others stay.

    Where the cache, a kind or an entry of one is a link, what it leads to is removed as far as its names are those of
    medistill; the rest is left, and told of.

    Raises:
        UsageError: other processes work in the cache, which would go on to write there.
    """
    root = root or cache_folder()
    with nobody_joins(root) as others:
        if others:
            ids = ", ".join(map(str, others))
            raise UsageError(
                f"{len(others)} other process{'es' * (len(others) > 1)} of medistill (id {ids}) "
                f"{'work' if len(others) > 1 else 'works'} in the cache {root}, and would write there again",
                expected="a cache that nobody works in",
                do="wait until the work is done, or stop it (Ctrl-C saves what was finished), then repeat the command",
            )
        before, left = held(root), list[str]()
        for kind in KINDS:
            _remove_kind(root / kind, left)
    return Purged(before - held(root), tuple(left))


def _remove_kind(place: Path, left: list[str]) -> None:
    """Remove a kind, and what stands behind links at its top or among its entries."""
    if not place.is_dir():
        _remove(place, left)
        return
    told = len(left)
    try:
        place.chmod(PRIVATE_FOLDER)
        for entry in sorted(place.iterdir()):
            if entry.is_symlink() and entry.is_dir() and OURS.fullmatch(entry.name):
                _remove_behind(entry, left)
            elif place.is_symlink() and not OURS.fullmatch(entry.name):
                left.append(f"{entry.resolve()}, which the link {place} leads to, is not called as medistill does")
            else:
                _remove(entry, left)
        if len(left) == told or not any(place.iterdir()):
            _remove_emptied(place)
    except OSError as error:
        left.append(f"{place}: {error.strerror or error}")


def _remove_behind(link: Path, left: list[str]) -> None:
    """Remove the folder that an entry was moved to: nothing but plain files, as entries of the cache hold."""
    target, told = link.resolve(), len(left)
    if any(entry.is_symlink() or not entry.is_file() for entry in target.iterdir()):
        left.append(f"{target}, which the link {link} leads to, holds more than plain files")
        return
    for entry in target.iterdir():
        _remove(entry, left)
    if len(left) == told:
        _remove_emptied(link)


def _remove_emptied(place: Path) -> None:
    """Remove a folder in which nothing is any more, and the link to it where ``place`` is one."""
    place.resolve().rmdir()
    if place.is_symlink():
        place.unlink()


def _remove(path: Path, left: list[str]) -> None:
    """Remove a file, a link, or a folder with all that is in it; what stays is told, and the rest goes all the same."""
    told = len(left)
    try:
        if path.is_symlink():
            if path.exists():
                left.append(f"{path.resolve()}, which the link {path} led to, was not touched")
            path.unlink()
        elif path.is_dir():
            path.chmod(PRIVATE_FOLDER)
            for entry in sorted(path.iterdir()):
                _remove(entry, left)
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno != errno.ENOTEMPTY or len(left) == told:
            left.append(f"{path}: {error.strerror or error}")
