"""Originals: by which a set, tested on another corpus than its own, is kept from the images that it was made from.

What a run keeps of them are keyed digests of decoded pixels, private: without the key of this installation nothing
can be told from them, and nothing but equal images with it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medistill.artifacts.corpus import LEFT_OUT, SPLITS, Corpus, Split
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.kept import keep_tensors, read_checked
from medistill.artifacts.local_key import find_local_key, key_id, local_key
from medistill.artifacts.provenance import Provenance
from medistill.errors import DataError
from medistill.evaluate.evaluation import OriginalsInTest
from medistill.recipe import DataRecipe, Recipe

FILE = "originals.safetensors"
BYTES = 16
"""Of a digest: two of a million images are alike by chance once in 10^26."""
DECODING = ("image_size", "channels", "fit", "voi", "low_percentile", "high_percentile", "burnt_in_text", "equalise")
"""Settings that decide the pixels of an image: read with others, the same file is another image."""
READ_UNMASKED = (
    "Text was looked for in the originals of the set, and not in the images of this test, which are read as they are. "
    "For a test no reader of text is needed; the report says so."
)
NAMES: Mapping[Split, str] = {"test": "test", "val": "validation"}
"""Splits that must not be empty once originals are left out: thresholds are chosen on the latter."""


@dataclass(frozen=True)
class Originals:
    """The images that had a part in a set: its training images, and the validation images that chose it.

    Attributes:
        key: the secret key of this installation.
        digests: of each.
        decoding: how they were read.
    """

    key: bytes
    digests: frozenset[bytes]
    decoding: str


@dataclass(frozen=True)
class Tested:
    """A corpus as a set is tested on it.

    Attributes:
        corpus: without the images that were left out.
        originals: whether its test images may have been among the set's originals.
        left_out: test and validation images that were left out, since they were, or are of a patient who was.
    """

    corpus: Corpus
    originals: OriginalsInTest
    left_out: int = 0


def keep_originals(distilled: DistilledSet, corpus: Corpus, recipe: Recipe, run: Path) -> None:
    """Write ``originals.safetensors`` into the folder of a run, mode 0600."""
    key = local_key()
    rows = np.concatenate([corpus.rows("train"), corpus.rows("val")])
    found = sorted(_digests(corpus, rows, key))  # in this order they tell nothing of the corpus'
    array = np.frombuffer(b"".join(found), np.uint8).reshape(-1, BYTES)
    known = {"key": key_id(key), "set_digest": distilled.digest(), "decoding": _decoding(recipe.data)}
    keep_tensors(run / FILE, {"originals": array}, known)


def known_originals(distilled: DistilledSet, run: Path | None) -> Originals | None:
    """What the run that made a set on this machine kept of its originals; None where nothing is known.

    Raises:
        ArtifactError: what it kept is damaged.
    """
    key = find_local_key()
    if run is None or key is None or not (run / FILE).is_file():
        return None
    arrays, known = read_checked(run / FILE, "digests of the originals")
    if (known.get("key"), known.get("set_digest")) != (key_id(key), distilled.digest()):
        return None
    digests = frozenset(bytes(row) for row in arrays["originals"])
    return Originals(key, digests, known.get("decoding", ""))


def apart_from_originals(made_from: object, corpus: Corpus, recipe: Recipe, originals: Originals | None) -> Tested:
    """The corpus to test a set on: its own as it is, another one without the set's originals where they are known.

    With an image all those of the same patient are left out, as far as this corpus knows patients.

    Args:
        made_from: content hash of the corpus that the set was made from, as it says.

    Raises:
        DataError: no test image, or no validation image, is left.
    """
    if made_from == corpus.content:
        return Tested(corpus, "apart")
    if originals is None or originals.decoding != _decoding(recipe.data):
        return Tested(corpus, "not known")
    rows = np.concatenate([corpus.rows("val"), corpus.rows("test")])
    everything = np.flatnonzero(corpus.splits != LEFT_OUT)
    seen = [digest in originals.digests for digest in _digests(corpus, everything, originals.key)]
    patients = np.unique(corpus.groups[everything[np.array(seen, bool)]])
    out = rows[np.isin(corpus.groups[rows], patients)]
    splits = corpus.splits.copy()
    splits[out] = LEFT_OUT
    content = hashlib.sha256(f"{corpus.content} without {out.tolist()}".encode()).hexdigest()
    for split, name in NAMES.items():
        before = len(corpus.rows(split))
        if before and not np.any(splits == SPLITS.index(split)):
            raise DataError(
                f"all {before} {name} images were among the set's originals, or are of patients who were",
                expected=f"{name} images that had no part in making the set",
                do="evaluate on its own corpus, read and split as it was, or on images of other patients",
            )
    kept = replace(corpus, splits=splits, content=content) if len(out) else corpus
    return Tested(kept, "left out", len(out))


def read_unmasked(made: Provenance, corpus: Corpus) -> bool:
    """Whether text was looked for in the originals of a set, as it says, and nothing looked for any in this corpus."""
    check = made.text_check
    return corpus.text_check is None and check is not None and check.policy != "unchecked"


def _digests(corpus: Corpus, rows: np.ndarray, key: bytes) -> Sequence[bytes]:
    shape = json.dumps(corpus.images.shape[1:]).encode()
    start = hmac.new(key, b"original" + shape, hashlib.sha256)
    found = []
    for row in rows:
        code = start.copy()
        code.update(np.ascontiguousarray(corpus.images[row]).data)
        found.append(code.digest()[:BYTES])
    return found


def _decoding(settings: DataRecipe) -> str:
    """Those settings; that images are not equalised is left unsaid, as where an earlier version wrote it down."""
    unsaid = set() if settings.equalise else {"equalise"}
    return json.dumps(settings.model_dump(mode="json", include=set(DECODING) - unsaid), sort_keys=True)
