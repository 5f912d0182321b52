"""The loss attack: networks are surer of images that their training set was made of."""

from __future__ import annotations

import numpy as np

from medistill.privacy.score_attack import ScoreAttack, Scores
from medistill.privacy.signals import Signals


def loss_scores(confidence: np.ndarray) -> np.ndarray:
    """Scores (N,) of Yeom's attack (2018): an image of small mean cross-entropy is taken for a member.

    Args:
        confidence: (S, N) of S networks, from `true_class_confidence`; the loss is log(1 + exp(-confidence)).
    """
    return np.asarray(-np.logaddexp(0.0, -confidence).mean(axis=0))


class Loss(ScoreAttack):
    """Made on networks that are trained on the set itself."""

    name, display_name, needs, rank = "loss", "loss", "networks", 50
    knows, plain_words = ("set", "recipe", "person"), "Recognised by a program trained on the set"

    def scores(self, signals: Signals) -> tuple[Scores, ...]:
        """Of every source."""
        return tuple(
            Scores.asked_once(one.source, loss_scores(one.confidence), one.member, one.groups, one.cells)
            for one in signals.networks
        )


ATTACKS = (Loss(),)
