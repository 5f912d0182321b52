"""`medistill benchmark`: the whole chain on a benchmark of the field, beside published figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medistill_cli import options
from medistill_cli.brought import brought, named_encoder, refuse_unused
from medistill_cli.recipe_choice import method_for, overrides_of
from medistill_cli.results import print_evaluation, print_json, print_written
from medistill_cli.terminal import out_console
from medistill_cli.working import working

if TYPE_CHECKING:
    from medistill.evaluate.published import BenchmarkResult
    from medistill.progress import Progress
    from medistill.recipe import Recipe


def benchmark(
    name: Annotated[
        Literal["cifar10", "cifar100", "tiny-imagenet", "pneumoniamnist"],
        typer.Argument(metavar="NAME", help="cifar10, cifar100, tiny-imagenet or pneumoniamnist."),
    ],
    ipc: Annotated[
        int | None,
        typer.Option(
            "--ipc",
            metavar="N",
            help="Distilled images per class; settings and figures are published for 1, 10 and 50. Left out: 1, or the "
            "number of --recipe.",
            show_default=False,
        ),
    ] = None,
    method: options.Method = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="FOLDER",
            help="Folder or archive with the official files, as published or unpacked. Left out: what --download "
            "fetched before.",
            show_default=False,
        ),
    ] = None,
    download: Annotated[
        bool,
        typer.Option(
            "--download",
            help="Fetch the official file, by its pinned hash, into --data or the private cache where it is not there.",
        ),
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            metavar="N",
            min=1,
            help="Use at most N training images of each class, and say so beside every figure.",
            show_default=False,
        ),
    ] = None,
    partial: Annotated[
        bool,
        typer.Option(
            "--partial", help="Take a copy that has fewer images than were published, and say so beside every figure."
        ),
    ] = False,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="NAME|FILE",
            help="A recipe in place of the benchmark's own.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="New folder for the run: the set, the report, the state.")
    ] = Path("medistill-benchmark"),
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out, with the recipe that it was started with.")
    ] = False,
    settings: options.Settings = None,
    decoder: options.Decoder = None,
    encoder: options.EncoderName = None,
    seed: options.Seed = None,
    device: options.Device = "auto",
    json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Distil a benchmark of the field, beside published figures.

    The official files are read as they are published: CIFAR's python or binary version, Tiny ImageNet's folder or zip,
    PneumoniaMNIST's npz. Validation images choose the set. The best test accuracy over the run, which papers report,
    is told beside it (method.keep_looks=false leaves it out). Where the run departs from the published setting, the
    output says in what.

    \b
    Examples:
      medistill benchmark cifar10 --ipc 1 --data cifar/
      medistill benchmark cifar10 --ipc 10 --download
      medistill benchmark pneumoniamnist --ipc 10 --method datm --data medmnist/ --out runs/pneumonia
      medistill benchmark cifar10 --data cifar/ --limit 100 --set method.experts.count=4 --out runs/small
    """
    with working("resume") as progress:
        stored = out / "recipe.toml" if resume else None
        own, seen_by = brought(decoder), named_encoder(encoder)
        method = method_for(method, seen_by, recipe, settings, stored=stored, private=False)
        overrides = overrides_of(settings, method=method, seed=seed, decoder=own, encoder=seen_by)
        chosen = _recipe(name, ipc, method, recipe, stored, overrides, progress)
        refuse_unused(own, chosen)
        from medistill.studies.benchmark.study import BenchmarkSource
        from medistill.workflow.run import run

        source = BenchmarkSource(name, data, download, limit, partial)
        report = run(chosen, out=out, benchmark=source, device=device, resume=resume, progress=progress)
        from medistill.evaluate.published import load_benchmark

        result = load_benchmark(out / "benchmark.json")
    files = {"report": out / "report.html", "distilled set": out / "set", "figures": out / "benchmark.json"}
    if json:
        from dataclasses import asdict

        told = {"run": str(out), "report": str(files["report"]), "set": str(files["distilled set"])}
        print_json({**told, "benchmark": asdict(result), "evaluation": report.evaluation.as_json()})
        return
    print_evaluation(report.evaluation)
    _print_benchmark(result, chosen)
    print_written(files)


def _recipe(
    name: str,
    ipc: int | None,
    method: str | None,
    given: str | None,
    stored: Path | None,
    overrides: list[str],
    progress: Progress,
) -> Recipe:
    """The recipe of a run that is resumed, the one that was named, or the benchmark's own for that many images."""
    from medistill.recipe import load_recipe

    asked = [] if ipc is None else [f"method.ipc={ipc}"]
    if given is None and stored is not None and stored.is_file():
        return load_recipe(stored, [*overrides, *asked])
    if given is not None:
        return load_recipe(given, [*overrides, *asked])
    from medistill.method_names import DEFAULT_METHOD
    from medistill.studies.benchmark.study import benchmark_recipe

    own, needed = benchmark_recipe(name, 1 if ipc is None else ipc, method or DEFAULT_METHOD)
    said = ": there is none for that number" if "-ipc" in own else ""
    progress.say(f"Recipe {own}, with {ipc or 1} images per class{said}." if needed else f"Recipe {own}.")
    return load_recipe(own, [*needed, *overrides])


def _print_benchmark(result: BenchmarkResult, recipe: Recipe) -> None:
    """Our figures and those of others for the same number of images per class."""
    from rich.table import Table

    table = Table(
        title=f"{result.dataset} at {result.ipc} per class: test accuracy in percent",
        title_justify="left",
        title_style="bold",
    )
    table.add_column("Method")
    table.add_column("Accuracy", justify="right", no_wrap=True)
    table.add_column("Labels")
    table.add_column("Source")
    spread = "" if result.chosen_spread is None else f" ± {result.chosen_spread:.1f}"
    from medistill.methods.registry import recipe_facts

    mine = "This run, chosen on validation data" if recipe_facts(recipe).outer_steps else "This run"
    labels = "soft" if recipe.method.learns_labels else "hard"
    if recipe_facts(recipe).label_values or recipe_facts(recipe).target_vectors:
        labels = "learned"
    table.add_row(mine, f"{result.chosen_accuracy:.1f}{spread}", labels, "this run", style="bold")
    if result.maximum_accuracy is not None:
        row = ("This run, best on the test set, as papers report it", f"{result.maximum_accuracy:.1f}", labels)
        table.add_row(*row, f"this run, step {result.maximum_step}")
    for figure in result.published:
        table.add_row(figure.method, f"{figure.accuracy:.1f}", figure.labels, figure.source)
    console = out_console()
    console.print()
    console.print(table)
    if not result.published:
        console.print(f"No published figure was found for {result.ipc} images per class.")
    if result.cut_down:
        console.print("Cut down or changed against the benchmark's own recipe:")
    for sentence in result.cut_down:
        console.print(f"  {sentence}")
