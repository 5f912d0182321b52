"""Choice: how much an image that was sent counts, and under which penalty a probe is fitted, by patients of one's own.

Candidates are compared by their mean cross-entropy on patients who had no part in the training, each class alike
often. Of ten patients it tells more than an area under the curve, which is one of a few steps there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from medistill.errors import DivergedError
from medistill.evaluate.home_guard import HomeGuard, balanced_mean, guarded
from medistill.recipe.exchange import ExchangeRecipe
from medistill.training.context import Context
from medistill.training.encoded import seen_by
from medistill.training.ensemble import Outputs, OutputsFile
from medistill.training.fresh_network import TrainingSet, train_and_predict
from medistill.training.images import LabelledImages
from medistill.training.probe import Probe, pieces

LEAST = 1e-12
"""Probability below which an answer is taken for this one, so that one wrong answer does not decide everything."""


@dataclass(frozen=True)
class Way:
    """How a network learns from what there is.

    Attributes:
        weight: of an image that was sent, where an own original has 1; 1 where nothing was sent, and 0 where what was
            sent is left aside.
        penalty: L2 penalty of a probe; None of a network that is trained.
        reason: why it was not chosen by own patients; empty where it was, or where there was nothing to choose.
        guard: what the guard for home saw; None where nothing was chosen beside own originals.
    """

    weight: float
    penalty: float | None
    reason: str = ""
    guard: HomeGuard | None = None


@dataclass(frozen=True)
class OwnPatients:
    """Images of own patients by whom it is chosen.

    Attributes:
        labels: int64 (M,), their classes.
        patients: int64 (M,), whose each is.
    """

    labels: np.ndarray
    patients: np.ndarray


def tried_weights(settings: ExchangeRecipe) -> tuple[float, ...]:
    """Return the weights of an image that was sent to try beside own originals, ascending from 0."""
    return tuple(sorted({0.0, *settings.weights}))


def offered_weights(settings: ExchangeRecipe) -> tuple[float, ...]:
    """Return those of them that can be chosen: 0 under the guard for home, or where the recipe lists it."""
    return tried_weights(settings) if settings.guard == "home" else settings.weights


def penalties_of(context: Context) -> tuple[float | None, ...]:
    """Return the penalties to try for a probe, the largest first; None alone for a network that is trained."""
    if context.spec.encoder is None:
        return (None,)
    schedule = context.recipe.schedule
    return tuple(sorted(set(schedule.penalties), reverse=True)) if schedule.choose == "validation" else _fixed(context)


def _fixed(context: Context) -> tuple[float | None, ...]:
    return (None if context.spec.encoder is None else context.recipe.schedule.penalty,)


def fixed_way(context: Context, reason: str, *, sent: bool) -> Way:
    """Return how a network learns where nothing can be chosen.

    Args:
        context: of the study.
        reason: why not.
        sent: whether anything was sent that a weight is needed for.
    """
    return Way(context.recipe.exchange.weight if sent else 1.0, _fixed(context)[0], reason)


def answers(
    training: TrainingSet, shown: LabelledImages, context: Context, rng: Callable[[], torch.Generator]
) -> np.ndarray:
    """Return what networks that learnt under each penalty say of images, float64 (P, M, C).

    Args:
        training: what they learn from; its schedule is that of a network that is trained.
        shown: what they are asked about.
        context: network, penalties and device.
        rng: returns what decides the random numbers of a network that is trained.

    Raises:
        DivergedError: one left the finite numbers, or a fit did not come to its end.
    """
    spec, device = context.spec, context.device
    if spec.encoder is None:
        return train_and_predict(training, shown, spec, context.recipe, rng(), device)[None].astype(np.float64)
    data, asked = (seen_by(spec.encoder, images, device) for images in (training.data, shown))
    probe, layer, found = Probe.of(data, spec.classes), None, []
    for penalty in penalties_of(context):
        layer = probe.fit(float(penalty or 0), layer)
        logits = [
            asked.stored(some).double() @ layer.weight.T + layer.bias for some in pieces(len(asked), spec.shape[0])
        ]
        found.append(torch.softmax(torch.cat(logits), dim=1).cpu().numpy())
    return np.stack(found)


def losses_of(found: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the cross-entropy (..., M) of probabilities (..., M, C) with classes (M,)."""
    return -np.log(np.clip(found[..., np.arange(len(labels)), labels], LEAST, None))


def best_way(losses: np.ndarray, own: OwnPatients, weights: Sequence[float], penalties: Sequence[float | None]) -> Way:
    """Return the way with the smallest mean loss; of equal ones the first.

    Args:
        losses: (W, P, M), of own patients; NaN where a network diverged.
        own: these patients.
        weights: one a row.
        penalties: one a column.

    Raises:
        DivergedError: every one diverged.
    """
    means = balanced_mean(losses, own.labels)
    if not np.isfinite(means).any():
        raise DivergedError(
            "every weight of the images that were sent, under every penalty, makes a network diverge",
            expected="one at least that stays finite",
            do="lower evaluate.raw_lr, or give other exchange.weights or schedule.penalties",
        )
    row, column = np.unravel_index(int(np.nanargmin(means)), means.shape)
    return Way(weights[int(row)], penalties[int(column)])


def way_beside(
    losses: np.ndarray, own: OwnPatients, penalties: Sequence[float | None], settings: ExchangeRecipe
) -> Way:
    """Return the way beside own originals, and what the guard for home saw, whether or not it is obeyed.

    Args:
        losses: (W, P, M), of own patients, for each weight of `tried_weights`.
        own: these patients.
        penalties: one a column.
        settings: the weights on offer, and whether the guard is obeyed.

    Raises:
        DivergedError: everything diverged that could be chosen.
    """
    weights, offered = tried_weights(settings), offered_weights(settings)
    best = best_way(losses[[weights.index(weight) for weight in offered]], own, offered, penalties)
    means = balanced_mean(losses, own.labels)
    columns = np.where(np.isnan(means), np.inf, means).argmin(axis=1)
    row, seen = guarded(losses[np.arange(len(weights)), columns], weights, own.labels, own.patients)
    if settings.guard == "home":
        best = Way(weights[row], penalties[int(columns[row])])
    return replace(best, guard=seen)


class KeptLosses:
    """The losses of every weight under every penalty, those of earlier calls not made anew.

    Args:
        store: where they are kept, weight after weight.
        count: of weights, W.
        context: penalties, and told of a damaged file.

    Attributes:
        found: (P, M) for each weight that was tried.
    """

    def __init__(self, store: OutputsFile, count: int, context: Context) -> None:
        self.store, self.count, self.context = store, count, context
        kept = store.load(context.progress.say)
        self.found: list[np.ndarray] = [] if kept is None else list(kept.arrays["losses"])

    @property
    def whole(self) -> bool:
        """Whether every weight was tried."""
        return len(self.found) == self.count

    def make(self, tried: Callable[[int], np.ndarray], images: int) -> None:
        """Try the weights that are missing; ``tried`` returns the losses (P, M) of the weight of a number, of so many
        images."""
        for number in range(len(self.found), self.count):
            try:
                self.found.append(tried(number))
            except DivergedError:
                self.found.append(np.full((len(penalties_of(self.context)), images), np.nan))
            self.store.save(Outputs({"losses": np.stack(self.found)}, 0.0))
