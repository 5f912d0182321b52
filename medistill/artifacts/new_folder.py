"""A folder that is there whole or not at all."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medistill.artifacts.atomic import unwritable
from medistill.errors import UsageError


def refuse_taken(out: Path) -> None:
    """Refuse a path at which something stands already; an empty folder may be filled.

    Raises:
        UsageError: it holds something.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UsageError(
            f"{out} holds something already", expected="a folder that is new or empty", do="choose another --out"
        )


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Give a neighbour of ``out`` to write into, and rename it into place at the end; after an error nothing is left.

    Raises:
        UsageError: ``out`` holds something already.
        ArtifactError: the disk is full, or the folder above cannot be written.
    """
    refuse_taken(out)
    neighbour = out.with_name(f".{out.name}.{secrets.token_hex(4)}.part")
    try:
        neighbour.mkdir(parents=True)
        yield neighbour
        if out.is_dir():
            out.rmdir()
        neighbour.rename(out)
    except OSError as error:
        raise unwritable(out, error) from error
    finally:
        shutil.rmtree(neighbour, ignore_errors=True)
