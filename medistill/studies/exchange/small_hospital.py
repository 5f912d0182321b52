"""Small hospital: a site with few of its patients, alone and beside what the other sites sent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.normalisation import Normalisation
from medistill.errors import UsageError
from medistill.evaluate.hospital_curve import HospitalAnswers
from medistill.evaluate.network_keys import what_decides
from medistill.evaluate.protocol import small_schedule
from medistill.nearest_names import did_you_mean
from medistill.recipe import EvaluateRecipe
from medistill.studies.exchange.blend import Sent, blended, unblendable
from medistill.studies.exchange.choice import (
    OwnPatients,
    Way,
    answers,
    best_way,
    losses_of,
    penalties_of,
    tried_weights,
    way_beside,
)
from medistill.studies.exchange.sites import ExchangeSite
from medistill.training.context import Context
from medistill.training.encoded import features_at
from medistill.training.ensemble import Outputs, OutputsFile
from medistill.training.fresh_network import TrainingSet, train_and_predict
from medistill.training.images import LabelledImages
from medistill.training.penalty import Penalty
from medistill.training.randomness import derive_seed, generator

LEAST = 2
"""Patients of a class without whom none could be left out to choose by."""


@dataclass(frozen=True)
class FewPatients:
    """Some patients of a site.

    Attributes:
        size: how many.
        draw: number of the draw that they are of.
        rows: int64 (M,), their images, as rows of the corpus.
        fold: int64 (M,), the fold of each.
    """

    size: int
    draw: int
    rows: np.ndarray
    fold: np.ndarray


def few_patients(
    corpus: Corpus, site: ExchangeSite, sizes: Sequence[int], draws: int, folds: int, seed: int
) -> tuple[list[FewPatients], list[str]]:
    """Draw patients of a site, of each class the share that it has there, `LEAST` at least.

    In each draw the patients of a smaller number are among those of a larger one. A patient's class is that of the
    first image.

    Args:
        corpus: of all sites.
        site: whose training patients.
        sizes: how many.
        draws: how often.
        folds: most parts to leave out in turn; fewer where a class has fewer patients.
        seed: of the draws.

    Returns:
        Draw after draw of each size; and which sizes were left out, and why.
    """
    patients, first = np.unique(corpus.groups[site.rows], return_index=True)
    classes = corpus.labels[site.rows][first]
    of_class = np.bincount(classes, minlength=len(corpus.class_names))
    found, notes = [], []
    for size in sorted(set(sizes)):
        counts = _shared_out(size, of_class)
        if size > len(patients) or (counts > of_class).any():
            notes.append(f"{size} patients were not taken: {site.name} has {len(patients)} training patients.")
            continue
        for draw in range(draws):
            rng = np.random.default_rng(derive_seed(seed, "small hospital", site.name, draw))
            orders = [rng.permutation(np.flatnonzero(classes == c)) for c in range(len(of_class))]
            taken = np.concatenate([order[:count] for order, count in zip(orders, counts, strict=True)])
            parts = min(folds, int(counts[counts > 0].min()))
            numbers = np.full(len(patients), -1)
            numbers[taken] = np.concatenate([np.arange(count) % parts for count in counts])
            fold = numbers[np.searchsorted(patients, corpus.groups[site.rows])]
            found.append(FewPatients(size, draw, site.rows[fold >= 0], fold[fold >= 0]))
    return found, notes


def _shared_out(size: int, of_class: np.ndarray) -> np.ndarray:
    """Patients of each class among so many: its share, and `LEAST` of each that is there."""
    there = of_class > 0
    counts = np.where(there, np.maximum(LEAST, np.floor(size * of_class / of_class.sum()).astype(int)), 0)
    while counts.sum() < size:
        counts[np.argmax(np.where(there, size * of_class / of_class.sum() - counts, -np.inf))] += 1
    while counts.sum() > max(size, LEAST * there.sum()):
        counts[np.argmax(counts)] -= 1
    return counts


def refuse_hospital(name: str, sites: Sequence[ExchangeSite]) -> ExchangeSite:
    """Return the site that is to be made small.

    Raises:
        UsageError: there is no such site, it gives nothing, or its originals are of one class.
    """
    site = next((one for one in sites if one.name == name), None)
    if site is None:
        names = [one.name for one in sites]
        raise UsageError(
            f"exchange.hospital = {name} is no site of the corpus{did_you_mean(name, names)}",
            expected=f"one of its sites: {', '.join(names)}",
            do="correct exchange.hospital",
        )
    if len(site.classes) < LEAST:
        raise UsageError(
            f"{name}, the site of exchange.hospital, has {site.reason or f'one class, {site.classes[0]}'}",
            expected="a site with two classes at least, or its own patients teach nothing alone",
            do="name another site",
        )
    return site


def hospital_answers(site: ExchangeSite, others: DistilledSet, rows: np.ndarray, context: Context) -> HospitalAnswers:
    """Return what networks say that learnt from few patients of a site, alone and beside what the others sent.

    Weight and penalty are chosen by leaving out parts of these few patients in turn: nobody else of the site is looked
    at. So is what the guard for home lets pass. What is done is kept in ``context.out``, draw by draw; of several ranks
    each takes a draw at a time.

    Args:
        site: the hospital.
        others: the sets of all other sites, united.
        rows: int64 (N,), the test images, as rows of the corpus.
        context: of the study.

    Raises:
        UsageError: no number of patients can be drawn, or the labels of the sets are values or target vectors.
        DivergedError: a network left the finite numbers.
    """
    settings, recipe = context.recipe.exchange, context.recipe
    if why := unblendable(others):
        raise UsageError(
            why,
            expected="sets with classes or probabilities for the study of exchange.hospital",
            do="leave exchange.hospital empty, or take another --method",
        )
    taken, notes = few_patients(context.corpus, site, settings.patients, settings.draws, settings.folds, recipe.seed)
    if not taken:
        raise UsageError(" ".join(notes), expected="fewer", do="give smaller numbers with exchange.patients")
    work = _Hospital(others, rows, context)
    with context.progress.task(f"Few patients of {site.name}", len(taken)) as task:
        for number in context.ranks.queue(len(taken), elsewhere=task.advance):
            few = taken[number]
            task.advance(0, figures=f"{few.size} patients, draw {few.draw + 1} of {settings.draws}")
            work.do(few)
            task.advance(1, figures=f"{few.size} patients, draw {few.draw + 1} of {settings.draws}")
    for few in taken:
        if (few.size, few.draw) not in work.done:
            work.do(few)  # another rank did, and kept it
    sizes = sorted({few.size for few in taken})

    def table(name: str) -> np.ndarray:
        return np.array([[work.done[size, draw][name] for draw in range(settings.draws)] for size in sizes])

    return HospitalAnswers(
        site.name,
        tuple(sizes),
        table("alone"),
        table("together"),
        table("weight")[..., 0],
        table("guarded")[..., 0],
        tuple(notes),
    )


class _Hospital:
    """The work on the draws of one hospital.

    Attributes:
        done: size, draw -> "alone" and "together", float32 (N, C), and "weight" and "penalties".
    """

    def __init__(self, others: DistilledSet, rows: np.ndarray, context: Context) -> None:
        self.context, self.rows, self.sent = context, rows, Sent.of(others, context)
        self.decides = what_decides(context) + rows.tobytes() + others.training_bytes()
        self.done: dict[tuple[int, int], dict[str, np.ndarray]] = {}
        self.tested = None if context.spec.encoder is None else self._shown(rows, None)
        private_folder(context.out)

    def do(self, few: FewPatients) -> None:
        """Train on one draw, unless that was done."""
        context, settings = self.context, self.context.recipe.exchange
        tried = [settings.weights, penalties_of(context), settings.guard]
        said = json.dumps([few.rows.tolist(), few.fold.tolist(), *tried])
        key = hashlib.sha256(self.decides + said.encode()).hexdigest()
        name = f"few_{few.size:06d}_{few.draw:03d}.safetensors"
        store = OutputsFile(context.out / name, key, "predictions of few patients")
        kept = store.load(context.progress.say)
        if kept is None:
            normalisation = Normalisation.of(context.corpus.images, few.rows)
            alone, together = self._ways(few, normalisation)
            first = self._predicted(few, alone, normalisation)
            arrays = {
                "alone": first,
                "together": self._predicted(few, together, normalisation) if together.weight > 0 else first,
                "weight": np.array([together.weight]),
                "guarded": np.array([0.0 if together.guard is None else together.guard.taken]),
                "penalties": np.array([way.penalty or np.nan for way in (alone, together)]),
            }
            kept = Outputs(arrays, 0.0)
            store.save(kept)
        self.done[few.size, few.draw] = dict(kept.arrays)

    def _ways(self, few: FewPatients, normalisation: Normalisation) -> tuple[Way, Way]:
        """Return the best way of these patients alone, and beside what was sent, by each part of them in turn."""
        corpus, settings, penalties = self.context.corpus, self.context.recipe.exchange, penalties_of(self.context)
        own = OwnPatients(corpus.labels[few.rows], corpus.groups[few.rows])
        losses = np.stack(
            [self._losses(few, weight, n, normalisation) for n, weight in enumerate(tried_weights(settings))]
        )
        return best_way(losses[:1], own, (0.0,), penalties), way_beside(losses, own, penalties, settings)

    def _losses(self, few: FewPatients, weight: float, number: int, normalisation: Normalisation) -> np.ndarray:
        """Losses (P, M) of each patient's images under each penalty, of networks that learnt from other parts."""
        labels = self.context.corpus.labels[few.rows]
        found = np.zeros((len(penalties_of(self.context)), len(labels)))
        for part in np.unique(few.fold):
            out = few.fold == part
            shown = self._shown(few.rows[out], normalisation)
            training = self._training(few.rows[~out], weight, normalisation)
            rng = self._rng(few, "fold", int(part), number)
            found[:, out] = losses_of(answers(training, shown, self.context, rng), labels[out])
        return found

    def _predicted(self, few: FewPatients, way: Way, normalisation: Normalisation) -> np.ndarray:
        context = self.context
        training = self._training(few.rows, way.weight, normalisation)
        if way.penalty is not None:
            training = TrainingSet(training.data, Penalty(way.penalty))
        shown = self._shown(self.rows, normalisation) if self.tested is None else self.tested
        rng = self._rng(few, "together" if way.weight > 0 else "alone")()
        return train_and_predict(training, shown, context.spec, context.recipe, rng, context.device)

    def _training(self, rows: np.ndarray, weight: float, normalisation: Normalisation) -> TrainingSet:
        data = blended(rows, self.sent, weight, normalisation, self.context)
        settings = self.context.recipe.evaluate
        return TrainingSet(data, small_schedule(settings, lr=settings.raw_lr, epochs=_epochs(len(data), settings)))

    def _shown(self, rows: np.ndarray, normalisation: Normalisation | None) -> LabelledImages:
        context, encoder = self.context, self.context.spec.encoder
        if encoder is not None:
            return features_at(context.corpus, rows, encoder, context.device)
        if normalisation is None:
            raise ValueError("networks that see pixels need to know how these are normalised")
        return LabelledImages.of_corpus(context.corpus, rows, normalisation, context.device)

    def _rng(self, few: FewPatients, *names: str | int) -> Callable[[], torch.Generator]:
        seed = self.context.recipe.seed
        return lambda: generator(seed, "small hospital", few.size, few.draw, *names)


def _epochs(images: int, settings: EvaluateRecipe) -> int:
    """Passes over few images: as over all originals, and no fewer updates than a set of one batch gets."""
    return max(settings.raw_epochs, -(-settings.epochs // -(-images // settings.batch_size)))
