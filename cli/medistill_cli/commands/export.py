"""`medistill export`: a distilled set in a form that other programs read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from medistill_cli import options
from medistill_cli.results import print_json, print_written
from medistill_cli.source_set import load_set
from medistill_cli.terminal import write_error


def export(
    source: Annotated[
        Path, typer.Argument(metavar="BUNDLE|SET|RUN", help="A bundle, a distilled set, or the folder of a run.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="New folder for the files.")],
    form: Annotated[
        Literal["dd-ranking"],
        typer.Option("--format", help="images.pt, labels.pt and lr.pt, as DD-Ranking reads them."),
    ] = "dd-ranking",
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            metavar="NAME",
            help="Normalise the images as DD-Ranking does those of CIFAR10, CIFAR100, TinyImageNet or ImageNet1K. Left "
            "out: the set's own normalisation.",
            show_default=False,
        ),
    ] = None,
    trust: options.Trust = None,
    json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Write a distilled set as tensors for other code.

    Each file holds one tensor, which torch.load reads with weights_only=True. Weights and stages have no place there;
    where the set has some, that is told.

    \b
    Examples:
      medistill export runs/cifar --out tensors/ --dataset CIFAR10
      medistill export bundle.zip --format dd-ranking --out tensors/
    """
    from medistill.report.tile_statements import tile_sentence
    from medistill.sharing.dd_ranking import left_behind
    from medistill.workflow.export import export_dd_ranking

    distilled = load_set(source, trust).distilled
    files, lost = export_dd_ranking(distilled, out=out, dataset=dataset), left_behind(distilled)
    if json:
        told = {"out": str(out), "format": form, "files": [file.name for file in files]}
        print_json({**told, "left_behind": lost, "tiles": distilled.tiles})
        return
    print_written({file.stem: file for file in files})
    if cut := tile_sentence(distilled.tiles, distilled.shown):
        write_error(f"{cut} These were written.")
    if lost:
        write_error(f"{lost}.")
