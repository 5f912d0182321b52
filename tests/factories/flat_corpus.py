"""A corpus that is saved from all that is known of it, told in one breath."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medistill.artifacts.corpus import Corpus, ManifestRow, save_corpus
from medistill.artifacts.corpus_columns import Columns, CorpusFacts
from medistill.recipe import Unit


def save_flat(
    folder: Path,
    *,
    images: np.ndarray,
    manifest: Iterable[ManifestRow] = (),
    split_unit: Unit = "patient",
    split_source: Literal["given", "drawn"] = "drawn",
    synthetic: bool = True,
    notes: Iterable[str] = (),
    **known: Any,
) -> Corpus:
    """Save a corpus; ``known`` holds the other fields of `Columns` and of `CorpusFacts`, sequences of any kind.

    Where it names no sites all images are of the first, and where it names no views none is stated.
    """
    facts = {name: known.pop(name) for name in CorpusFacts.model_fields if name in known}
    facts |= {name: tuple(facts[name]) for name in ("class_names", "site_names")}
    columns = Columns(**{"sites": [0] * len(images), "views": [""] * len(images), **known})
    told = CorpusFacts(
        split_unit=split_unit, split_source=split_source, synthetic=synthetic, notes=tuple(notes), **facts
    )
    return save_corpus(folder, images, columns, told, manifest)
