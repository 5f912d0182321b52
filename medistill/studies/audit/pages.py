"""Pages of an audit: one that goes wherever the audit does, and those that show originals and stay where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medistill.artifacts.atomic import write_text
from medistill.privacy.audit import Audit
from medistill.report.audit_page import render_audit
from medistill.report.overlays import render_overlays
from medistill.report.pairs import Pair, render_pairs
from medistill.studies.audit.looked_at import looked_at
from medistill.studies.audit.signals import AuditSignals

AUDIT_PAGE, OVERLAYS_PAGE, PAIRS_PAGE = "audit.html", "overlays.html", "pairs.html"
PAIRS = 50
"""Closest pairs that are shown."""


def write_pages(folder: Path, audit: Audit, signals: AuditSignals, *, show_real: bool) -> None:
    """Write the audit itself, what the originals of a site share, and with ``show_real`` the closest pairs.

    Of an earlier audit none stays.
    """
    write_text(folder / AUDIT_PAGE, render_audit(audit), private=True)
    for page in (PAIRS_PAGE, OVERLAYS_PAGE):
        (folder / page).unlink(missing_ok=True)
    if signals.patterns:
        overlays = render_overlays(signals.patterns, signals.text.overlays, signals.context.distilled)
        write_text(folder / OVERLAYS_PAGE, overlays, private=True)
    if show_real:
        pairs = _closest(signals) if len(signals.search.held_out) else ()
        write_text(folder / PAIRS_PAGE, render_pairs(pairs), private=True)


def _closest(signals: AuditSignals) -> tuple[Pair, ...]:
    """The distilled images whose nearest training image, in pixels, is nearest relative to the held-out one."""
    search, distilled = signals.search, looked_at(signals.context.distilled)
    found, viewable = search.of_each(search.by_pixels[0])[0], distilled.viewable()
    images = signals.context.corpus.images
    return tuple(
        Pair(
            class_name=distilled.class_names[distilled.labels[k]],
            images=(viewable[k], images[found.train_rows[k]], images[found.held_out_rows[k]]),
            distances=(float(found.train[k]), float(found.held_out[k])),
        )
        for k in np.argsort(found.ratio)[:PAIRS]
    )
