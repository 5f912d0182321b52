"""Looked at: the images of a set that an audit looks at, which are more than are stored where these have tiles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medistill.artifacts.distilled_set import DistilledSet


def looked_at(distilled: DistilledSet) -> DistilledSet:
    """Return the images that networks are shown, and behind them, where these are tiles, the stored ones.

    A tile may be the copy of an original; and so may the image that is cut into them.
    """
    if distilled.tiles == 1:
        return distilled
    shown = distilled.expanded()
    parts = (shown, distilled)
    return replace(
        shown,
        images=np.concatenate([one.images for one in parts]),
        labels=np.concatenate([one.labels for one in parts]),
        weights=np.concatenate([one.weights for one in parts]),
        stage=np.concatenate([one.stage for one in parts]),
        soft_labels=None
        if shown.soft_labels is None or distilled.soft_labels is None
        else np.concatenate([shown.soft_labels, distilled.soft_labels]),
    )
