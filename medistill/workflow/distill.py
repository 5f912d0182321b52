"""Distil: a few synthetic images per class, by whichever method the recipe names."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.local_key import find_local_key
from medistill.artifacts.lock import exclusive_lock
from medistill.artifacts.making import load_making, making
from medistill.artifacts.trajectories import Trajectories
from medistill.errors import UsageError
from medistill.methods.base import Distilled
from medistill.methods.registry import method_of, refuse_unmakeable
from medistill.networks.own import NetworkFactory
from medistill.networks.registry import network_spec
from medistill.progress import Progress, Silent
from medistill.ranks.ranks import ALONE, Meanwhile, Ranks
from medistill.recipe import Recipe, refuse_another_recipe
from medistill.training.context import Context
from medistill.training.device import choose_device
from medistill.workflow.compatibility import MadeOf, refuse_misfit
from medistill.workflow.encoder_choice import with_encoder, with_teacher
from medistill.workflow.expert_store import refuse_other_experts
from medistill.workflow.expert_training import refuse_unknown_units
from medistill.workflow.originals import keep_originals
from medistill.workflow.provenance import provenance
from medistill.workflow.pruning import pruned, refuse_too_few
from medistill.workflow.spending import Use, mark_drawn, spend, spend_release

DISTILLING = ".distilling.lock"
"""In a run's folder while one process distils there."""
NOT_FROM_HERE = "What was begun for this audit is not all of this installation's making: it is made from its beginning."


def distill(
    corpus: Corpus,
    trajectories: Trajectories | None,
    recipe: Recipe,
    *,
    out: str | Path,
    classes: Sequence[str] | None = None,
    network: NetworkFactory | None = None,
    device: str = "auto",
    resume: bool = False,
    use: Use = "release",
    ranks: Ranks = ALONE,
    meanwhile: Meanwhile | None = None,
    progress: Progress = Silent(),
) -> DistilledSet:
    """Distil into ``out/set``; the state on the way lies in ``out/state``, how the set was made in ``out/making.json``.

    On a CPU in fp32, with the same number of threads, an interrupted run that is resumed ends in the same bits as one
    that was not.

    Args:
        trajectories: the experts that the method follows; None for one that follows none (see `followed_experts`).
        classes: classes of the corpus that the set is to hold; None takes all. The others keep their outputs in every
            network, so that sets of several sites, each without some classes, can be united. Of one class the images of
            the last outer step are taken: there is no validation figure to choose by.
        network: the user's own, where the experts were trained with it (see `train_experts`).
        use: as for `train_experts`.
        ranks: processes that share the outer steps, where these fall into pieces (`Method.pieces`); else one distils,
            and the others wait for its set.
        meanwhile: what these do before they wait (see `Ranks.lead`).

    Raises:
        ArtifactError: the experts are of another corpus, network, normalisation or recipe, or some are missing.
        DataError: a class has fewer training images than it needs (`Recipe.fewest_images`), or cannot be quantised as
            it should.
        UsageError: ``out`` holds a run already and ``resume`` is off, another process works on it, or it was started
            under another recipe or on another corpus; or the method follows experts and none were given.
        RecipeError: the method needs more outer steps than the recipe gives it, or a layer is named that the decoder
            does not have.
        DivergedError: the optimisation left the finite numbers; the last good state is kept.
    """
    recipe = with_teacher(with_encoder(recipe, network))
    refuse_unmakeable(recipe)
    out, spec = Path(out), network_spec(corpus, recipe, network)
    class_ids = [c for c, name in enumerate(corpus.class_names) if classes is None or name in classes]
    refuse_too_few(corpus, recipe, class_ids)
    place = choose_device(device)
    learnt = ranks.first(lambda: pruned(corpus, recipe, spec, place, progress))
    if trajectories is not None:
        refuse_other_experts(trajectories, learnt, recipe, network)
    if not out.is_dir():
        private_folder(out)
    alone = _divided(recipe, ranks, progress, waiting=meanwhile is None) == 1
    context = Context(learnt, recipe, spec, place, out, progress, ranks=ALONE if alone else ranks)
    if recipe.method.one_release and use == "release":
        context = replace(context, before_draw=lambda: mark_drawn(out / "state"))
    made_with = _MadeWith(context, corpus, class_ids, trajectories, use)
    sole = exclusive_lock(out / DISTILLING, when_taken=lambda: refuse_second(out), keep=False)
    with sole if ranks.leads else nullcontext():
        if ranks.told(lambda: _finished(made_with, resume=resume)):
            progress.say("The distilled set is finished already.")
        elif ranks.size == 1:
            return _keep(made_with, _distil(made_with))
        elif alone:
            method_of(recipe).train_together(replace(context, ranks=ranks), class_ids)
            ranks.lead(lambda: _keep(made_with, _distil(made_with)), meanwhile)
        else:
            made = _distil(made_with)
            ranks.lead(lambda: _keep(made_with, made))
        return DistilledSet.load(out / "set")


@dataclass(frozen=True)
class _MadeWith:
    """What a set is made with.

    Attributes:
        context: with the corpus as the method sees it.
        corpus: the whole one.
        class_ids: classes that the set is to hold.
        trajectories: the experts that are followed.
        use: as for `distill`.
    """

    context: Context
    corpus: Corpus
    class_ids: Sequence[int]
    trajectories: Trajectories | None
    use: Use


