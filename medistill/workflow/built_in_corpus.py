"""The corpus of invented patients that commands take where no other is named."""

from __future__ import annotations

import shutil
from pathlib import Path

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.cache import BUILT_IN, cache_root
from medistill.data.phantom import write_phantom
from medistill.progress import Progress


def built_in_corpus(progress: Progress) -> Path:
    """Folder of the phantom corpus in the private cache, drawn where it is not there yet."""
    folder = private_folder(cache_root() / BUILT_IN) / "v1"
    if not folder.is_dir():
        half_drawn = folder.with_name("v1.part")
        shutil.rmtree(half_drawn, ignore_errors=True)
        write_phantom(half_drawn, progress=progress)
        half_drawn.rename(folder)
    return folder
