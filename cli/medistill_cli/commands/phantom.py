"""`medistill phantom`: write the built-in corpus of invented patients as DICOM files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medistill_cli import options
from medistill_cli.results import print_json, print_next, print_written
from medistill_cli.working import working


def phantom(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="New folder for the files.")],
    patients: Annotated[
        int, typer.Option("--patients", metavar="N", help="Invented patients, 2 to 4 images each.")
    ] = 240,
    size: Annotated[
        int, typer.Option("--size", metavar="PIXELS", help="Height and width of an image, in pixels.")
    ] = 256,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="The same number draws the same files.")] = 0,
    json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Write a corpus of invented patients as DICOM files.

    Drawn chest radiographs that say SYNTHETIC: three classes at two sites, in folders SITE/CLASS/. Use them to try the
    tool, or to show it, without real patients.

    \b
    Examples:
      medistill phantom xray/
      medistill phantom small/ --patients 24 --size 64
    """
    with working("anew") as progress:
        from medistill.data.phantom import write_phantom

        files = write_phantom(out, patients=patients, size=size, seed=seed, progress=progress)
    if json:
        print_json({"out": str(out), "files": files})
        return
    print_written({f"{files} DICOM files": out})
    print_next([(["medistill", "distill", "--data", str(out), "--recipe", "demo"], "distil them")])
