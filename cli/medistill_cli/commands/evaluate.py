"""`medistill evaluate`: what a distilled set is worth on a corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medistill_cli import options
from medistill_cli.corpus import read_corpus
from medistill_cli.recipe_choice import overrides_of
from medistill_cli.results import demand_non_inferiority, print_evaluation, print_json, print_next, print_written
from medistill_cli.source_set import recipe_of_set, refuse_built_in, refuse_no_set
from medistill_cli.working import working


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

        refuse_no_set(source)
        distilled = DistilledSet.load(source)
        names = classes if classes is not None else ",".join(distilled.class_names)
        overrides = overrides_of(settings, seed=seed, sites=sites, classes=names, across=across)
        chosen = recipe_of_set(distilled, source, recipe, overrides)
        if data is None:
            refuse_built_in(distilled, source, "evaluate on")
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
