"""Blend: some originals of a site and what others sent, as one set of images to learn from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.normalisation import Normalisation
from medistill.training.context import Context
from medistill.training.encoded import features_at, seen_by
from medistill.training.images import LabelledImages


@dataclass(frozen=True)
class Sent:
    """What others sent, ready to be put beside originals.

    Attributes:
        distilled: the united set, without tiles.
        seen: float32 (M, D), what the encoder of a probe sees in its images; None where networks see pixels.
    """

    distilled: DistilledSet
    seen: torch.Tensor | None

    @classmethod
    def of(cls, distilled: DistilledSet, context: Context) -> Sent:
        """Make it ready, once for all that it is put beside.

        Raises:
            DivergedError: the encoder gives numbers that are not finite.
        """
        whole, encoder = distilled.expanded(), context.spec.encoder
        if encoder is None:
            return cls(whole, None)
        return cls(whole, seen_by(encoder, LabelledImages.of_set(whole, context.device), context.device).pixels.float())


def unblendable(distilled: DistilledSet) -> str:
    """Return why a set cannot stand beside originals, whose labels are classes; empty where it can."""
    if distilled.by_values or distilled.by_targets:
        return "the labels of the sets are values or target vectors, which cannot stand beside the classes of originals"
    return ""


def blended(
    rows: np.ndarray, sent: Sent | None, weight: float, normalisation: Normalisation, context: Context
) -> LabelledImages:
    """Return originals, each of weight 1, and images that were sent, whose mean weight in each sender's set is
    ``weight``. All take part from the beginning: stages of the sets are not kept.

    Args:
        rows: of the corpus.
        sent: what others sent, of which `unblendable` has nothing to say; None leaves the originals alone.
        weight: 0 leaves them alone too.
        normalisation: that the originals get, and into which what was sent is moved through its grey values.
        context: corpus, network and device.
    """
    corpus, device, encoder = context.corpus, context.device, context.spec.encoder
    if encoder is None:
        own = LabelledImages.of_corpus(corpus, rows, normalisation, device)
    else:
        own = features_at(corpus, rows, encoder, device)
    if sent is None or weight == 0:
        return own
    distilled = sent.distilled
    images = sent.seen
    if images is None:
        moved = distilled.normalisation.moved(distilled.images, normalisation)
        images = torch.from_numpy(np.asarray(moved, np.float32)).to(device)
    labels = torch.from_numpy(distilled.labels).to(device)
    soft = None
    if distilled.soft_labels is not None:
        classes = len(corpus.class_names)
        soft = torch.cat([F.one_hot(own.labels, classes).float(), torch.from_numpy(distilled.soft_labels).to(device)])
    return LabelledImages.of_floats(
        torch.cat([own.batch(slice(None)).float(), images]),
        torch.cat([own.labels, labels]),
        torch.cat([own.weights, weight * torch.from_numpy(distilled.weights).to(device)]),
        soft_labels=soft,
        normalisation=None if encoder is not None else normalisation,
    )
