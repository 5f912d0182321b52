"""The passphrase of a private key: from the environment, or typed at a terminal."""

from __future__ import annotations

import os
import sys

VARIABLE = "MEDISTILL_PASSPHRASE"


def ask_passphrase(name: str, *, twice: bool = False) -> str | None:
    """The passphrase of the key ``name``, typed twice where it is new; none where there is nobody to ask."""
    given = os.environ.get(VARIABLE)
    if given or not sys.stdin.isatty():
        return given or None
    import typer

    return str(typer.prompt(f"Passphrase of the key {name}", hide_input=True, confirmation_prompt=twice, err=True))
