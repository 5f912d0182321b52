"""A folder that is there whole or not at all; and whether something can be written before the work for it begins."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medistill.artifacts.atomic import PRIVATE_FOLDER, unwritable
from medistill.errors import ArtifactError, UsageError


def refuse_taken(out: Path) -> None:
    """Refuse a path at which no new folder can be made; an empty one may be filled.

    Raises:
        UsageError: something stands there.
        ArtifactError: it could not be written.
    """
    if os.path.lexists(out) and not (os.path.isdir(out) and not any(out.iterdir())):
        raise UsageError(
            f"{out} holds something already", expected="a folder that is new or empty", do="name another folder"
        )
    refuse_unwritable(out)


def refuse_taken_file(out: Path) -> None:
    """Refuse a path at which no new file can be written.

    Raises:
        UsageError: something stands there.
        ArtifactError: it could not be written.
    """
    if os.path.lexists(out):
        raise UsageError(f"{out} exists already", expected="a file that is new", do="remove it, or name another file")
    refuse_unwritable(out)


def refuse_unwritable(out: Path) -> None:
    """Try whether ``out`` could be made, or written into where it is a folder already; nothing is left of the try.

    Raises:
        UsageError: something that is no folder stands there, or a null byte in it.
        ArtifactError: with the reason that the system gives.
    """
    if os.path.lexists(out) and not os.path.isdir(out):
        raise UsageError(f"{out} is no folder", expected="a folder, or nothing there", do="name another folder")
    there = os.path.isdir(out)  # `Path.is_dir` raises where a name is too long
    missing = [] if there else [out.name]
    folder = out if there else out.absolute().parent
    while not os.path.lexists(folder):
        missing.append(folder.name)
        folder = folder.parent
    longest = max(missing, key=lambda name: len(os.fsencode(name)), default="")
    tried = folder / _beside(longest)
    try:
        tried.mkdir(mode=PRIVATE_FOLDER)
        tried.rmdir()
    except OSError as error:
        raise unwritable(out, error) from error
    except ValueError as error:  # a null byte
        raise UsageError(f"the output cannot be a path: {error}", expected="a path", do="name another folder") from None


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Give a neighbour of ``out`` to write into, and rename it into place at the end; after an error nothing is left.

    Raises:
        UsageError: ``out`` holds something already.
        ArtifactError: the disk is full, or the folder above cannot be written.
    """
    refuse_taken(out)
    neighbour = out.with_name(_beside(out.name))
    try:
        neighbour.mkdir(parents=True)
        yield neighbour
        if out.is_dir():
            out.rmdir()
        neighbour.rename(out)
    except OSError as error:
        raise unwritable(out, error) from error
    except ArtifactError as error:  # of a file in it, whose place will be another
        raise ArtifactError(
            error.seen.replace(str(neighbour), str(out)), expected=error.expected, do=error.do
        ) from error
    finally:
        shutil.rmtree(neighbour, ignore_errors=True)


def _beside(name: str) -> str:
    """A name for what is not finished; at least as long as any that is written beside a file of this name."""
    return f".{name}.{os.getpid()}.{secrets.token_hex(4)}.part"