def _divided(recipe: Recipe, ranks: Ranks, progress: Progress, *, waiting: bool) -> int:
    """Return into how many pieces a step falls, and say what ranks have nothing to do in it."""
    method = method_of(recipe)
    pieces = method.pieces(method.settings_of(recipe))
    if ranks.size == 1:
        return pieces
    if pieces == 1:
        others, s = ("rank 1", "s") if ranks.size == 2 else (f"the other {ranks.size - 1}", "")
        each = "" if ranks.size == 2 else ", one kind each"
        meanwhile = f"wait{s} for it" if waiting else f"train{s} networks on originals to compare its set with{each}"
        progress.say(
            f"A step of {method.display_name} under this recipe is one piece of work: rank 0 distils, and {others} "
            f"{meanwhile}. They share what networks are trained before and after."
        )
    elif pieces < ranks.size:
        progress.say(
            f"A step has {pieces} segments (method.segments), so that {ranks.size - pieces} of {ranks.size} ranks have "
            "nothing to do in it."
        )
    return pieces


def _finished(made_with: _MadeWith, *, resume: bool) -> bool:
    """Return whether the set is there already, once it is known to be of this run.

    Raises:
        UsageError: it is of another recipe, or there is a run and ``resume`` is off.
    """
    context = made_with.context
    out, corpus = context.out, made_with.corpus
    state, finished = out / "state", out / "set" / "manifest.json"
    if finished.is_file() and resume:
        done = DistilledSet.load(out / "set")
        refuse_misfit(MadeOf.of_set(done), corpus, "resume", where=out)
        _refuse_another_recipe(done, context.recipe, out)
        refuse_misfit(MadeOf.of_set(done), corpus, "resume", spec=context.spec, where=out)
        if state.is_dir():  # its removal was cut short
            shutil.rmtree(state)
        if made_with.use == "release" or _made_here(out, done):
            return True
        context.progress.say(NOT_FROM_HERE)
        shutil.rmtree(out / "set")
        return False
    if (state.is_dir() or finished.is_file()) and not resume:
        raise UsageError(
            f"{out} holds a run already",
            expected="a new folder",
            do="add --resume to continue it, or choose another --out",
        )
    return False


def _distil(made_with: _MadeWith) -> Distilled:
    """Have the method make its set."""
    context, corpus, class_ids = made_with.context, made_with.corpus, made_with.class_ids
    recipe, progress = context.recipe, context.progress
    origin = {"corpus": corpus.content, "recipe_digest": recipe.digest, "seed": recipe.seed}
    if recipe.method.one_release:
        refuse_unknown_units(corpus, recipe)
        method_of(recipe).begin(context, class_ids)  # what it refuses, it refuses before anything is spent
        spend_release(corpus, recipe, context.out / "state", progress=progress, use=made_with.use)
    made = method_of(recipe).distil(context, class_ids, made_with.trajectories, origin)
    if made_with.use == "release" or made.chain.whole:
        return made
    progress.say(NOT_FROM_HERE)  # an audit would judge what others put into its folder
    shutil.rmtree(context.out / "state")
    return _distil(made_with)


def _made_here(out: Path, done: DistilledSet) -> bool:
    """Whether this installation made the set in the folder, from its beginning."""
    known = load_making(out)
    return known is not None and known.whole and known.sealed_by(find_local_key()) and known.is_of(done)


def _keep(made_with: _MadeWith, made: Distilled) -> DistilledSet:
    """Write the set, last of all remove the state that led to it, and return the set."""
    context, corpus = made_with.context, made_with.corpus
    out = context.out
    distilled = _with_provenance(made, context, corpus, made_with.trajectories, made_with.use)
    record = making(made.chain, made.origin, distilled)
    keep_originals(distilled, corpus, context.recipe, out)
    record.save(out)  # before the set, which is the last: a set that is there has its record
    distilled.save(out / "set")
    shutil.rmtree(out / "state")
    return distilled


def refuse_second(out: Path) -> None:
    """Refuse to work on a run that another process works on."""
    raise UsageError(
        f"another process works on the run in {out}",
        expected="one process a run",
        do="wait until it has ended, or choose another --out",
    )


def _with_provenance(
    made: Distilled, context: Context, corpus: Corpus, trajectories: Trajectories | None, use: Use
) -> DistilledSet:
    """The set, with all that it says of its making; what it spent is entered where that was not done before.

    Args:
        made: by the method.
        context: with the corpus as the method saw it.
        corpus: the whole one.
        trajectories: the experts that it followed.
        use: as for `distill`.
    """
    recipe, progress, spent = context.recipe, context.progress, None
    if trajectories is not None:  # in the ledger already, but for experts from elsewhere
        spent = spend(corpus, recipe, trajectories, (), progress, use=use)
    elif recipe.method.one_release:
        spent = spend_release(corpus, recipe, context.out / "state", progress=progress, use=use)
    known = provenance(context, corpus, made.quantisation, spent)
    if made.statistics is not None:
        known = known.replaced(statistics=made.statistics.digest)
    return DistilledSet(
        images=made.images,
        labels=made.labels,
        weights=made.weights,
        stage=made.stage,
        student_lr=made.student_lr,
        normalisation=made.normalisation,
        class_names=corpus.class_names,
        provenance=known.replaced(**made.known),
        soft_labels=made.soft_labels,
        label_kind=made.label_kind,
        statistics=made.statistics,
        tiles=made.tiles,
    )


def _refuse_another_recipe(done: DistilledSet, recipe: Recipe, out: Path) -> None:
    stored = done.provenance.made_with(str(out / "set"))
    refuse_another_recipe(recipe, stored, out)
