"""`medistill train`: a classifier on a distilled set that was received."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from medistill_cli import options
from medistill_cli.brought import named_encoder
from medistill_cli.recipe_choice import overrides_of
from medistill_cli.results import print_facts, print_json, print_next, print_written
from medistill_cli.source_set import load_set, recipe_of_set
from medistill_cli.working import working


def train(
    source: Annotated[
        Path, typer.Argument(metavar="BUNDLE|SET|RUN", help="A bundle, a distilled set, or the folder of a run.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="New folder for the classifier.")],
    network: Annotated[
        str | None,
        typer.Option(
            "--network",
            metavar="NAME",
            help="convnet, resnet18, vgg11, alexnet, densenet121 or probe (network.name). Left out: the recipe's.",
            show_default=False,
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="NAME|FILE",
            help="Recipe to train with. Left out: the one that the set was made with.",
            show_default=False,
        ),
    ] = None,
    of: Annotated[
        Literal["images", "statistics"],
        typer.Option(
            "--from",
            help="Train on the images; or, of a set of the method private-means, take the noisy class statistics that "
            "it carries: the class with the nearest mean, at once, for the encoder that the set was made with.",
        ),
    ] = "images",
    first: Annotated[
        int | None,
        typer.Option(
            "--first",
            metavar="K",
            help="Train on the first K images of each class alone: a set that was made in stages (method.stages) is "
            "made for that. Left out: all.",
            show_default=False,
        ),
    ] = None,
    settings: options.Settings = None,
    encoder: options.EncoderName = None,
    seed: options.Seed = None,
    trust: options.Trust = None,
    allow_large_recipe: options.AllowLargeRecipe = False,
    device: options.Device = "auto",
    json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Train a classifier on a distilled set.

    No real image is needed. It is trained as the networks of the set's own report were, in the way that did best on
    its maker's validation patients. Without a report, with another network, of a set with differential privacy or with
    schedule.choose=fixed, the learning rate is the one that was learned with the set, and evaluate.epochs says how
    long; a probe has schedule.penalty. Writes weights.safetensors, and beside it preprocessing.json: classes, size,
    normalisation and where the set comes from. Test it on your own images before you believe it.

    \b
    Examples:
      medistill train bundle.zip --network resnet18 --out model/
      medistill train bundle.zip --first 10 --out model/
      medistill train bundle.zip --from statistics --out model/
      medistill train medistill-run --out model/ --seed 3 --set schedule.choose=fixed --set evaluate.epochs=500
    """
    with working("anew") as progress:
        received = load_set(source, trust)
        distilled = received.distilled if first is None else received.distilled.first(first)
        overrides = overrides_of(settings, seed=seed)
        if network is not None:
            overrides += [f"network.name={network}", *([] if network == "probe" else ['network.encoder=""'])]
        overrides += overrides_of(None, encoder=named_encoder(encoder))
        chosen = recipe_of_set(distilled, source, recipe, overrides, allow_large=allow_large_recipe)
        if of == "statistics":
            from medistill.workflow.statistics_classifier import statistics_classifier

            classifier = statistics_classifier(distilled, chosen, out=out, signer=received.signer, progress=progress)
        else:
            from medistill.workflow.train_classifier import train_classifier

            classifier = train_classifier(
                distilled,
                chosen,
                out=out,
                signer=received.signer,
                schedules=received.schedules if distilled.cut_to is None else {},  # the report is of the whole set
                device=device,
                progress=progress,
            )
    length = f" for {classifier.epochs} epochs" if classifier.epochs else ""  # a probe is fitted
    told = {
        "network": classifier.recipe.network.name,
        "classes": list(classifier.class_names),
        "images": classifier.images,
        "epochs": classifier.epochs,
        "seconds": classifier.seconds,
        "set_sender": received.sender,
        "set_verified": received.signer is not None,
        "set_signer": received.signer,
    }
    if json:
        print_json({"out": str(out), **told})
        return
    print_facts(
        (
            ("Network", str(told["network"])),
            ("Classes", ", ".join(classifier.class_names)),
            (
                "Trained on",
                f"{classifier.images} distilled images{length}"
                if of == "images"
                else "the class statistics that the set carries",
            ),
            ("Set", received.origin),
        )
    )
    print_written({"weights": out / "weights.safetensors", "preprocessing": out / "preprocessing.json"})
    print_next([(["medistill", "evaluate", str(out), "--data", "FOLDER"], "test it on images of your own")])
