"""Copies in mixtures: whether three training images explain an image, and three of strangers do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from medistill.privacy.person_search import PersonSearch

if TYPE_CHECKING:
    from torch import Tensor

    from medistill.privacy.copy_search import AuditSubject, CopySignals
    from medistill.privacy.likeness import Likenesses, Originals
    from medistill.privacy.own_detail import OwnDetail


class CopiesInMixtures(PersonSearch):
    """Finds an image that is mixed of up to three patients, whatever their shares.

    How much of a copy it is: what three training images leave of it, in units of what three of strangers leave. How
    sure that is: the image, then what the one or two most like originals of both splits leave of it, are held against
    all patients. Both splits are mixed of together, so that what is left knows of no split, and a stranger is as likely
    as a training patient to be near to it.
    """

    name, space, display_name, rank = "copies in mixtures", "mixtures", "mixtures of three", 16
    plain_words = "Up to three pictures laid over each other"

    def limit(self, copy_ratio: float) -> float:
        """What is left is a distance already."""
        return copy_ratio

    def detail(self, originals: Originals) -> OwnDetail:
        """The space in which images are mixed."""
        from medistill.privacy.copies import crops
        from medistill.privacy.likeness import one_channel
        from medistill.privacy.own_detail import OwnDetail

        return OwnDetail(originals.seen(lambda grey: crops(one_channel(grey)).flatten(1)))

    def likenesses(self, subjects: Sequence[AuditSubject], search: CopySignals) -> list[Likenesses]:
        """One way for each original that is taken from the image before the rest is compared."""
        detail = self.detail(search.originals)
        return [_likenesses(subject, detail, search.originals) for subject in subjects]


def _likenesses(subject: AuditSubject, detail: OwnDetail, originals: Originals) -> Likenesses:
    import torch

    from medistill.privacy.copies import crops
    from medistill.privacy.likeness import at_working_size, likenesses_of, one_channel
    from medistill.privacy.mixtures import stages

    images = detail(crops(one_channel(at_working_size(subject.grey))).flatten(1))
    own = torch.from_numpy(subject.own[:, None] == originals.groups[originals.people][None]).to(images.device)
    left = stages(images, detail.units, own)
    found = likenesses_of((left @ detail.units.T).cpu().numpy(), subject.own, originals)
    distances, rows = _distances(images, detail.units, own, originals)
    each = (2, len(left), len(images))
    return replace(
        found,
        distances=np.broadcast_to(distances[:, None], each),
        rows=np.broadcast_to(rows[:, None], each),
    )


def _distances(images: Tensor, units: Tensor, own: Tensor, originals: Originals) -> tuple[np.ndarray, np.ndarray]:
    """What each split leaves of the images, and the row of the original of either that is the first chosen: (2, Q)."""
    from medistill.privacy.mixtures import left_unexplained

    inside = originals.of_train[originals.people]
    found = []
    for side in (np.flatnonzero(inside), np.flatnonzero(~inside)):
        left, first = left_unexplained(images, units[side], own[:, side])
        found.append((left.cpu().numpy(), originals.rows[side[first.cpu().numpy()]]))
    lengths, rows = zip(*found, strict=True)
    return np.stack(lengths), np.stack(rows)


ATTACKS = (CopiesInMixtures(),)
