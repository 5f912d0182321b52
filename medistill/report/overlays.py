"""Overlays page: what the training images of each site share beside the set's means, for the auditor's eyes alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from medistill.artifacts.distilled_set import DistilledSet
from medistill.privacy.letters import Overlay, legible_in_set
from medistill.privacy.overlays import SharedPattern
from medistill.report.pictures import data_address
from medistill.report.render.html import render


def render_overlays(patterns: Mapping[str, SharedPattern], overlays: Sequence[Overlay], distilled: DistilledSet) -> str:
    """One HTML file. It shows means of patients' images, with any banner that they share, and says not to share it."""
    distilled = distilled.expanded()
    viewable = distilled.viewable()
    means = {
        distilled.class_names[c]: _address(viewable[distilled.labels == c].mean(axis=(0, 1)))
        for c in np.unique(distilled.labels)
    }
    figures = {one.site: one for one in overlays}
    sites = [
        (figures[site], legible_in_set(figures[site]), _address(pattern.picture()[0]), _address(pattern.mean))
        for site, pattern in patterns.items()
    ]
    return render("overlays.html.j2", sites=sites, means=means)


def _address(grey: np.ndarray) -> str:
    return data_address(np.rint(np.clip(grey, 0, 255)).astype(np.uint8)[None])
