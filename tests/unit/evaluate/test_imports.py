"""What is only arithmetic on predictions starts without torch, which takes seconds to import."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from importlib import import_module

TRAINS = {"arms", "course", "important_originals", "network_keys", "originals_choice", "protocol"}
"""Modules of the room that train networks."""
HEAVY = {"torch", "monai", "sklearn", "scipy", "matplotlib"}


def loaded_after(modules: set[str]) -> set[str]:
    """The modules of a fresh interpreter that imported these of the evaluation's."""
    names = ", ".join(f"medistill.evaluate.{name}" for name in sorted(modules))
    ask = f"import sys, {names}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_arithmetic_imports_nothing_heavy() -> None:
    arithmetic = {module.name for module in pkgutil.iter_modules(import_module("medistill.evaluate").__path__)} - TRAINS
    assert {"comparison", "delong", "roc_band"} <= arithmetic
    assert not loaded_after(arithmetic) & HEAVY


def test_training_does_import_torch() -> None:
    """So the test above can fail."""
    assert "torch" in loaded_after(TRAINS)
