"""Networks of the exchange study: how each learns from its source, and what it predicts, kept one by one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from medistill.artifacts.atomic import private_folder
from medistill.errors import ArtifactError, DivergedError
from medistill.evaluate.network_keys import what_decides
from medistill.evaluate.site_matrix import SourcePredictions
from medistill.studies.exchange.choice import (
    KeptLosses,
    OwnPatients,
    Way,
    answers,
    best_way,
    fixed_way,
    losses_of,
    penalties_of,
    way_beside,
)
from medistill.studies.exchange.sources import SourceData, TrainingData
from medistill.training.context import Context
from medistill.training.ensemble import JobRunner, OutputsFile, TrainingJob, predicting
from medistill.training.fresh_network import TrainingSet
from medistill.training.images import LabelledImages
from medistill.training.penalty import Penalty
from medistill.training.randomness import generator

ONE_CLASS = "its validation patients are of one class"
"""Why a site cannot choose."""


def source_predictions(sources: Sequence[SourceData], rows: np.ndarray, context: Context) -> list[SourcePredictions]:
    """Train what is missing, site by site, and return what the networks of each source say of the test images.

    A source with which a network diverges has no figures; the others go on. What each network says is kept, private,
    in ``context.out``. Progress counts the images shown to the networks, for time goes by them.

    Args:
        sources: what networks learn from.
        rows: int64 (N,), the test images, as rows of the corpus.
        context: corpus of all sites, number of networks, augmentation and seed, network and device; of several ranks
            each takes a choice, and then a network, at a time.
    """
    private_folder(context.out)
    by_site = sorted((one for one in sources if one.data is not None), key=lambda one: (one.site == "", one.site))
    ways, diverged = _ways(by_site, context)
    jobs = [
        _job(source, source.data, ways[source.name], number, rows, context)
        for source in by_site
        if source.data is not None and source.name in ways
        for number in range(_networks(source, context))
    ]
    names, runner = {source.name: source.display_name for source in sources}, JobRunner(jobs, context.progress.say)

    def leave_out(job: TrainingJob, error: DivergedError) -> None:
        context.progress.say(f"{names[job.group]}: {error}")

    runner.run(
        context, f"Training networks ({context.spec.name})", after_group=_teller(by_site, context), leave_out=leave_out
    )
    nothing, predicted = np.empty((0, len(rows), len(context.corpus.class_names)), np.float32), []
    for source in sources:
        way = ways.get(source.name)
        lost = diverged.get(source.name) or runner.diverged.get(source.name)
        reason = source.reason if lost is None else lost.seen
        test = nothing if reason else np.stack([one.arrays["test"] for one in runner.of(source.name)])
        joined = way is not None and source.data is not None and source.data.joined
        images = 0 if source.data is None else len(source.data.labels) - (source.data.sent if _aside(way) else 0)
        predicted.append(
            SourcePredictions(
                source.source,
                source.site,
                images,
                test,
                reason,
                weight=way.weight if way is not None and joined else None,
                penalty=None if way is None else way.penalty,
                not_chosen="" if way is None else way.reason,
                guard=None if way is None else way.guard,
                without=source.without,
                variant=source.variant,
            )
        )
    return predicted


def _aside(way: Way | None) -> bool:
    """Whether what was sent is left aside, so that networks learn from originals alone."""
    return way is not None and way.weight == 0


def _networks(source: SourceData, context: Context) -> int:
    """How many are trained: one, where no random number has a part in it."""
    settled = context.spec.encoder is not None and source.source != "random"
    return 1 if settled else context.recipe.evaluate.networks


def _teller(sources: Sequence[SourceData], context: Context) -> Callable[[str, int, float], None]:
    """Return what is called after each source, and tells when a site's last one is done."""
    sites = list(dict.fromkeys(source.site for source in sources))
    last = {source.name: source.site for source in sources}
    closing = {site: [name for name, of in last.items() if of == site][-1] for site in sites}

    def tell(name: str, *_: object) -> None:
        site = last[name]
        if closing[site] == name:
            of = f"of site {site}" if site else "of all sites together"
            context.progress.say(f"Networks {of} are trained, {sites.index(site) + 1} of {len(sites)}.")

    return tell


def _ways(sources: Sequence[SourceData], context: Context) -> tuple[dict[str, Way], dict[str, DivergedError]]:
    """Name of a source -> how its networks learn, or why none can."""
    choices = [_Choice(source, source.data, context) for source in sources if source.data is not None]
    lost: dict[str, DivergedError] = {}
    _choose(choices, context)
    ways = {}
    for choice in choices:
        try:
            ways[choice.source.name] = choice.way()
        except DivergedError as error:
            lost[choice.source.name] = error
            context.progress.say(f"{choice.source.display_name}: {error}")
    return ways, lost


