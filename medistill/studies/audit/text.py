"""Text audit: was text looked for in the originals, is any read in the set, does the set show what sites share?"""

from __future__ import annotations

import numpy as np

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.data.burnt_in_text import can_carry_letters, find_readings, looking_side, reader_name
from medistill.evaluate.subgroups import hidden_cells
from medistill.privacy.letters import Overlay, Reader, TextFigures, counted, planted_words, read_set
from medistill.privacy.overlays import SharedPattern, likeness, shared_pattern
from medistill.recipe import Recipe
from medistill.studies.audit.context import AuditContext
from medistill.studies.audit.looked_at import looked_at

FEWEST = 20
"""Patients of a site without which nothing is averaged: what few share may be one person's."""


def text_figures(context: AuditContext) -> tuple[TextFigures, dict[str, SharedPattern]]:
    """What is read in the set, and what the training images of each site share, which is for the auditor's eyes.

    With tiles, these are read, and the stored images too. Below the size that can carry letters neither is looked for.
    Nothing need be looked for in phantoms that medistill draws; what files say of themselves is no ground for that.
    """
    stored, corpus = context.distilled, context.corpus
    distilled = stored.expanded()
    height, width = distilled.images.shape[2:]
    legible, reader, check = can_carry_letters(height, width), reader_name(), corpus.text_check
    viewable, read = distilled.viewable(), _reader_at(min(height, width)) if legible and reader is not None else None
    patterns = _patterns(corpus, context.recipe) if legible else {}
    with context.progress.task("Looking for letters", 3) as task:
        found = read_set(viewable, distilled.labels, read) if read is not None else ()
        if read is not None and stored.tiles > 1:
            found += read_set(stored.viewable(), stored.labels, read)
        task.advance(1, figures="in the set")
        planted = planted_words(viewable, read) if read is not None else ()
        task.advance(1, figures="in words planted there")
        overlays = (
            tuple(_overlay(site, patterns, distilled, corpus, read) for site in _sites(corpus)) if legible else ()
        )
        task.advance(1, figures="in what sites share")
    return TextFigures(
        side=min(height, width),
        legible=legible,
        originals="" if check is None else check.by,
        policy="" if check is None else check.policy,
        drawn_here=context.built_in,
        reader=reader if reader is not None and legible else "",
        images=len(looked_at(stored).labels) if read is not None else 0,
        found=found,
        planted=planted,
        overlays=overlays,
    ), {site: pattern for site, pattern in patterns.items() if pattern.where.any()}


def _reader_at(side: int) -> Reader:
    """What reads an image on the scale on which originals are looked at, and on half of it (decision 27)."""
    scales = sorted({looking_side(side), looking_side(side // 2)})
    return lambda pixels: [one for scale in scales for one in find_readings(pixels, side=scale)]


def _sites(corpus: Corpus) -> dict[str, np.ndarray]:
    """Site -> its training images."""
    rows = corpus.rows("train")
    at = corpus.sites[rows]
    return {corpus.site_names[site]: rows[at == site] for site in np.unique(at)}


def _patterns(corpus: Corpus, recipe: Recipe) -> dict[str, SharedPattern]:
    """What each site's training images share; sites of few patients are left out, and those from which it follows."""
    cells = _sites(corpus)
    hidden = hidden_cells(cells, corpus.groups, max(FEWEST, recipe.evaluate.smallest_cell))
    return {site: shared_pattern(corpus.images, rows) for site, rows in cells.items() if site not in hidden}


def _overlay(
    site: str, patterns: dict[str, SharedPattern], distilled: DistilledSet, corpus: Corpus, read: Reader | None
) -> Overlay:
    """The figures of one site."""
    if site not in patterns:
        return Overlay(site, None, None, None, None, None)
    pattern = patterns[site]
    images, share = len(_sites(corpus)[site]), float(pattern.where.mean())
    if not pattern.where.any():
        return Overlay(site, images, share, None if read is None else 0, None, None)
    letters = None
    if read is not None:
        inside = (
            one
            for one in counted(read(pattern.picture()))
            if pattern.where[one.box.top : one.box.bottom, one.box.left : one.box.right].any()
        )
        letters = sum(one.letters for one in inside)
    grey = distilled.viewable().astype(np.float64).mean(axis=1)
    means = [grey[distilled.labels == c].mean(axis=0) for c in np.unique(distilled.labels)]
    own, chance = max((likeness(pattern, mean) for mean in means), key=lambda pair: pair[0])
    return Overlay(site, images, share, letters, round(own, 3), round(chance, 4))
