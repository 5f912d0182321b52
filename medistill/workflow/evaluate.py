"""Evaluate: train fresh networks on each arm, test them on the real test split, compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.corpus import Corpus, Split
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.kept import keep_json
from medistill.artifacts.provenance import Provenance
from medistill.errors import UsageError
from medistill.evaluate.arms import Arms
from medistill.evaluate.comparison import compare
from medistill.evaluate.evaluation import Evaluation, load_evaluation
from medistill.evaluate.network_keys import ArmStore, arm_stores
from medistill.evaluate.predictions import ArmPredictions, Truth, save_arm, save_truth
from medistill.evaluate.protocol import held_out, told_way
from medistill.evaluate.schedule_choice import ScheduleChoice, Way
from medistill.networks.own import NetworkFactory
from medistill.networks.registry import build_network, network_spec
from medistill.progress import Progress, Silent
from medistill.ranks.ranks import ALONE, Ranks
from medistill.recipe import UNITS, Recipe
from medistill.recipe.arms import OF_THE_SET, ArmName
from medistill.training.context import Context
from medistill.training.device import choose_device
from medistill.training.encoded import encode_corpus
from medistill.training.ensemble import JobRunner, Outputs, TrainingJob, predicting
from medistill.training.images import LabelledImages
from medistill.training.randomness import generator
from medistill.workflow.choose_schedules import choose_schedules
from medistill.workflow.compatibility import MadeOf, refuse_misfit
from medistill.workflow.corpus_record import keep_tested_corpus
from medistill.workflow.encoder_choice import with_encoder
from medistill.workflow.encoder_here import require_encoder
from medistill.workflow.near_duplicates import nearly_training
from medistill.workflow.originals import READ_UNMASKED, Originals, Tested, apart_from_originals, read_unmasked
from medistill.workflow.tested import tested_whole, trainable

OTHER_CORPUS = (
    "The set was made from another corpus or another split of this one, or does not say from which, and whether test "
    "images were among its originals is not known here. Where they were, its figures are too good."
)
KNOWN_BEFORE = (
    "Nearly a training image of another of the {unit}: {count} of {images} test images. Networks can know those by "
    "heart, and what is measured on the test split is a little too good. What would help: one copy of every image, and "
    "a table that gives all images of a person one name."
)


def evaluate(
    distilled: DistilledSet,
    corpus: Corpus,
    recipe: Recipe,
    *,
    out: str | Path,
    originals: Originals | None = None,
    network: NetworkFactory | None = None,
    schedules: Mapping[str, Way] = MappingProxyType({}),
    device: str = "auto",
    ranks: Ranks = ALONE,
    progress: Progress = Silent(),
) -> Evaluation:
    """Compare networks trained on the distilled set with networks trained on the controls that the recipe names.

    Each network's predictions are kept when it is trained (see `arm_stores`); a run that was interrupted, or is asked
    for more networks or arms, trains only what is missing, and each network draws its random numbers from the seed, the
    arm and its own number.

    A corpus that is tested whole (see `as_tested`) has no originals to compare with: the set is then tested alone.

    Args:
        originals: what is known here of the images that the set was made from (see `known_originals`): on another
            corpus than its own it is not tested on these.
        network: a network of the user's own (see `train_experts`); None takes the recipe's.
        schedules: network in words -> how its maker trained it on the set (`receive` gives them), for a corpus that has
            no validation images to choose by.
        ranks: processes that share the work, each a network at a time.

    Raises:
        DataError: the set and the corpus have other classes or image shapes.
        RecipeError: the images are too small for the network.
        UsageError: ``out`` holds a finished evaluation of something else, or the set's encoder is not on this machine.
        DivergedError: a network left the finite numbers.
    """
    refuse_misfit(MadeOf.of_set(distilled), corpus, "evaluate")
    recipe = with_encoder(recipe, network)
    require_encoder(distilled.provenance, recipe)
    apart = apart_from_originals(distilled.provenance.corpus, corpus, recipe, originals)
    if ranks.leads:
        _tell(apart, progress)
    context = Context(
        corpus=apart.corpus,
        recipe=trainable(apart.corpus, recipe, progress),
        spec=network_spec(apart.corpus, recipe, network),
        device=choose_device(device),
        out=private_folder(Path(out) / "evaluation"),
        progress=progress,
        ranks=ranks,
    )
    ranks.first(lambda: encode_corpus(context))
    arms = Arms(distilled, context.corpus, context.recipe, context.device, encoder=context.spec.encoder)
    stores = arm_stores(context, arms)
    if shortage := arms.shortage():
        progress.say(shortage)
    choices: tuple[ScheduleChoice, ...] = ()
    if context.recipe.schedule.choose == "validation":
        choices = choose_schedules(arms, stores, context)
        arms.schedules = {choice.arm: choice.chosen for choice in choices}
    elif recipe.schedule.choose == "validation" and (own := told_way(schedules, context.spec)) is not None:
        arms.schedules = dict.fromkeys(OF_THE_SET, own)
        stores |= {arm: replace(stores[arm], key=f"{stores[arm].key} {own}") for arm in OF_THE_SET if arm in stores}
    predictions = _predictions(arms, stores, context)

    def conclude() -> Evaluation:
        keep_tested_corpus(context.corpus, Path(out))
        return write_evaluation(
            context, predictions, apart, made=distilled.provenance, set_digest=distilled.digest(), schedules=choices
        )

    return ranks.first(conclude, lambda: load_evaluation(context.out / "evaluation.json"))


def _tell(apart: Tested, progress: Progress) -> None:
    """Say whether test images may have been among the originals, where that is not plain, or nearly are."""
    if apart.originals == "not known":
        progress.say(OTHER_CORPUS)
    elif apart.originals == "left out":
        progress.say(
            f"This is not the corpus, split as it was, that the set was made from. {apart.left_out} test and "
            "validation images that were among its originals, or are of a patient who was, are left out."
        )
    rows = apart.corpus.rows("test")
    if count := int(nearly_training(apart.corpus, rows, progress).sum()):
        progress.say(KNOWN_BEFORE.format(count=count, images=len(rows), unit=UNITS[apart.corpus.split_unit]))


def write_evaluation(
    context: Context,
    predictions: Sequence[ArmPredictions],
    apart: Tested,
    *,
    made: Provenance,
    set_digest: str = "",
    schedules: tuple[ScheduleChoice, ...] = (),
) -> Evaluation:
    """Compare arms on the test split of a corpus; write what was true, what they said, and last ``evaluation.json``.

    Args:
        context: the recipe, the network that the arms trained, and the folder to write to.
        predictions: one entry an arm.
        apart: the corpus, and whether its test images are apart from the set's originals.
        made: how the set was made that was tested, as it says.
        set_digest: of that set.
        schedules: how the arms are trained, where that was chosen.
    """
    corpus, recipe = apart.corpus, context.recipe
    truths = (_truth(corpus, "val"), _truth(corpus, "test"))
    save_truth(context.out, *truths)
    for of_arm in predictions:
        save_arm(context.out, of_arm)
    context.progress.say("Comparing the arms.")
    network = build_network(context.spec, generator(recipe.seed, "count"))
    compared = compare(
        predictions,
        *truths,
        corpus.class_names,
        recipe.evaluate,
        seed=recipe.seed,
        network=context.spec.words,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        schedules=schedules,
    )
    unmasked = read_unmasked(made, corpus)
    if unmasked:
        context.progress.say(READ_UNMASKED)
    evaluation = replace(
        compared,
        originals=apart.originals,
        left_out=apart.left_out,
        set_digest=set_digest,
        unmasked=unmasked,
        tested="all images" if tested_whole(corpus) else "test split",
    )
    keep_json(context.out / "evaluation.json", evaluation.as_json(), private=True)
    return evaluation


def refuse_another_evaluation(folder: Path, *, known: bool) -> None:
    """Refuse a folder with a finished evaluation unless a network on the set is ``known`` to be of this one.

    Raises:
        UsageError: it holds the evaluation of something else.
    """
    if (folder / "evaluation.json").is_file() and not known:
        raise UsageError(
            f"{folder} holds the evaluation of something else: another set, corpus, network, recipe or device",
            expected="a folder that is new, or the one of this evaluation",
            do="choose another --out, or remove that folder",
        )


def _predictions(arms: Arms, stores: Mapping[ArmName, ArmStore], context: Context) -> list[ArmPredictions]:
    """Train what is missing, arm by arm. Progress counts the images shown to the networks, for time goes by them."""
    shown = cache(lambda: held_out(context.corpus, arms.distilled.normalisation, context.device))
    spec = context.spec
    runner = JobRunner(
        [
            arm_job(arm, number, arms, stores[arm], shown, context)
            for arm in arms.names
            for number in range(arms.networks(arm))
        ],
        context.progress.say,
    )
    refuse_another_evaluation(context.out, known="distilled" in runner.damaged or bool(runner.of("distilled")))
    if runner.done and runner.missing:
        context.progress.say(f"Networks trained already: {len(runner.done)}; to be trained: {len(runner.missing)}.")

    def tell(arm: str, trained: int, seconds: float) -> None:
        context.progress.say(
            f"Arm {arm} on {spec.name}: {seconds:.0f} s for {trained} of {arms.networks(arm)} networks."
        )

    runner.run(context, f"Evaluating on {spec.name}", after_group=tell)
    return [_arm_predictions(arm, runner.of(arm), arms) for arm in arms.names]


def arm_job(
    arm: ArmName,
    number: int,
    arms: Arms,
    store: ArmStore,
    shown: Callable[[], Mapping[str, LabelledImages]],
    context: Context,
) -> TrainingJob:
    """Return the job that trains network ``number`` of an arm and keeps what it says of the images ``shown``."""
    recipe = context.recipe
    return TrainingJob(
        group=arm,
        number=number,
        display_name=f"{arm}, network {number + 1} of {arms.networks(arm)}",
        epochs=arms.epochs(arm),
        steps=arms.shown(arm),
        training=lambda: arms.training_set(arm, number),
        rng=lambda: generator(recipe.seed, "evaluate", arm, number),
        outputs=predicting(shown, context),
        store=store.network(arm, number),
    )


def _truth(corpus: Corpus, split: Split) -> Truth:
    rows = corpus.rows(split)
    return Truth(corpus.labels[rows], corpus.groups[rows], corpus.traits(split))


def _arm_predictions(arm: ArmName, networks: Sequence[Outputs], arms: Arms) -> ArmPredictions:
    return ArmPredictions(
        arm=arm,
        validation=np.stack([one.arrays["validation"] for one in networks]),
        test=np.stack([one.arrays["test"] for one in networks]),
        images=arms.images(arm),
        bytes=arms.bytes(arm),
        epochs=arms.epochs(arm),
        seconds=sum(one.seconds for one in networks),
        settled=arms.settled(arm),
        tiles=arms.tiles(arm),
    )
