"""Caveats: what a report does not promise, and what to know before using a figure or passing the set on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from medistill.report.caveat import Caveat
from medistill.report.record import Report
from medistill.report.sections import (
    arms,
    benchmark,
    classes,
    corpus,
    images,
    networks,
    privacy,
    quantisation,
    sites,
    subgroups,
)

CAVEATS: tuple[Callable[[Report], Iterator[Caveat]], ...] = (
    arms.one_classifier,
    privacy.guarantee,
    arms.clinical_evidence,
    arms.originals_in_test,
    arms.unmasked_text,
    arms.few_originals,
    benchmark.departs,
    images.began_as_real,
    quantisation.means,
    networks.one_encoder,
    corpus.split_unit,
    sites.class_and_site,
    subgroups.suppressed,
    classes.few_patients,
    corpus.nothing_about_patients,
    corpus.text_not_looked_for,
    corpus.telling_counts,
)
"""What each section may have to say, in the order in which a reader should know it."""


def caveats(report: Report) -> tuple[Caveat, ...]:
    """What holds for every run, and what this one adds; what the report itself lists already plays no part."""
    return tuple(caveat for of in CAVEATS for caveat in of(report))
