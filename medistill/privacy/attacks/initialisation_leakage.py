"""Initialisation leakage: what is left in an image of the real one that it began as, or of how few it was the mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from medistill.privacy.attack import NOT_MADE, Attack, Evidence, Figures
from medistill.privacy.audit import LeakageFigures
from medistill.privacy.copy_search import AuditSubject
from medistill.privacy.criterion import Asked, Criterion, Verdict
from medistill.privacy.exact import exact_proportion
from medistill.privacy.signals import Read, SetFacts, Signals
from medistill.recipe import UNITS, AuditRecipe

if TYPE_CHECKING:
    from torch import Tensor

RECOVERED = Asked("recovered", "at most", "share", "most_recovered")
"""Images that are most like the one that they began as."""
TRACED = Asked("traced", "at most", "share")
"""Images traceable to it beyond chance."""
SMALLEST_MEAN = Asked("smallest mean", "at least", "count", "least_cluster")
"""Patients whose mean an image began as, where they are fewest."""
TRACED_BY_CHANCE = 0.05
"""Share of the images that chance traces to the image that they began as, at a p-value of 0.05."""
SINGLED_OUT = "Images that single out the real one they began as"
NOISE = "the set began as noise, so nothing of a starting image can be left"
MEANS = "no image of the set began as one real image: each began as the mean of several"
WITHIN = "its interval holds what chance gives"
PIECE = 2048
"""Training images that are compared at once."""


@dataclass(frozen=True)
class Leakage:
    """Images beside the real ones that they began as, and beside the others of the class.

    Attributes:
        own: (Q,) correlation with the image that it began as.
        others: (Q,) mean correlation with the other training images of the class.
        as_like: (Q,) how many of these others are at least as like it.
        candidates: (Q,) training images of the class, its own with them.
    """

    own: np.ndarray
    others: np.ndarray
    as_like: np.ndarray
    candidates: np.ndarray

    @property
    def recovered(self) -> np.ndarray:
        """(Q,) bool: of all training images of the class it is most like the one that it began as."""
        return np.asarray(self.as_like == 0)

    @property
    def p_values(self) -> np.ndarray:
        """(Q,) of the permutation test in which every training image of the class may be the one it began as."""
        return np.asarray((1 + self.as_like) / self.candidates)


def leakage(
    images: Tensor, labels: np.ndarray, initial_rows: np.ndarray, rows: np.ndarray, row_labels: np.ndarray, read: Read
) -> Leakage:
    """Correlate images with the training images of their class, less the mean of these, which tells none apart.

    Args:
        images: (Q, D) grey values.
        labels: (Q,) classes.
        initial_rows: (Q,) row of the corpus that each began as; one of ``rows``.
        rows: (N,) training images.
        row_labels: (N,) their classes.
        read: rows -> grey values (B, D).
    """
    import torch

    own, others, as_like, candidates = (np.zeros(len(labels)) for _ in range(4))
    for label in np.unique(labels):
        of_class, mine = rows[row_labels == label], np.flatnonzero(labels == label)
        pieces = np.array_split(of_class, max(1, len(of_class) // PIECE))
        centre = torch.stack([read(piece).double().sum(dim=0) for piece in pieces]).sum(dim=0) / len(of_class)
        queries = _unit(images[torch.from_numpy(mine).to(images.device)], centre)
        similarity = torch.cat([queries @ _unit(read(piece), centre).T for piece in pieces], dim=1).cpu().numpy()
        at = np.searchsorted(of_class, initial_rows[mine])
        here = similarity[np.arange(len(mine)), at]
        own[mine] = here
        others[mine] = (similarity.sum(axis=1) - here) / max(1, len(of_class) - 1)
        as_like[mine] = (similarity >= here[:, None]).sum(axis=1) - 1
        candidates[mine] = len(of_class)
    return Leakage(own, others, as_like, candidates)


def _unit(rows: Tensor, centre: Tensor) -> Tensor:
    import torch

    less = rows.double() - centre
    return torch.nn.functional.normalize(less - less.mean(dim=1, keepdim=True), dim=1).float()


class InitialisationLeakage(Attack):
    """Made on the images, beside as many random originals, which began as themselves."""

    name, display_name, family = "initialisation leakage", "initialisation leakage", "initialisation"
    needs, rank = "set", 30
    knows, plain_words = ("set", "person"), "Remains of the picture an image began as"
    asks = (RECOVERED, TRACED, SMALLEST_MEAN)

    def run(self, signals: Signals) -> Evidence:
        """Where it is known what the images began as."""
        began = signals.initialisation
        if began.rows is None:
            return Evidence(reason=began.reason)
        of_set, control = signals.search.subjects[:2]
        figures = (_figures(of_set, began.rows, signals), _figures(control, control.rows, signals))
        return Evidence(leakage=figures)

    def judge(self, evidence: Evidence, facts: SetFacts, settings: AuditRecipe) -> tuple[Criterion, ...]:
        """Of remains, and of a quantised set whether every image began as the mean of enough patients."""
        figures = evidence.leakage[0] if evidence.leakage else None
        remains = _no_remains(figures, facts.initialisation, evidence.reason, settings)
        means = (_means_of_several(facts, settings),) if facts.initialisation == "quantised" else ()
        return (*remains, *means)

    def figures(self, evidence: Evidence, asked: Asked) -> Figures:
        """Shares that single out, and that are traceable to, what they began as; originals began as themselves."""
        found = {one.subject: one.recovered if asked == RECOVERED else one.traced for one in evidence.leakage}
        if asked == SMALLEST_MEAN:
            return Figures()
        return Figures(found.get("distilled", NOT_MADE), found.get("random", NOT_MADE))


def _figures(subject: AuditSubject, initial_rows: np.ndarray, signals: Signals) -> LeakageFigures:
    """Of one subject, or its first images, which began as these rows, in intervals of the level that is asked for."""
    search, began = signals.search, len(initial_rows)
    found = leakage(
        subject.grey[:began].flatten(1),
        subject.labels[:began],
        initial_rows,
        search.train,
        search.corpus.labels[search.train],
        lambda some: search.read(some).flatten(1),
    )
    traced = float(np.mean(found.p_values <= TRACED_BY_CHANCE))
    traceable = float(np.mean(1 / found.candidates <= TRACED_BY_CHANCE))
    return LeakageFigures(
        subject=subject.name,
        images=len(initial_rows),
        own=float(found.own.mean()),
        others=float(found.others.mean()),
        recovered=exact_proportion(float(found.recovered.mean()), len(initial_rows), signals.level),
        chance=float((1 / found.candidates).mean()),
        traced=exact_proportion(traced, len(initial_rows), signals.level),
        recovered_if_all=exact_proportion(1.0, len(initial_rows), signals.level).low,
        traced_if_all=exact_proportion(traceable, len(initial_rows), signals.level).low,
    )


def _no_remains(
    figures: LeakageFigures | None, initialisation: str, reason: str, settings: AuditRecipe
) -> tuple[Criterion, ...]:
    """Whether images single out the real image that they began as, or are traceable to it beyond chance.

    Both fail where the whole interval of the share lies above what chance gives: in a small class an image is soon the
    most like its own.
    """
    most = RECOVERED.threshold(settings)
    if figures is None and initialisation in ("noise", "quantised"):
        none_left = NOISE if initialisation == "noise" else MEANS
        return (Criterion(SINGLED_OUT, 0.0, most, "pass", none_left, RECOVERED),)
    if figures is None or figures.recovered.value is None or figures.traced.value is None:
        return (Criterion(SINGLED_OUT, None, most, "not enough evidence", reason, RECOVERED),)
    recovered, traced = figures.recovered.value, figures.traced.value
    singled: Verdict = "pass" if recovered <= most else "not enough evidence"
    if recovered > most and (figures.recovered.low or 0.0) > figures.chance:
        singled = "fail"
    clear = figures.traced.low is not None and figures.traced.low > TRACED_BY_CHANCE
    within = WITHIN if singled == "not enough evidence" else ""
    return (
        Criterion(SINGLED_OUT, recovered, most, singled, within, RECOVERED).unless_sure_to_pass(
            _too_few(figures.recovered_if_all, figures.chance)
        ),
        Criterion(
            "Images traceable to it (p of 0.05 at most)",
            traced,
            TRACED_BY_CHANCE,
            "fail" if clear else "pass",
            "" if clear or not traced else WITHIN,
            TRACED,
        ).unless_sure_to_pass(_too_few(figures.traced_if_all, TRACED_BY_CHANCE)),
    )


def _too_few(if_all: float | None, chance: float) -> str:
    if if_all is None or if_all > chance:
        return ""
    return (
        f"of so few images, or classes so small, the interval holds what chance gives, {chance:.2g}, whatever is found"
    )


def _means_of_several(facts: SetFacts, settings: AuditRecipe) -> Criterion:
    """Whether every image of a quantised set began as the mean of enough patients, as the set states it."""
    name, least = f"Fewest {UNITS[facts.unit]} whose mean an image began as", SMALLEST_MEAN.threshold(settings)
    smallest = facts.smallest_cluster
    if not isinstance(smallest, int) or isinstance(smallest, bool):
        why = "the set does not say how many there are"
        return Criterion(name, None, least, "not enough evidence", why, SMALLEST_MEAN)
    return Criterion(name, smallest, least, "pass" if smallest >= least else "fail", "", SMALLEST_MEAN)


ATTACKS = (InitialisationLeakage(),)