def _choose(choices: Sequence[_Choice], context: Context) -> None:
    """Try what was not tried yet, source by source; several ranks take a source each at a time."""
    waiting = context.ranks.told(lambda: [n for n, choice in enumerate(choices) if not choice.settled])
    if not waiting:
        return
    with context.progress.task("Choosing weights and penalties", len(waiting)) as task:
        for place in context.ranks.queue(len(waiting), elsewhere=task.advance):
            choice = choices[waiting[place]]
            task.advance(0, figures=choice.source.display_name)
            choice.make()
            task.advance(1, figures=choice.source.display_name)
    for n in waiting:
        choices[n].take_what_others_tried()


class _Choice:
    """How the networks of a source learn: chosen by patients who had no part in it, where that can be."""

    def __init__(self, source: SourceData, data: TrainingData, context: Context) -> None:
        self.source, self.data, self.context = source, data, context
        corpus, chosen_on = context.corpus, data.chosen_on
        self.penalties = penalties_of(context)
        self.own = OwnPatients(corpus.labels[chosen_on], corpus.groups[chosen_on])
        self.free = len(data.weights) * len(self.penalties) > 1
        said = [data.weights, self.penalties, data.chosen_on.tolist(), "choice by patient"]
        key = hashlib.sha256(what_decides(context) + data.decides + json.dumps(said).encode()).hexdigest()
        store = OutputsFile(context.out / f"choice_{source.name}.safetensors", key, "losses of a choice")
        self.losses = KeptLosses(store, len(data.weights), context)

    @property
    def possible(self) -> bool:
        """Whether there is something to choose, and somebody to choose by."""
        return self.free and len(np.unique(self.own.labels)) > 1

    @property
    def settled(self) -> bool:
        """Whether nothing is to be tried."""
        return not self.possible or self.losses.whole

    def make(self) -> None:
        """Try what was not tried yet."""
        data, context, source = self.data, self.context, self.source
        shown = LabelledImages.of_corpus(context.corpus, data.chosen_on, data.normalisation, context.device)
        rng = partial(generator, context.recipe.seed, "exchange choice", *source.random_names)

        def tried(number: int) -> np.ndarray:
            return losses_of(answers(data.training(0, data.weights[number]), shown, context, rng), self.own.labels)

        self.losses.make(tried, len(data.chosen_on))

    def take_what_others_tried(self) -> None:
        """Read the losses that another rank kept.

        Raises:
            ArtifactError: they cannot be read.
        """
        if not self.settled:
            self.losses = KeptLosses(self.losses.store, self.losses.count, self.context)
        if not self.settled:
            raise ArtifactError(
                f"what another rank tried for {self.source.display_name} cannot be read",
                expected="losses of a choice on a disk that all ranks share",
                do="repeat the command",
            )

    def way(self) -> Way:
        """Return the best way.

        Raises:
            DivergedError: every network diverged.
        """
        if self.possible:
            losses = np.stack(self.losses.found)
            if self.data.joined:
                return way_beside(losses, self.own, self.penalties, self.context.recipe.exchange)
            return best_way(losses, self.own, self.data.weights, self.penalties)
        if not self.free:
            return Way(self.data.weights[0], self.penalties[0])
        return fixed_way(self.context, ONE_CLASS, sent=self.data.joined)


def _job(
    source: SourceData, data: TrainingData, way: Way, number: int, rows: np.ndarray, context: Context
) -> TrainingJob:
    def shown() -> Mapping[str, LabelledImages]:
        return {"test": LabelledImages.of_corpus(context.corpus, rows, data.normalisation, context.device)}

    def training() -> TrainingSet:
        found = data.training(number, way.weight)
        return found if way.penalty is None else TrainingSet(found.data, Penalty(way.penalty))

    chosen = json.dumps([way.weight, way.penalty]).encode()
    # Where what was sent is left aside, these are the very networks of own originals alone.
    names = ("own_raw", source.site) if _aside(way) else source.random_names
    key = hashlib.sha256(what_decides(context) + rows.tobytes() + data.decides + chosen).hexdigest()
    return TrainingJob(
        group=source.name,
        number=number,
        display_name=f"{source.display_name}, network {number + 1}",
        epochs=data.epochs,
        steps=len(data.labels),
        training=training,
        rng=lambda: generator(context.recipe.seed, "exchange", *names, number),
        outputs=predicting(shown, context),
        store=OutputsFile(context.out / f"{source.name}_{number:03d}.safetensors", key),
    )
