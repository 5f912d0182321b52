"""Prepare: read a folder of files into a corpus, once; a second run finds it in the cache."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import numpy as np

from medistill.artifacts.atomic import private_folder, read_json, sha256_file, write_json
from medistill.artifacts.cache import cache_root
from medistill.artifacts.corpus import (
    NOT_STATED,
    SPLITS,
    TEXT_MASKED,
    Corpus,
    ManifestRow,
    TextCheck,
    load_corpus,
    save_corpus,
)
from medistill.artifacts.lock import alone
from medistill.data.burnt_in_text import RULES, text_check
from medistill.data.decoding import decode
from medistill.data.demographics import age_band, settled, sex_of, unread
from medistill.data.flagged_headers import told_of
from medistill.data.listing import Listed, files_of, list_by_folders, refuse_unusable_names
from medistill.data.radiograph import Decoded
from medistill.data.selection import choose, refuse_copies, refuse_unstated_views
from medistill.data.splits import part, refuse_shared_patients
from medistill.data.staging import clear, collect
from medistill.data.table import list_by_table
from medistill.data.view import view_words
from medistill.errors import ArtifactError, DataError
from medistill.progress import Progress, Silent
from medistill.recipe import Recipe

READER = 1
"""Version of the reading; raise it when the same files come to other pixels or splits."""
CHECKED = ("images.npy", "index.json", "manifest.csv")
"""Files of a corpus whose bytes the first level of the cache remembers."""
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
        UsageError: the recipe asks to look for burnt-in text, and what should look is not installed.
    """
    folder, table = Path(data), None if labels is None else Path(labels)
    check = text_check(recipe.data)
    files = files_of(folder)
    if table is None:
        listed = list_by_folders(folder, files)
    else:
        files = [file for file in files if not _is(folder / file, table)]
        listed = list_by_table(folder, files, table, recipe.data)
    listed = sorted(refuse_unusable_names(listed), key=lambda one: one.file)
    source = _source(folder, files, table, recipe, check)
    with sole_reader(source, progress) as known:
        corpus = cached_corpus(known, progress)
        if corpus is not None:
            _tell_of_text(corpus, progress)
            return corpus
        listed, notes = choose(listed, recipe.data)
        notes += _tables_unused(files) if table is None else []
        wanted = [one for one in listed if not one.category]
        refuse_shared_patients([one.split for one in wanted], [one.patient for one in wanted])
        staging = known.with_suffix("")
        decoded = decode(
            folder, [one.file for one in wanted], recipe.data, staging=staging, workers=workers, progress=progress
        )
        decoded = refuse_copies(wanted, refuse_unstated_views(wanted, decoded, recipe.data))
        corpus = _save(listed, wanted, decoded, notes, recipe, check, staging)
        remember_corpus(known, corpus)
        clear(staging)
        _tell(corpus, progress)
        return corpus


def _is(file: Path, table: Path) -> bool:
    return file.name == table.name and file.exists() and table.exists() and file.samefile(table)


def _tables_unused(files: Sequence[str]) -> list[str]:
    if not any(file.lower().endswith(".csv") for file in files):
        return []
    return ["A CSV file lies in the folder and was not read: a table of labels and patients is named with --labels."]


