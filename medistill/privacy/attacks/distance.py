"""Distance: how near a person's image lies to the distilled images, beside how near it lies to their common mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medistill.privacy.copy_search import AuditSubject
from medistill.privacy.membership import Source
from medistill.privacy.score_attack import ScoreAttack, Scores
from medistill.privacy.signals import Population, Read, SetFacts, Signals, cells_of

if TYPE_CHECKING:
    from torch import Tensor

PIECE = 2048
"""Images that are compared at once."""
NOTHING = 1e-6
"""Mean squared difference of a pixel, in units of full scale, below which two images are the same."""


def distance_scores(
    images: Tensor, labels: np.ndarray, weights: np.ndarray, rows: np.ndarray, row_labels: np.ndarray, read: Read
) -> np.ndarray:
    """Membership by the distance to the set itself, without training a network (N,); higher speaks for membership.

    A distilled image c that is the mean of n images is nearer to each of them than to others: with a variance s of an
    image about the mean of its cell, E|x - c|^2 is s (1 - 1/n) for one of the n and s (1 + 1/n) for a stranger. The two
    overlap the less the more numbers D of an image vary on their own: they lie about sqrt(2 D) / n standard deviations
    apart. Some people differ from everybody; so the distance to the nearest distilled image of the class is told in
    units of that to the weighted mean m of the whole set, which no single image moves:

        score(x) = log(|x - m|^2 / min_c |x - c|^2).

    NaN where the set has no image of the class.

    Args:
        images: (Q, D), the set in grey values, in units of full scale.
        labels: (Q,), their classes.
        weights: (Q,), their weights in the loss.
        rows: (N,), images about which is asked, as rows of a corpus.
        row_labels: (N,), their classes.
        read: rows -> grey values (B, D) on the device of the images.
    """
    import torch

    scores = np.full(len(rows), np.nan)
    share = torch.from_numpy(weights / weights.sum()).to(images)
    middle = share @ images
    for label in np.unique(labels):
        of_class = images[torch.from_numpy(np.flatnonzero(labels == label)).to(images.device)] - middle
        asked = np.flatnonzero(row_labels == label)
        for piece in np.array_split(asked, max(1, -(-len(asked) // PIECE))):
            shown = read(rows[piece]) - middle
            near = torch.cdist(shown, of_class, compute_mode="donot_use_mm_for_euclid_dist").amin(dim=1)
            squared = torch.stack([shown.square().mean(dim=1), near.square() / shown.shape[1]]).double().clamp(NOTHING)
            scores[piece] = (squared[0].log() - squared[1].log()).cpu().numpy()
    return scores


class Distance(ScoreAttack):
    """Made on the images alone, of a set whose images began as means; random training images must be found by it."""

    name, display_name, needs, rank = "distance", "distance", "set", 60
    plain_words = "A picture that lies near to the set"
    remark = (
        "The distance attack trains none: it asks how near a person's image lies to the distilled images themselves."
    )

    def applies(self, facts: SetFacts) -> bool:
        """Images that began as means can be nearer to each image that they are the mean of."""
        return facts.initialisation == "quantised"

    def scores_one_run(self, facts: SetFacts) -> bool:
        """On any set: an image that began as an original, and any other, may lie nearest to whom it was made of."""
        return True

    def scores(self, signals: Signals) -> tuple[Scores, ...]:
        """Of the set, and of as many random training images.

        One image is the mean of its set: every distance to it would be in units of itself, and nobody would be found.
        """
        subjects, people = signals.search.subjects[:2], signals.population
        if len(subjects[0].labels) == 1:
            reason = "the set is one image, and there is no other distance to hold the distance to it against"
            return (Scores.impossible("distilled", reason), Scores.impossible("random", reason))
        read = signals.search.read
        members = (people.members, subjects[1].rows)
        return tuple(self._of(*pair, people, read) for pair in zip(subjects, members, strict=True))

    def _of(self, subject: AuditSubject, members: np.ndarray, people: Population, read: Read) -> Scores:
        rows, corpus = np.concatenate([members, people.others]), people.corpus
        scores = distance_scores(
            subject.grey.flatten(1),
            subject.labels,
            subject.weights,
            rows,
            corpus.labels[rows],
            lambda some: read(some).flatten(1),
        )
        member = np.arange(len(rows)) < len(members)
        source: Source = "distilled" if subject.name == "distilled" else "random"
        return Scores.asked_once(source, scores, member, corpus.groups[rows], cells_of(corpus, rows))


ATTACKS = (Distance(),)
