"""Options that several commands share, each described once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from medistill.method_names import method_names, method_summary

Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="FOLDER|URL",
        help="Folder of DICOM, PNG, JPEG, TIFF, BMP, WebP or NIfTI files, in folders by class or by site and class, or "
        "in any folders together with --labels; or dicomweb+https://..., a PACS, with --labels. Left out: the built-in "
        "corpus of invented patients.",
        show_default=False,
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        metavar="CSV",
        help="Table with a column for the file (for a PACS: StudyInstanceUID or SOPInstanceUID) and one for the class, "
        "and if possible for patient, site, view, split, sex and age. Usual names are found; others are named in the "
        "recipe (data.label_column and its like).",
        show_default=False,
    ),
]
RecipeName = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="NAME|FILE",
        help="A recipe of `medistill recipes list`, or a TOML file. Left out: demo without --data; with --data, "
        "covid-xray where there is a GPU and covid-xray-cpu elsewhere.",
        show_default=False,
    ),
]


def _known_method(name: str | None) -> str | None:
    """The name, if there is such a method."""
    if name is None or name in method_names():
        return name
    from medistill.nearest_names import did_you_mean

    raise typer.BadParameter(
        f"there is no method '{name}'{did_you_mean(name, method_names()) or '.'} There are {', '.join(method_names())}."
    )


_METHODS = "\n".join(f"{name}: {method_summary(name)}" for name in method_names())
Method = Annotated[
    str | None,
    typer.Option(
        "--method",
        metavar="NAME",
        callback=_known_method,
        autocompletion=method_names,
        help=f"Method, applied to the recipe before --set; left out, the recipe's own.\n\n\b\n{_METHODS}",
        show_default=False,
    ),
]
Decoder = Annotated[
    Path | None,
    typer.Option(
        "--decoder",
        metavar="FOLDER",
        help="An encoder-decoder that others made: decoder.json and weights.safetensors. It is checked, copied to "
        "the private cache, and spans the space in which classes are quantised (method.quantise.encoder=brought, "
        "method.quantise.decoder its SHA-256), whatever --set says.",
        show_default=False,
    ),
]
DecoderAgain = Annotated[
    Path | None,
    typer.Option(
        "--decoder",
        metavar="FOLDER",
        help="The encoder-decoder that the run was given, where it is not in the private cache any more.",
        show_default=False,
    ),
]
Denoiser = Annotated[
    Path | None,
    typer.Option(
        "--denoiser",
        metavar="FOLDER",
        help="A denoiser that others made: denoiser.json and weights.safetensors. It is checked, copied to the private "
        "cache, and scores the regions that --method diffusion-patches chooses from (method.denoiser.source=brought, "
        "method.denoiser.sha256 its SHA-256), whatever --set says.",
        show_default=False,
    ),
]
DenoiserAgain = Annotated[
    Path | None,
    typer.Option(
        "--denoiser",
        metavar="FOLDER",
        help="The denoiser that the run was given, where it is not in the private cache any more.",
        show_default=False,
    ),
]
EncoderName = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        metavar="NAME|FOLDER",
        help="A frozen encoder of `medistill encoder list`, by the beginning of its hash, or a folder with one, which "
        "is brought into the cache first. Networks are linear probes on what it sees (network.name=probe, "
        "network.encoder its SHA-256), whatever --set says.",
        show_default=False,
    ),
]
EncoderAgain = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        metavar="NAME|FOLDER",
        help="The frozen encoder that the run was given, where it is not in the cache any more.",
        show_default=False,
    ),
]
Public = Annotated[
    Path | None,
    typer.Option(
        "--public",
        metavar="FOLDER|SET",
        help="Images that you declare public, on which the space of the probe is whitened (network.projection); they "
        "get no protection. Or a set that carries such a space, which is taken over, so that the statistics of both "
        "can be added. Needs --encoder, or a recipe with network.name=probe.",
        show_default=False,
    ),
]
PublicLabels = Annotated[
    Path | None,
    typer.Option("--public-labels", metavar="TABLE", help="Table of labels of the public images.", show_default=False),
]
PublicSites = Annotated[
    str | None,
    typer.Option(
        "--public-sites",
        metavar="A,B",
        help="Take these sites of --public alone, separated by commas; where it is the folder of --data, others than "
        "--sites names.",
        show_default=False,
    ),
]
Components = Annotated[
    int | None,
    typer.Option(
        "--components",
        metavar="K",
        min=1,
        max=4096,
        help="Numbers that an image has in the space that is whitened on --public.",
        show_default="64",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="Change one setting of the recipe, as in method.iterations=500. May be given several times.",
        show_default=False,
    ),
]
Ipc = Annotated[
    int | None, typer.Option("--ipc", metavar="N", help="Distilled images per class (method.ipc).", show_default=False)
]
Sites = Annotated[
    str | None,
    typer.Option(
        "--sites", metavar="A,B", help="Take these sites alone, separated by commas (data.sites).", show_default=False
    ),
]
Classes = Annotated[
    str | None,
    typer.Option(
        "--classes",
        metavar="A,B",
        help="Take these classes alone, in this order, separated by commas (data.classes).",
        show_default=False,
    ),
]
BurntInText = Annotated[
    Literal["auto", "unchecked", "mask", "quarantine"] | None,
    typer.Option(
        "--burnt-in-text",
        help="Text other than side markers that is drawn into the pixels: not looked for, painted over, or its file "
        "refused (data.burnt_in_text). auto paints over it in images of 64 pixels and more, where the extra "
        "medistill[ocr] is installed; 0.1 to 0.5 s an image on one core.",
        show_default=False,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        metavar="N",
        help="Number from which every random choice of the run is derived (seed of the recipe).",
        show_default=False,
    ),
]
Across = Annotated[
    str | None,
    typer.Option(
        "--across",
        metavar="A,B",
        help="Compare the arms on these networks too, separated by commas (evaluate.across): convnet, resnet18, vgg11, "
        "alexnet, densenet121.",
        show_default=False,
    ),
]
RequireNonInferior = Annotated[
    bool,
    typer.Option(
        "--require-non-inferior",
        help="Exit with 5 unless the distilled images are shown to be non-inferior to all originals.",
    ),
]
DpEpsilon = Annotated[
    float | None,
    typer.Option(
        "--dp-epsilon",
        metavar="E",
        help="Make the distilled images differentially private with this budget for the whole run (privacy.epsilon, "
        "privacy.mode=dp). Begin with --recipe covid-xray-dp: a recipe must keep to the conditions.",
        show_default=False,
    ),
]
DpDelta = Annotated[
    float | None,
    typer.Option(
        "--dp-delta",
        metavar="D",
        help="Probability with which that bound may fail (privacy.delta, privacy.mode=dp), below 1 / privacy.units.",
        show_default=False,
    ),
]
Device = Annotated[
    Literal["auto", "cpu", "cuda"],
    typer.Option("--device", help="Where to compute. auto takes a CUDA GPU if there is one."),
]
Processes = Annotated[
    int | None,
    typer.Option(
        "--processes",
        metavar="N",
        min=1,
        max=1024,
        help="Start N processes on this machine, which share the work: torchrun's own launcher, on the loopback "
        "interface alone. On several machines leave it out, and start the command with torchrun.",
        show_default="1",
    ),
]
RankTimeout = Annotated[
    float,
    typer.Option(
        "--rank-timeout",
        metavar="MINUTES",
        min=0.05,
        help="Minutes without a sign of life after which one of several processes counts as hanging.",
    ),
]
Trust = Annotated[
    list[str] | None,
    typer.Option(
        "--trust",
        metavar="NAME|FILE",
        help="Refuse a set unless this key signed its bundle: a name of `medistill keys list`, or the file of a public "
        "key. Given several times: one of them.",
        show_default=False,
    ),
]
AllowLargeRecipe = Annotated[
    bool,
    typer.Option(
        "--allow-large-recipe",
        help="Take the recipe inside what was received also where it asks for more than such a recipe may, as "
        "evaluate.epochs=1000000.",
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print the result as one JSON object, and nothing else, on stdout.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error. It can quote your files.")]
ShowReal = Annotated[
    bool,
    typer.Option(
        "--show-real",
        help="Put real training images beside the distilled ones in the report. Such a report must not be shared.",
    ),
]
