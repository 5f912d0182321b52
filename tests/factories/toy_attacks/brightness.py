"""A toy attack on people: whoever's image is as bright as the mean of the set is taken for a member."""

from __future__ import annotations

import numpy as np

from medistill.privacy.score_attack import ScoreAttack, Scores
from medistill.privacy.signals import Signals, cells_of


class Brightness(ScoreAttack):
    """Knows nothing that matters."""

    name, display_name, needs, rank = "brightness", "mean brightness", "set", 65
    closes = ("traits",)
    remark = "The toy attack looks at brightness alone."

    def scores(self, signals: Signals) -> tuple[Scores, ...]:
        people, (of_set, control, _) = signals.population, signals.search.subjects
        rows = np.concatenate([people.members, people.others])
        bright = signals.search.read(rows).flatten(1).mean(dim=1).cpu().numpy()
        told = []
        for source, subject in (("distilled", of_set), ("random", control)):
            scores = -np.abs(bright - float(subject.grey.mean()))
            member = np.isin(rows, people.members)
            told.append(
                Scores.asked_once(source, scores, member, people.corpus.groups[rows], cells_of(people.corpus, rows))
            )
        return tuple(told)


ATTACKS = (Brightness(),)
