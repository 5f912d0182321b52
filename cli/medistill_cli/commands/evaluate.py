"""`medistill evaluate`: what a distilled set, or a classifier that was trained on one, is worth on a corpus."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medistill_cli import options
from medistill_cli.brought import named_encoder
from medistill_cli.corpus import read_corpus
from medistill_cli.recipe_choice import overrides_of
from medistill_cli.results import (
    demand_non_inferiority,
    print_classifier,
    print_evaluation,
    print_json,
    print_next,
    print_written,
)
from medistill_cli.source_set import (
    classes_of,
    load_set,
    received_recipe,
    recipe_of_set,
    refuse_built_in,
    run_of,
    without_own_sites,
    without_text_reader,
)
from medistill_cli.working import working

if TYPE_CHECKING:
    from medistill.evaluate.evaluation import Evaluation
    from medistill.progress import Progress
    from medistill.workflow.tested import Part


def evaluate(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SET",
            help="A distilled set, its bundle, the folder of a run, or a classifier of `medistill train`.",
        ),
    ],
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
    split: Annotated[
        Literal["all", "test"] | None,
        typer.Option(
            "--split",
            help="Test on all images; or on the test split, and compare with originals of the training split. Left "
            "out: the test split of the corpus that the set was made from, all images of any other.",
            show_default=False,
        ),
    ] = None,
    settings: options.Settings = None,
    encoder: options.EncoderName = None,
    seed: options.Seed = None,
    across: options.Across = None,
    require_non_inferior: options.RequireNonInferior = False,
    trust: options.Trust = None,
    allow_large_recipe: options.AllowLargeRecipe = False,
    device: options.Device = "auto",
    json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Test a distilled set or a classifier on a corpus.

    On the corpus that the set was made from, fresh networks are trained on the set, on all originals and on as few of
    them, and tested on patients that none of them has seen. On any other, such as that of another hospital, all images
    are tested, and nothing is trained on them. Classes may be missing there, and images of other classes are left
    aside. Images that the set was made from are left out where its run lies here; else it is not known whether there
    are any, and the report says so. With --split test the other corpus is split as its own, and the set is compared
    with the originals of its training split.

    A classifier is not trained again: it is tested as it is. With --split test thresholds are chosen on the validation
    split of your corpus. Repeated with the same --out the command trains only what is missing.

    \b
    Examples:
      medistill evaluate medistill-run --data xray/
      medistill evaluate received/set --data elsewhere/ --out runs/elsewhere
      medistill evaluate medistill-run --data xray/ --across resnet18,vgg11 --out runs/elsewhere
      medistill evaluate received/set --data xray/ --split test --require-non-inferior --set evaluate.margin=0.03
      medistill evaluate model/ --data local-xray/ --out runs/local
    """
    from medistill.artifacts.new_folder import refuse_unwritable

    refuse_unwritable(out)
    if any((source / name).is_file() for name in ("preprocessing.json", "weights.safetensors")):
        _refuse_of_classifier(
            recipe=recipe, across=across, require_non_inferior=require_non_inferior, trust=trust, encoder=encoder
        )
        overrides = overrides_of(settings, seed=seed, sites=sites)
        with working("repeat") as progress:
            evaluation = _evaluate_classifier(
                source, data, labels, overrides, classes, split, out, device, progress, allow_large=allow_large_recipe
            )
        if json:
            print_json({"out": str(out), "evaluation": evaluation.as_json()})
            return
        print_classifier(evaluation)
        _print_more(out, [])
        return
    with working("repeat") as progress:
        received = load_set(source, trust)
        distilled = received.distilled
        names = classes_of(classes, distilled.class_names, "set")
        seen_by = named_encoder(encoder)
        overrides = overrides_of(settings, seed=seed, sites=sites, classes=names, across=across, encoder=seen_by)
        if recipe is None:
            overrides = [*without_text_reader(), *overrides]
        chosen = recipe_of_set(distilled, source, recipe, overrides, allow_large=allow_large_recipe)
        if recipe is None:
            overrides += without_own_sites(chosen, overrides)
            chosen = recipe_of_set(distilled, source, recipe, overrides, allow_large=allow_large_recipe)
        if data is None:
            refuse_built_in(distilled, source, "evaluate on")
        from medistill.workflow.across import check_across, evaluate_across
        from medistill.workflow.evaluate import evaluate as evaluate_set
        from medistill.workflow.originals import known_originals
        from medistill.workflow.tested import as_tested

        if require_non_inferior and split is None:
            split = "test"  # there is nothing to be non-inferior to where all images are tested
        corpus = read_corpus(data, labels, chosen, progress, "test")
        corpus = as_tested(corpus, distilled.provenance.corpus, split)
        check_across(corpus, chosen)
        originals = known_originals(distilled, run_of(source))
        evaluation = evaluate_set(
            distilled,
            corpus,
            chosen,
            out=out,
            originals=originals,
            schedules=received.schedules,
            device=device,
            progress=progress,
        )
        others = evaluate_across(
            distilled,
            corpus,
            chosen,
            out=out,
            originals=originals,
            schedules=received.schedules,
            device=device,
            progress=progress,
        )
    if json:
        told = {"evaluation": evaluation.as_json(), "across": [other.as_json() for other in others]}
        print_json({"out": str(out), **told})
    else:
        print_evaluation(evaluation, others, unit=corpus.split_unit)
        _print_more(out, [(["medistill", "train", str(source), "--out", "model"], "train a classifier on the set")])
    if require_non_inferior:
        demand_non_inferiority(evaluation)