def _source(folder: Path, files: Sequence[str], table: Path | None, recipe: Recipe, check: TextCheck | None) -> str:
    """SHA-256 over what decides a corpus without opening the images: names, sizes, times, table, settings, versions."""
    digest = hashlib.sha256()
    reading = recipe.data.model_dump(mode="json", exclude={"zca", "zca_regularisation"})
    settings = [READER, reading, recipe.seed, {name: version(name) for name in DECISIVE}]
    digest.update(json.dumps(settings, sort_keys=True).encode())
    if check is not None:
        digest.update(f"{check.by}, rules {RULES}".encode())
    digest.update(b"" if table is None else table.read_bytes())
    digest.update(os.fsencode(folder.resolve()))
    for file in files:
        facts = (folder / file).lstat()
        digest.update(f"{file}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


@contextmanager
def sole_reader(source: str, progress: Progress) -> Iterator[Path]:
    """Be the only process that reads the files that ``source`` stands for; give its entry in the cache."""
    known = private_folder(cache_root() / "sources") / f"{source}.json"
    with alone(
        known.with_suffix(".lock"),
        when_taken=lambda: progress.say("Another process reads the same files: this one waits for it."),
        keep=True,
    ):
        yield known


def remember_corpus(known: Path, corpus: Corpus) -> None:
    """Write down in the cache which corpus came of the files that ``known`` stands for."""
    entry = {"content": corpus.content, "files": {name: sha256_file(corpus.path / name) for name in CHECKED}}
    write_json(known, entry, private=True)


def cached_corpus(known: Path, progress: Progress) -> Corpus | None:
    """The corpus that came of the same files before, if every byte of it is as it was written."""
    if not known.is_file():
        return None
    try:
        entry = read_json(known, "cache entry")
        corpus = load_corpus(cache_root() / "corpora" / str(entry["content"]))
        intact = all(sha256_file(corpus.path / name) == entry["files"][name] for name in CHECKED)
    except (ArtifactError, KeyError, TypeError, OSError):
        intact = False
    if not intact:
        progress.say("The cached corpus is damaged, was replaced, or is of another version: the files are read again.")
        return None
    progress.say(f"The corpus is in the cache already: {_in_words(corpus)}.")
    return corpus


def _save(
    listed: Sequence[Listed],
    wanted: Sequence[Listed],
    decoded: Sequence[Decoded],
    notes: list[str],
    recipe: Recipe,
    check: TextCheck | None,
    staging: Path,
) -> Corpus:
    numbers = [n for n, image in enumerate(decoded) if not image.category]
    accepted = [(wanted[n], decoded[n]) for n in numbers]
    manifest = _manifest(listed, wanted, decoded)
    if not accepted:
        raise _nothing(manifest)
    class_names = recipe.data.classes or tuple(sorted({one.label for one, _ in accepted}))
    site_names = tuple(sorted({one.site for one, _ in accepted}))
    labels = np.array([class_names.index(one.label) for one, _ in accepted], np.int64)
    sites = np.array([site_names.index(one.site) for one, _ in accepted], np.int64)
    _check_classes(labels, class_names, manifest)
    groups, split_by_patient, more = _groups(accepted)
    draw = np.random.default_rng([recipe.seed, READER])
    splits, split_source, said = part([one.split for one, _ in accepted], labels, groups, sites, recipe.data, draw)
    _check_splits(labels, splits, class_names, manifest)
    sexes = [settled(sex_of(one.sex), image.sex) for one, image in accepted]
    ages = [settled(age_band(one.age), image.age) for one, image in accepted]
    size = recipe.data.image_size
    return save_corpus(
        private_folder(cache_root() / "corpora"),
        images=collect(staging, numbers, (recipe.data.channels, size, size)),
        labels=labels.tolist(),
        groups=groups.tolist(),
        sites=sites.tolist(),
        splits=splits.tolist(),
        views=[view_words(one.view) or image.view for one, image in accepted],
        sexes=[sex or "" for sex in sexes],
        ages=[age or "" for age in ages],
        class_names=class_names,
        site_names=[name or NOT_STATED for name in site_names],
        split_unit="patient" if split_by_patient else "image",
        split_source=split_source,
        synthetic=all(image.synthetic for _, image in accepted),
        notes=[
            *notes,
            *more,
            *said,
            *unread("Sexes", sexes),
            *unread("Ages", ages),
            *told_of(image.flags for _, image in accepted),
        ],
        manifest=manifest,
        text_check=check,
    )


def _groups(accepted: Sequence[tuple[Listed, Decoded]]) -> tuple[np.ndarray, bool, list[str]]:
    """Number the patients; whether any is known; and what the report has to say of it."""
    named: dict[str, set[str]] = {}  # what the table calls the patient of a file, in whichever rows it does
    for one, image in accepted:
        if one.patient and image.patient:
            named.setdefault(image.patient, set()).add(one.patient)
    keys = []
    for one, image in accepted:
        names = {one.patient} if one.patient else named.get(image.patient, set())
        keys.append(("table", next(iter(names))) if len(names) == 1 else ("file", image.patient))
    unknown = sum(1 for _, key in keys if not key)
    numbers: dict[tuple[str, str], int] = {}
    groups = [numbers.setdefault(key if key[1] else ("image", str(n)), len(numbers)) for n, key in enumerate(keys)]
    notes = []
    if unknown == len(keys):
        notes.append(
            "No patient is known, so the splits are by image: two images of one patient may lie in different splits, "
            "and then the figures are too good."
        )
    elif len(numbers) == 1 and len(keys) > 1:
        raise DataError(
            f"all {len(keys)} images name one and the same patient",
            expected="images of many patients; an export may have replaced their identifiers by one",
            do="name a table that tells the patients apart with --labels table.csv",
        )
    elif unknown:
        notes.append(f"{unknown} images name no patient; each of them counts as a patient of its own.")
    return np.array(groups, np.int64), unknown < len(keys), notes


def _manifest(listed: Sequence[Listed], wanted: Sequence[Listed], decoded: Sequence[Decoded]) -> list[ManifestRow]:
    fate = {one.file: image for one, image in zip(wanted, decoded, strict=True)}
    rows, number = [], 0
    for one in listed:
        image = fate.get(one.file)
        name = one.file.encode(errors="backslashreplace").decode()  # names of files need not be UTF-8, the manifest is
        if one.category or image is None:
            rows.append(ManifestRow(name, -1, one.category, one.reason))
        elif image.category:
            rows.append(ManifestRow(name, -1, image.category, image.reason))
        else:
            done = (TEXT_MASKED, f"text was masked in {image.masked} place{'s' * (image.masked > 1)}") * (
                image.masked > 0
            )
            rows.append(ManifestRow(name, number, *done))
            number += 1
    return rows


def _check_classes(labels: np.ndarray, class_names: Sequence[str], manifest: Sequence[ManifestRow]) -> None:
    present = [name for c, name in enumerate(class_names) if (labels == c).any()]
    if len(present) < 2:
        raise DataError(
            f"only one class was found: {', '.join(present)} ({len(labels)} images{_refusals(manifest)})",
            expected="at least two classes to tell apart",
            do="add images of another class, or check the folders, the table and --classes",
        )


def _check_splits(
    labels: np.ndarray, splits: np.ndarray, class_names: Sequence[str], manifest: Sequence[ManifestRow]
) -> None:
    """Refuse a corpus on which nothing can be learnt or tested."""
    for s, split in enumerate(SPLITS):
        present = np.bincount(labels[splits == s], minlength=len(class_names))
        empty = [name for name, count in zip(class_names, present, strict=True) if count == 0]
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
    _tell_of_text(corpus, progress)


def _tell_of_text(corpus: Corpus, progress: Progress) -> None:
    """Whether burnt-in text was looked for; of invented patients only where it was."""
    if corpus.text_check is not None:
        done = f"images in which some was masked: {corpus.text_masked}"
        if corpus.text_check.policy == "quarantine":
            done = f"files refused for it: {corpus.refused.get('burnt-in text', 0)}"
        progress.say(f"Text burnt into the pixels was looked for; {done}.")
    elif not corpus.synthetic:
        progress.say(
            "Text burnt into the pixels was not looked for; data.burnt_in_text=mask (or quarantine) looks for it."
        )


def _in_words(corpus: Corpus) -> str:
    shares = ", ".join(f"{len(corpus.rows(split))} {split}" for split in SPLITS)
    return f"{len(corpus.labels)} of {corpus.found} files, {len(corpus.class_names)} classes ({shares})"
