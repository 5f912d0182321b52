"""Scratch: arrays that are worked on, in memory while they are small, else in a file of the cache that has no name."""

from __future__ import annotations

import errno
import math
import os
import tempfile
from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from medistill.artifacts.atomic import private_folder, unwritable
from medistill.artifacts.cache import cache_root

SMALL = 4 * 2**20
"""Bytes up to which an array is in memory; some searches hold 64 of them."""
NO_SUCH_RESERVATION = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)
"""How a file system says that it cannot take room beforehand."""


def scratch(shape: Sequence[int], dtype: DTypeLike) -> np.ndarray:
    """Return an array whose values are to be written, which takes no memory that the kernel cannot have back.

    A large one is mapped from a file beside the corpora, as private as these, which has no name and is gone with the
    array, or with the process. Its room on the disk is taken at once, so that the disk is not found full by a write
    through the map, which would end the process. Where a system cannot do this the array is in memory.

    Args:
        shape: of the array.
        dtype: of its values.

    Raises:
        ArtifactError: the disk has no room for it.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size <= SMALL or not hasattr(os, "posix_fallocate"):
        return np.empty(shape, dtype)
    folder = private_folder(cache_root() / "corpora")
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(file, dtype, "r+", shape=tuple(shape))
    except OSError as error:
        if error.errno in NO_SUCH_RESERVATION:
            return np.empty(shape, dtype)
        raise unwritable(folder / "scratch", error) from error
