"""`medistill merge`: unite the sets of several hospitals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medistill_cli import options
from medistill_cli.results import print_json, print_next, print_written
from medistill_cli.source_set import load_set, run_of
from medistill_cli.terminal import out_console

if TYPE_CHECKING:
    from medistill.artifacts.distilled_set import DistilledSet
    from medistill.workflow.received import ReceivedSet


def merge(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="BUNDLE|SET|RUN...", help="Two or more bundles, distilled sets or folders of runs."),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="New folder for the united set.")],
    label_map: Annotated[
        list[str] | None,
        typer.Option(
            "--label-map",
            metavar="SOURCE:OLD=NEW",
            help="Class OLD of that source is NEW in the united set; OLD=OLD keeps one that not every set has. Without "
            "SOURCE: for OLD of every set. May be given several times.",
            show_default=False,
        ),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            "--image-size",
            metavar="PIXELS",
            min=8,
            max=1024,
            help="Resize images of another size to this. Left out: sets of different sizes are refused.",
            show_default=False,
        ),
    ] = None,
    ipc: Annotated[
        int | None,
        typer.Option(
            "--ipc",
            metavar="N",
            min=1,
            max=10_000,
            help="Unite the centroids of sets by ddoq into N images a class, by their masses. Left out: all images "
            "stay.",
            show_default=False,
        ),
    ] = None,
    without_statistics: Annotated[
        bool,
        typer.Option(
            "--without-statistics",
            help="Leave out the class statistics that the sets carry, which are added up otherwise.",
        ),
    ] = False,
    trust: options.Trust = None,
    allow_large_recipe: options.AllowLargeRecipe = False,
    json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Unite the distilled sets of several hospitals into one.

    Classes are united by name. The images go to one normalisation through their grey values. The united set says of
    each image which set it comes from, and what was promised for that set's privacy. Noisy class statistics, where
    every set carries them in the same space, are added up: that is exact, and says more than the images.

    \b
    Examples:
      medistill merge east.zip west.zip --out merged/
      medistill merge east.zip west.zip --out merged/ --label-map "west.zip:Covid-19=COVID" --image-size 32
      medistill merge east.zip west.zip --out merged/ --ipc 10
    """
    from medistill.workflow.merge import merge as merge_sets

    received = [load_set(source, trust) for source in sources]
    united = merge_sets(
        received,
        out=out,
        label_maps=_label_maps(label_map or (), received),
        image_size=image_size,
        ipc=ipc,
        statistics="leave out" if without_statistics else "add",
        large_recipe="allow" if allow_large_recipe else "refuse",
    )
    if json:
        known = united.provenance
        listed = [part.as_json() for part in known.sources or ()]
        told = {"sources": listed, "privacy": known.privacy, "student_lr": united.student_lr}
        print_json({"out": str(out), "classes": list(united.class_names), "images": len(united.labels), **told})
        return
    _print(united, sources)
    print_written({"united set": out})
    unaudited = [one.name for one in received if not one.verdict and not one.bundled and run_of(Path(one.name))]
    print_next(
        [
            *((["medistill", "audit", name, "--data", "ITS/"], "audit this set of yours first") for name in unaudited),
            (["medistill", "train", str(out), "--out", "model"], "train a classifier on it"),
            (["medistill", "evaluate", str(out), "--data", "OWN/"], "what it is worth for your patients"),
        ]
    )


def _label_maps(given: Sequence[str], sources: Sequence[ReceivedSet]) -> dict[str, dict[str, str]]:
    """``SOURCE:OLD=NEW`` as a map for each source; without a source it goes to every set that has the class."""
    from medistill.errors import UsageError

    maps: dict[str, dict[str, str]] = {source.name: {} for source in sources}
    for text in given:
        old, equals, new = text.rpartition("=")
        if not equals or not old or not new:
            raise UsageError(
                f"--label-map {text}", expected="SOURCE:OLD=NEW", do='write it as in --label-map "west.zip:Covid=COVID"'
            )
        named = [(name, old.removeprefix(f"{name}:")) for name in maps if old.startswith(f"{name}:")]
        found = named or [(source.name, old) for source in sources if old in source.distilled.class_names]
        if not found:
            raise UsageError(
                f"--label-map {text}: no set is called so, and none has the class '{old}'",
                expected=f"one of {', '.join(maps)} before the colon, or a class of theirs",
                do="write the source as it stands in the command",
            )
        for name, of_source in found:
            maps[name][of_source] = new
    return maps


def _print(united: DistilledSet, sources: Sequence[Path]) -> None:
    """Where the images come from, what they are, and what is promised."""
    import numpy as np
    from rich.table import Table

    from medistill.report.united_audits import united_audits
    from medistill.sharing.statement import sender_words

    console, before = out_console(), united.provenance.united_images
    made = "" if before is None else f", the means of {before} by their masses"
    title, class_names = f"{len(united.labels)} images of {len(sources)} sets{made}", united.class_names
    class_names = class_names if before is None else ()
    table = Table(title=title, title_justify="left", title_style="bold")
    for heading in ("Images", "Sender", "Audit", "Epsilon", *class_names):
        table.add_column(heading, justify="left" if heading in ("Images", "Sender", "Audit") else "right")
    for part in united.provenance.sources or ():
        first, last = part.first, part.first + part.images - 1
        counts = [np.sum(united.labels[first : last + 1] == label) for label in range(len(class_names))]
        epsilon = "none" if part.epsilon is None else f"{part.epsilon:.3g}"
        table.add_row(
            f"{first} to {last}",
            sender_words(part.sender, part.signer),
            part.audit or "not told",
            epsilon,
            *map(str, counts),
        )
    if said := united_audits(united.provenance.sources or ()):
        console.print(said, soft_wrap=True, style="bold")
    console.print(table)
    console.print(united.provenance.privacy, soft_wrap=True)
