"""A command makes settings for its whole process: loggers, warnings, an environment variable. Here none outlives it."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

LOGGERS = ("pydicom", "monai", "nibabel", "PIL", "matplotlib")


@contextmanager
def settings_restored() -> Iterator[None]:
    """Begin without PYTHONWARNINGS; at the end put loggers, warnings and the environment back."""
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    handlers = list(logging.getLogger().handlers)
    try:
        with warnings.catch_warnings(), mock.patch.dict(os.environ, {"PYTHONWARNINGS": ""}):
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        logging.getLogger().handlers[:] = handlers