def _print_more(out: Path, more: list[tuple[list[str], str]]) -> None:
    print_written({"results": out / "evaluation" / "evaluation.json"})
    print_next([(["medistill", "report", str(out)], "write the report of it"), *more])


def _evaluate_classifier(
    source: Path,
    data: Path | None,
    labels: Path | None,
    overrides: list[str],
    classes: str | None,
    split: Part | None,
    out: Path,
    device: str,
    progress: Progress,
    *,
    allow_large: bool,
) -> Evaluation:
    from medistill.artifacts.classifier import Classifier
    from medistill.errors import UsageError
    from medistill.workflow.evaluate_classifier import evaluate_classifier
    from medistill.workflow.tested import as_tested

    classifier = Classifier.load(source)
    classes_of(classes, classifier.class_names, "classifier")
    if data is None:
        raise UsageError(
            f"{source} is a classifier, and no --data was given",
            expected="images of your own to test it on",
            do="add --data with a folder of images",
        )
    recipe = received_recipe(classifier.recipe, overrides, f"the recipe inside {source}", allow_large=allow_large)
    if recipe.network != classifier.recipe.network:
        raise UsageError(
            "a setting of the section network was given for a classifier",
            expected="settings of how images are read and figures worked out: a classifier keeps its network",
            do="leave it out, or train another classifier with it",
        )
    corpus = read_corpus(data, labels, recipe, progress, "test")
    corpus = as_tested(corpus, classifier.provenance.set.corpus, split)
    return evaluate_classifier(classifier, corpus, recipe, out=out, device=device, progress=progress)


def _refuse_of_classifier(
    *,
    recipe: str | None,
    across: str | None,
    require_non_inferior: bool,
    trust: list[str] | None,
    encoder: str | None,
) -> None:
    """Refuse what only a set can be asked."""
    from medistill.errors import UsageError

    given = {
        "--recipe": recipe,
        "--across": across,
        "--require-non-inferior": require_non_inferior or None,
        "--trust": trust,
        "--encoder": encoder,
    }
    for option, value in given.items():
        if value is not None:
            raise UsageError(
                f"{option} was given for a classifier",
                expected="a distilled set: a classifier is tested as it is, and compared with nothing",
                do=f"leave out {option}, or name the set that the classifier was trained on",
            )
