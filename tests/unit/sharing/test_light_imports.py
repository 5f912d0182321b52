"""Who receives a set, packs one or lets workers read files does not wait seconds for what is not used there."""

from __future__ import annotations

import subprocess
import sys

import pytest

SETS = ("share", "verify", "received", "merge", "report")
FILES = ("prepare", "preview")


@pytest.mark.parametrize("verbs", [SETS, FILES], ids=["sets", "files"])
def test_nothing_heavy_is_imported(verbs: tuple[str, ...]) -> None:
    """MONAI and torch are for workers that read files, and for what trains."""
    names = [f"medistill.workflow.{verb}" for verb in verbs]
    ask = f"import sys, {', '.join(names)}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert set(names) <= loaded
    assert not loaded & {"torch", "monai", "scipy"}
