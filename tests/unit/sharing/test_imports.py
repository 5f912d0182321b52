"""Who receives a set, or packs one, does not wait seconds for what trains networks and reads images."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {"torch", "monai", "scipy"}


def loaded_after(modules: str) -> set[str]:
    """The modules of a fresh interpreter that imported these."""
    ask = f"import sys, {modules}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_what_packs_checks_and_unites_sets_imports_nothing_heavy() -> None:
    verbs = ("share", "verify", "received", "merge", "report")
    assert not loaded_after(", ".join(f"medistill.workflow.{verb}" for verb in verbs)) & HEAVY


def test_what_reads_files_does_import_monai() -> None:
    """So the test above can fail."""
    assert "monai" in loaded_after("medistill.data.text_masking")
