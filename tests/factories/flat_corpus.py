"""A corpus that is saved from all that is known of it, told in one breath."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from medistill.artifacts.corpus import Corpus, ManifestRow, save_corpus
from medistill.artifacts.corpus_columns import Columns, CorpusFacts


def save_flat(folder: Path, *, images: np.ndarray, manifest: Iterable[ManifestRow] = (), **known: Any) -> Corpus:
    """Save a corpus; ``known`` holds the fields of `Columns` and of `CorpusFacts`, sequences of any kind."""
    facts = {name: known.pop(name) for name in CorpusFacts.model_fields if name in known}
    facts |= {name: tuple(facts[name]) for name in ("class_names", "site_names", "notes")}
    return save_corpus(folder, images, Columns(**known), CorpusFacts(**facts), manifest)
