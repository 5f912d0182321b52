"""The site file: what a site says for itself, on its own disk. Nothing in it comes from the server, nor goes there.

It names the site's images, the key that it signs with, its licence, and the one recipe that the house agreed to. What a
server sends can ask for that recipe alone, and can name no path.
"""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from medistill.artifacts.atomic import PRIVATE_FILE
from medistill.artifacts.local_key import keys_root
from medistill.artifacts.record import Record
from medistill.errors import ArtifactError, first_complaint

VARIABLE = "MEDISTILL_FLARE_SITE"
"""Environment variable that names the file."""
MOST_BYTES = 2**16
Line = Annotated[str, Field(min_length=1, max_length=2000)]


class SiteFile(Record):
    """The table of one site."""

    data: Line
    """Folder or archive of its images."""
    work: Line
    """Folder in which its run, its bundle and the classifiers that it received are kept."""
    recipe: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """SHA-256 of the recipe that the house agreed to, as `medistill flare job` prints it."""
    key: Line
    """Name of the key of `medistill keys` that signs the bundle."""
    licence: Line
    """Under which others may use the set."""
    intended_use: Line
    """What the set may be used for."""
    labels: Annotated[str, Field(max_length=2000)] = ""
    """Table of labels; empty where folders say them."""
    sender: Annotated[str, Field(max_length=200)] = ""
    """Who sends the set, as recipients read it; empty is not told."""
    acknowledge_risk: Annotated[str, Field(max_length=2000)] = ""
    """Why the set may leave without a passing audit, which recipients read; empty: it may not."""
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def folder(self) -> Path:
        """Where all of this recipe lies: another recipe is another run."""
        return Path(self.work).expanduser() / self.recipe[:16]


def site_file_path() -> Path:
    """``$MEDISTILL_FLARE_SITE``, or ``flare-site.toml`` beside the folder of keys."""
    chosen = os.environ.get(VARIABLE)
    return Path(chosen).expanduser() if chosen else keys_root().parent / "flare-site.toml"


def read_site_file(site: str) -> SiteFile:
    """The table of a site; several simulated sites may share one file.

    Args:
        site: as the engine calls it here.

    Raises:
        ArtifactError: the file is missing, others can read it, it is no TOML, or its table is missing or wrong.
    """
    path = site_file_path()
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise _unusable(path, error.strerror or "it cannot be read") from None
    if mode & ~PRIVATE_FILE:
        raise _unusable(path, f"it has mode {mode:04o}, so others can read where the images lie")
    if len(content) > MOST_BYTES:
        raise _unusable(path, f"it is longer than {MOST_BYTES} bytes")
    try:
        tables = tomllib.loads(content.decode("utf-8"))
    except (ValueError, RecursionError):
        raise _unusable(path, "it is no TOML") from None
    if site not in tables:
        raise _unusable(path, f"it has no table [{site}]")
    try:
        return SiteFile.model_validate(tables[site])
    except ValidationError as error:
        raise _unusable(path, f"{site}.{first_complaint(error)}") from None


def _unusable(path: Path, why: str) -> ArtifactError:
    return ArtifactError(
        f"the site file {path} cannot be used: {why}",
        expected=f"TOML with mode {PRIVATE_FILE:04o} and a table of this site, as the guide on federated exchange has "
        "it",
        do=f"write or mend it, or name another one with {VARIABLE}",
    )
