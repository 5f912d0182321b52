"""`medistill evaluate`: what a distilled set is worth on a corpus."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medistill_cli import options
from medistill_cli.corpus import read_corpus
from medistill_cli.recipe_choice import overrides_of
from medistill_cli.results import demand_non_inferiority, print_evaluation, print_json, print_next, print_written
from medistill_cli.working import working

if TYPE_CHECKING:
    from medistill.artifacts.distilled_set import DistilledSet
    from medistill.recipe import Recipe


def evaluate(
    source: Annotated[Path, typer.Argument(metavar="SET", help="A distilled set, or the folder of a run.")],
    data: options.Data = None,
    labels: options.Labels = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="NAME|FILE",
            help="Recipe to evaluate with. Left out: the one that the set was made with.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="Folder for the predictions and the results; kept private.")
    ] = Path("medistill-evaluation"),
    sites: options.Sites = None,
    classes: options.Classes = None,
    settings: options.Settings = None,
    seed: options.Seed = None,
    across: options.Across = None,
    require_non_inferior: options.RequireNonInferior = False,
    device: options.Device = "auto",
    json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Measure what a distilled set is worth on a corpus.

    Fresh networks are trained on the set, on all originals and on as few of them, and tested on patients that
    none of them has seen. The corpus may be another one than the set was made from; it needs the same classes. It is
    split as its own: the originals that the set is compared with are its training split. Repeated with the same --out
    the command trains only what is missing, also where more networks or arms are asked for.

    \b
    Examples:
      medistill evaluate medistill-run --data xray/
      medistill evaluate received/set --data elsewhere/ --out runs/elsewhere
      medistill evaluate medistill-run --data xray/ --across resnet18,vgg11 --out runs/elsewhere
      medistill evaluate received/set --data xray/ --require-non-inferior --set evaluate.margin=0.03
    """
    with working("repeat") as progress:
        from medistill.artifacts.distilled_set import DistilledSet

        _refuse_no_set(source)
        distilled = DistilledSet.load(source)
        names = classes if classes is not None else ",".join(distilled.class_names)
        overrides = overrides_of(settings, seed=seed, sites=sites, classes=names, across=across)
        chosen = _recipe(distilled, source, recipe, overrides)
        if data is None:
            _refuse_built_in(distilled, source)
        from medistill.workflow.across import check_across, evaluate_across
        from medistill.workflow.evaluate import evaluate as evaluate_set

        corpus = read_corpus(data, labels, chosen, progress)
        check_across(corpus, chosen)
        evaluation = evaluate_set(distilled, corpus, chosen, out=out, device=device, progress=progress)
        others = evaluate_across(distilled, corpus, chosen, out=out, device=device, progress=progress)
    if json:
        told = {"evaluation": evaluation.as_json(), "across": [other.as_json() for other in others]}
        print_json({"out": str(out), **told})
    else:
        print_evaluation(evaluation, others)
        print_written({"results": out / "evaluation" / "evaluation.json"})
        print_next([(["medistill", "report", str(out)], "write the report of it")])
    if require_non_inferior:
        demand_non_inferiority(evaluation)


def _recipe(distilled: DistilledSet, source: Path, name: str | None, overrides: list[str]) -> Recipe:
    """The recipe that was named, or the one inside the set, with the overrides on top."""
    from medistill.errors import UsageError
    from medistill.recipe import load_recipe, override_recipe, validate_recipe

    if name is not None:
        return load_recipe(name, overrides)
    if "recipe" not in distilled.provenance:
        raise UsageError(
            f"{source} does not say which recipe it was made with",
            expected="a set that medistill distilled, or --recipe",
            do="add --recipe with the network that you want to evaluate",
        )
    origin = f"the recipe inside {source}"
    return override_recipe(validate_recipe(distilled.provenance["recipe"], origin), overrides, origin)


def _refuse_no_set(source: Path) -> None:
    from medistill.errors import ArtifactError

    if not any((folder / "manifest.json").is_file() for folder in (source, source / "set")):
        raise ArtifactError(
            f"{source} holds no distilled set",
            expected="the folder of a set, or of a run whose set is finished",
            do="check the path; a run that was stopped goes on with `medistill distill` and --resume",
        )


def _refuse_built_in(distilled: DistilledSet, source: Path) -> None:
    from medistill.errors import UsageError

    if not distilled.provenance.get("synthetic_source"):
        raise UsageError(
            f"{source} was made of real images, and no --data was given",
            expected="a corpus to evaluate on",
            do="add --data with a folder of images",
        )
