"""Scratch arrays: what they cost in memory, where they lie, and what is said where the disk is full."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from medistill.artifacts.cache import cache_root
from medistill.artifacts.scratch import SMALL, scratch
from medistill.errors import ArtifactError

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="this system has no /proc")


def unmapped() -> int:
    """Bytes of this process that the kernel cannot take back."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("RssAnon:")))


def test_a_large_array_takes_no_anonymous_memory_and_leaves_no_name() -> None:
    before, rows = unmapped(), 16 * SMALL // 4096
    array = scratch((rows, 1024), np.float32)
    for start in range(0, rows, 1024):
        array[start : start + 1024] = np.arange(start, min(start + 1024, rows), dtype=np.float32)[:, None]
    assert unmapped() - before < 4 * SMALL
    assert array.nbytes == 16 * SMALL
    np.testing.assert_array_equal(array[:, 1023], np.arange(rows))
    folder = cache_root() / "corpora"
    assert list(folder.iterdir()) == []
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("values", [0, SMALL // 8])
def test_a_small_array_is_in_memory(values: int) -> None:
    array = scratch((values,), np.float64)
    assert not isinstance(array, np.memmap)
    assert (array.shape, array.dtype) == ((values,), np.float64)


def test_a_full_disk_is_said_before_anything_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ArtifactError, match="disk is full"):
        scratch((SMALL + 1,), np.uint8)
