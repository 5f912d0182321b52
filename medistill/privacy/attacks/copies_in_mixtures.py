"""Copies in mixtures: whether three training images explain an image, and three of strangers do not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medistill.privacy.attack import Evidence
from medistill.privacy.audit import CopyRule
from medistill.privacy.copy_search import AuditSubject, CopyAttack, CopySignals, copy_figures
from medistill.privacy.signals import Signals

if TYPE_CHECKING:
    from medistill.privacy.copies import Compared
    from medistill.privacy.own_detail import OwnDetail

LEAST_LEFT = 1e-3
"""Length that counts as the least that is left of an image: the rest is rounding."""


class CopiesInMixtures(CopyAttack):
    """Finds an image that is mixed of up to three patients, whatever their shares."""

    name, space, display_name, rank = "copies in mixtures", "mixtures", "mixtures of three", 16
    plain_words = "Up to three pictures laid over each other"

    def run(self, signals: Signals) -> Evidence:
        """By what is left of the image, in units of what strangers leave; the exchange tells what chance leaves."""
        from medistill.privacy.copies import crops
        from medistill.privacy.exchange import beyond_chance, thresholds
        from medistill.privacy.likeness import one_channel
        from medistill.privacy.own_detail import OwnDetail
        from medistill.privacy.person_search import CONTROLS, FALSE_ALARMS, SEARCHES

        search = signals.search
        if not search.originals.enough:
            return Evidence()
        detail = OwnDetail(crops(one_channel(search.originals.grey)).flatten(1))
        subjects = (search.subjects[0], *(one.first(CONTROLS) for one in search.subjects[1:]))
        found = [_compared(subject, detail, search) for subject in subjects]
        by_chance = _exchanged(subjects[0], detail, search, signals.rng("audit", "exchange", self.name))
        asked, limit = thresholds(by_chance[:, None], FALSE_ALARMS / SEARCHES), search.copy_ratio
        figures = []
        for subject, one in zip(subjects, found, strict=True):
            sure = beyond_chance(_evidence(one.train, one.held_out)[None], asked)[0]
            figures.append(copy_figures(subject, self.space, one, sure & (one.ratio <= limit), search))
        rule = CopyRule(self.space, limit, search.originals.strangers, FALSE_ALARMS / SEARCHES)
        return Evidence(rules=(rule,), copies=tuple(figures))


def _evidence(train: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """(Q,) logarithm of how many times shorter is what training images leave."""
    return np.log(np.maximum(held_out, LEAST_LEFT) / np.maximum(train, LEAST_LEFT))


def _compared(subject: AuditSubject, detail: OwnDetail, search: CopySignals) -> Compared:
    """What each split leaves of the images, and the original of either that is the first to be chosen."""
    import torch

    from medistill.privacy.copies import Compared, crops
    from medistill.privacy.likeness import at_working_size, one_channel
    from medistill.privacy.mixtures import left_unexplained

    originals, units = search.originals, detail.units
    images = detail(crops(one_channel(at_working_size(subject.grey))).flatten(1))
    count, found = len(search.train), []
    for part in (slice(None, count), slice(count, None)):
        own = subject.own[:, None] == originals.groups[originals.people[part]][None]
        left, first = left_unexplained(images, units[part], torch.from_numpy(own).to(images.device))
        found.append((left.cpu().numpy(), originals.rows[part][first.cpu().numpy()]))
    unknown = np.full(len(images), np.nan)
    (train, train_rows), (held_out, held_out_rows) = found
    return Compared(train, held_out, train_rows, held_out_rows, unknown, unknown)


def _exchanged(subject: AuditSubject, detail: OwnDetail, search: CopySignals, rng: np.random.Generator) -> np.ndarray:
    """What the images reach where half of the held-out patients take the place of the training patients, (B, 3)."""
    import torch

    from medistill.privacy.copies import crops
    from medistill.privacy.exchange import halves, reached
    from medistill.privacy.likeness import at_working_size, one_channel
    from medistill.privacy.mixtures import left_unexplained

    images = detail(crops(one_channel(at_working_size(subject.grey))).flatten(1))
    originals = search.originals
    strangers, whose = np.unique(originals.people[len(search.train) :], return_inverse=True)
    units, found = detail.units[len(search.train) :], []
    for drawn in halves(len(strangers), rng):
        sides = (torch.from_numpy(np.flatnonzero(np.isin(whose, side))).to(units.device) for side in drawn)
        inside, outside = (left_unexplained(images, units[side])[0].cpu().numpy() for side in sides)
        found.append(reached(_evidence(inside, outside)))
    return np.stack(found)


ATTACKS = (CopiesInMixtures(),)
