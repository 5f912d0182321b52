"""Corpus record: what a report says of a corpus, kept beside results; counts, never a patient's identifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from medistill.artifacts.corpus import SPLITS, Corpus
from medistill.artifacts.kept import keep_json, read_result

FILE = "corpus.json"


def corpus_record(corpus: Corpus) -> dict[str, Any]:
    """Plain values."""
    return {
        "content": corpus.content,
        "class_names": list(corpus.class_names),
        "site_names": list(corpus.site_names),
        "counts": corpus.counts(),
        "counts_by_site": corpus.counts_by_site(),
        "patients": {s: len(np.unique(corpus.groups[corpus.rows(s)])) for s in SPLITS},
        "found": corpus.found,
        "refused": corpus.refused,
        "split_unit": corpus.split_unit,
        "split_source": corpus.split_source,
        "synthetic": corpus.synthetic,
        "notes": list(corpus.notes),
        "text_check": None if corpus.text_check is None else corpus.text_check.as_json(),
        "text_masked": corpus.text_masked,
        "shape": list(corpus.images.shape),
    }


def keep_tested_corpus(corpus: Corpus, out: Path) -> None:
    """Write ``out/evaluation/corpus.json``, mode 0600, unless a run is there, whose ``run.json`` says the same."""
    if not (out / "run.json").is_file():
        keep_json(out / "evaluation" / FILE, corpus_record(corpus), private=True)


def tested_corpus(run: Path) -> dict[str, Any] | None:
    """What `keep_tested_corpus` wrote; None where it did not.

    Raises:
        ArtifactError: it is damaged.
    """
    path = run / "evaluation" / FILE
    return dict(read_result(path, "record of a corpus")) if path.is_file() else None
