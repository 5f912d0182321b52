"""Prepare: read a folder of files into a corpus, once; a second run finds it in the cache."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

from medistill.artifacts.atomic import private_folder, read_json, write_json
from medistill.artifacts.cache import cache_root
from medistill.artifacts.corpus import SPLITS, Corpus, ManifestRow, load_corpus, save_corpus
from medistill.data.decoding import clear, decode
from medistill.data.listing import Listed, files_of, list_by_folders
from medistill.data.radiograph import Decoded
from medistill.data.selection import choose, refuse_copies
from medistill.data.splits import part
from medistill.data.table import list_by_table
from medistill.errors import ArtifactError, DataError
from medistill.progress import Progress, Silent
from medistill.recipe import Recipe

READER = 1
"""Version of the reading; raise it when the same files come to other pixels or splits."""
DECISIVE = ("monai", "nibabel", "numpy", "pillow", "pydicom", "torch")


def prepare(
    data: str | Path,
    recipe: Recipe,
    *,
    labels: str | Path | None = None,
    workers: int | None = None,
    progress: Progress = Silent(),
) -> Corpus:
    """Read a folder of images.

    Args:
        data: folder with ``CLASS/file``, ``SITE/CLASS/file``, or any tree where ``labels`` is given.
        labels: CSV table with a row a file.
        workers: processes that decode; None takes one for each core.

    Raises:
        DataError: there is nothing to read, or what was read makes no corpus.
        ArtifactError: the cache cannot be written.
    """
    folder, table = Path(data), None if labels is None else Path(labels)
    files = [file for file in files_of(folder) if table is None or (folder / file).resolve() != table.resolve()]
    listed = list_by_folders(folder, files) if table is None else list_by_table(folder, files, table, recipe.data)
    listed = sorted(listed, key=lambda one: one.file)
    source = _source(folder, files, table, recipe)
    known = private_folder(cache_root() / "sources") / f"{source}.json"
    corpus = _cached(known, progress)
    if corpus is not None:
        return corpus
    listed, notes = choose(listed, recipe.data)
    wanted = [one for one in listed if not one.category]
    staging = cache_root() / "staging" / source
    decoded = decode(
        folder, [one.file for one in wanted], recipe.data, staging=staging, workers=workers, progress=progress
    )
    decoded = refuse_copies(wanted, decoded)
    corpus = _save(listed, wanted, decoded, notes, recipe)
    write_json(known, {"content": corpus.content}, private=True)
    clear(staging)
    _tell(corpus, progress)
    return corpus


def _source(folder: Path, files: Sequence[str], table: Path | None, recipe: Recipe) -> str:
    """SHA-256 over what decides a corpus without opening the images: names, sizes, times, table, settings, versions."""
    digest = hashlib.sha256()
    settings = [READER, recipe.data.model_dump(mode="json"), recipe.seed, {name: version(name) for name in DECISIVE}]
    digest.update(json.dumps(settings, sort_keys=True).encode())
    digest.update(b"" if table is None else table.read_bytes())
    digest.update(os.fsencode(folder.resolve()))
    for file in files:
        facts = (folder / file).lstat()
        digest.update(f"{file}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _cached(known: Path, progress: Progress) -> Corpus | None:
    if not known.is_file():
        return None
    try:
        corpus = load_corpus(cache_root() / "corpora" / str(read_json(known, "cache entry")["content"]))
    except (ArtifactError, KeyError):
        progress.say("The cached corpus is damaged or of another version: the files are read again.")
        return None
    progress.say(f"The corpus is in the cache already: {_in_words(corpus)}.")
    return corpus


def _save(
    listed: Sequence[Listed], wanted: Sequence[Listed], decoded: Sequence[Decoded], notes: list[str], recipe: Recipe
) -> Corpus:
    accepted = [(one, image) for one, image in zip(wanted, decoded, strict=True) if image.pixels is not None]
    manifest = _manifest(listed, wanted, decoded)
    if not accepted:
        raise _nothing(manifest)
    class_names = recipe.data.classes or tuple(sorted({one.label for one, _ in accepted}))
    site_names = tuple(sorted({one.site for one, _ in accepted}))
    label_of = {name: c for c, name in enumerate(class_names)}
    labels = np.array([label_of[one.label] for one, _ in accepted], np.int64)
    sites = np.array([site_names.index(one.site) for one, _ in accepted], np.int64)
    groups, split_by_patient, more = _groups(accepted)
    numbers = np.random.default_rng([recipe.seed, READER])
    splits, split_source, said = part([one.split for one, _ in accepted], labels, groups, sites, recipe.data, numbers)
    _check(labels, splits, class_names, manifest)
    images = [image.pixels for _, image in accepted if image.pixels is not None]
    return save_corpus(
        private_folder(cache_root() / "corpora"),
        images=np.stack(images),
        labels=labels.tolist(),
        groups=groups.tolist(),
        sites=sites.tolist(),
        splits=splits.tolist(),
        views=[one.view or image.view for one, image in accepted],
        class_names=class_names,
        site_names=[name or "not stated" for name in site_names],
        split_unit="patient" if split_by_patient else "image",
        split_source=split_source,
        synthetic=all(image.synthetic for _, image in accepted),
        notes=[*notes, *more, *said],
        manifest=manifest,
    )


def _groups(accepted: Sequence[tuple[Listed, Decoded]]) -> tuple[np.ndarray, bool, list[str]]:
    """Number the patients; whether any is known; and what the report has to say of it."""
    keys = [("table", one.patient) if one.patient else ("file", image.patient) for one, image in accepted]
    unknown = sum(1 for _, key in keys if not key)
    numbers: dict[tuple[str, str], int] = {}
    groups = [numbers.setdefault(key if key[1] else ("image", str(n)), len(numbers)) for n, key in enumerate(keys)]
    notes = []
    if unknown == len(keys):
        notes.append(
            "No patient is known, so the splits are by image: two images of one patient may lie in different splits, "
            "and then the figures are too good."
        )
    elif unknown:
        notes.append(f"{unknown} images name no patient; each of them counts as a patient of its own.")
    return np.array(groups, np.int64), unknown < len(keys), notes


def _manifest(listed: Sequence[Listed], wanted: Sequence[Listed], decoded: Sequence[Decoded]) -> list[ManifestRow]:
    fate = {one.file: image for one, image in zip(wanted, decoded, strict=True)}
    rows, number = [], 0
    for one in listed:
        image = fate.get(one.file)
        if one.category or image is None:
            rows.append(ManifestRow(one.file, -1, one.category, one.reason))
        elif image.pixels is None:
            rows.append(ManifestRow(one.file, -1, image.category, image.reason))
        else:
            rows.append(ManifestRow(one.file, number))
            number += 1
    return rows


def _check(labels: np.ndarray, splits: np.ndarray, class_names: Sequence[str], manifest: Sequence[ManifestRow]) -> None:
    """Refuse a corpus that nothing can be learnt from or tested on."""
    counts = {split: np.bincount(labels[splits == s], minlength=len(class_names)) for s, split in enumerate(SPLITS)}
    present = [name for c, name in enumerate(class_names) if (labels == c).any()]
    if len(present) < 2:
        raise DataError(
            f"only one class was found: {', '.join(present)} ({len(labels)} images{_refusals(manifest)})",
            expected="at least two classes to tell apart",
            do="add images of another class, or check the folders, the table and --classes",
        )
    for split, of_class in counts.items():
        empty = [name for c, name in enumerate(class_names) if of_class[c] == 0]
        if empty:
            raise DataError(
                f"class {empty[0]} has no images in the {split} split{_refusals(manifest)}",
                expected="at least one patient of every class in each of train, val and test",
                do="add patients of that class, correct the given splits, or leave the class out with --classes",
            )


def _nothing(manifest: Sequence[ManifestRow]) -> DataError:
    return DataError(
        f"none of {len(manifest)} files could be used{_refusals(manifest)}",
        expected="frontal radiographs as DICOM, PNG, JPEG or NIfTI",
        do="check --data; --set data.view_policy=keep takes DICOM files that do not say their view",
    )


def _refusals(manifest: Sequence[ManifestRow]) -> str:
    """The reasons with their counts, most frequent first, as the end of a sentence."""
    counts = Counter(row.category for row in manifest if row.row < 0)
    told = ", ".join(f"{count} {category}" for category, count in counts.most_common(6))
    return f"; refused: {told}" if told else ""


def _tell(corpus: Corpus, progress: Progress) -> None:
    progress.say(f"Read {_in_words(corpus)}.")
    if corpus.refused:
        told = ", ".join(f"{count} {category}" for category, count in corpus.refused.items())
        progress.say(f"Not taken: {told}. Each file with its reason: {corpus.path / 'manifest.csv'}")
    for note in corpus.notes:
        progress.say(note)


def _in_words(corpus: Corpus) -> str:
    shares = ", ".join(f"{len(corpus.rows(split))} {split}" for split in SPLITS)
    return f"{len(corpus.labels)} of {corpus.found} files, {len(corpus.class_names)} classes ({shares})"
