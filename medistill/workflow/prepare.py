"""Prepare: read a folder of files into a corpus, once; a second run finds it in the cache."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import numpy as np

from medistill.artifacts.atomic import private_folder, sha256_file
from medistill.artifacts.cache import BUILT_IN, cache_root
from medistill.artifacts.corpus import (
    NOT_STATED,
    SPLITS,
    Corpus,
    Split,
    load_corpus,
    save_corpus,
)
from medistill.artifacts.corpus_columns import Columns, CorpusFacts
from medistill.artifacts.kept import keep_json, read_checked_json
from medistill.artifacts.lock import exclusive_lock
from medistill.artifacts.text_check import TextCheck
from medistill.data.burnt_in_text import RULES, text_check
from medistill.data.decoded import Decoded
from medistill.data.decoding import decode
from medistill.data.demographics import age_band, settled, sex_of, unread
from medistill.data.examination import told_of_examinations
from medistill.data.file_digests import facts_of, file_digests
from medistill.data.flagged_headers import told_of
from medistill.data.grouping import group, within_sites
from medistill.data.listing import FileEntry, files_of, list_by_folders, refuse_unusable_names, without_table
from medistill.data.remark import counted_remarks
from medistill.data.selection import Purpose, choose, refuse_copies, refuse_unstated_views, taken, told_of_views
from medistill.data.splits import part, refuse_shared_patients
from medistill.data.staging import clear, collect
from medistill.data.table import SPLITS_DROPPED, list_by_table
from medistill.data.text_policy import Origin, resolve_text_policy, why_unchecked
from medistill.data.view import view_words
from medistill.errors import ArtifactError, DataError
from medistill.progress import Progress, Silent
from medistill.recipe import DataRecipe, Recipe, Unit
from medistill.workflow.file_fates import file_fates, nothing_usable
from medistill.workflow.learnable import refuse_unlearnable, why_unlearnable
from medistill.workflow.spending import keep_people, people_are_known

READER = 3
"""Version of the reading; raise it when the same files come to other pixels, patients or splits."""
DRAW = 1
"""Version of the drawing of splits: another one divides every corpus anew."""
CHECKED = ("images.npy", "index.json", "manifest.csv")
"""Files of a corpus whose bytes the first level of the cache remembers."""
DECISIVE = ("monai", "nibabel", "numpy", "pillow", "pydicom", "torch")


def prepare(
    data: str | Path,
    recipe: Recipe,
    *,
    labels: str | Path | None = None,
    purpose: Purpose = "learn",
    tell_people: bool | None = None,
    workers: int | None = None,
    progress: Progress = Silent(),
) -> Corpus:
    """Read a folder of images.

    A corpus in which a class or a split is missing is remembered like any other, and refused only where it is to be
    learnt from.

    Args:
        data: folder with ``CLASS/file``, ``SITE/CLASS/file``, or any tree where ``labels`` is given.
        labels: CSV table with a row a file.
        purpose: "test" where nothing is learnt from it: one of the recipe's classes is enough, splits may be missing,
            and those that are given and cannot be used are drawn instead.
        tell_people: note for the ledger of privacy who is in it, in keyed hashes; None does so where it is to be learnt
            from under differential privacy.
        workers: processes that decode; None takes one for each core.

    Raises:
        DataError: there is nothing to read, or what was read makes no corpus.
        ArtifactError: the cache cannot be written.
        UsageError: the recipe asks to look for burnt-in text, and what should look is not installed.
    """
    folder, table = Path(data), None if labels is None else Path(labels)
    asked, origin = recipe.data, origin_of(folder)
    recipe = recipe.model_copy(update={"data": resolve_text_policy(asked, origin)})
    check = text_check(recipe.data)
    files = files_of(folder)
    if table is None:
        listed, read_as = list_by_folders(folder, files, recipe.data)
    else:
        files = without_table(folder, files, table)
        listed, read_as = list_by_table(folder, files, table, recipe.data, purpose)
    listed = sorted(refuse_unusable_names(listed), key=lambda one: one.file)
    before = facts_of(folder, files)
    reading = taken(listed, recipe.data)
    digests = file_digests(folder, files, known_digests(folder), progress)
    source = _source(digests, files, table, reading, recipe.seed, check)
    with sole_reader(source, progress) as known:
        partial = known.with_name(f"{known.stem}-partial.json")
        corpus = _fitting(cached_corpus(known, progress), asked)
        private = recipe.privacy.mode == "dp" and purpose == "learn" if tell_people is None else tell_people
        if corpus is None and (kept := _fitting(cached_corpus(partial, progress), asked)) is not None:
            if purpose == "learn":
                refuse_unlearnable(kept)
            else:
                corpus = kept
        if corpus is not None and private and not people_are_known(corpus):
            progress.say("Who is in it is not in the words of the ledger of privacy yet: the files are read again.")
        elif corpus is not None:
            _tell(corpus, progress)
            progress.say(text_in_words(corpus, asked, origin))
            return corpus
        listed, notes = choose(listed, recipe.data, purpose)
        notes += _tables_unused(files) if table is None else []
        wanted = [one for one in listed if not one.category]
        if purpose == "learn":
            sites, names = [one.site for one in wanted], [one.patient for one in wanted]
            patients = within_sites(sites, names, recipe.data.patient_ids)
            refuse_shared_patients([one.split for one in wanted], patients)
        staging = known.with_suffix("")
        decoded = decode(
            folder, [one.file for one in wanted], recipe.data, staging=staging, workers=workers, progress=progress
        )
        decoded = refuse_copies(wanted, refuse_unstated_views(wanted, decoded, recipe.data))
        corpus = _save(listed, wanted, decoded, (notes, read_as), recipe, check, staging, purpose)
        whole = not why_unlearnable(corpus) and not any(note.startswith(SPLITS_DROPPED) for note in corpus.notes)
        if facts_of(folder, files) == before:
            remember_corpus(known if whole else partial, corpus)
        else:
            progress.say("Files were changed while they were read; another run will read them again.")
        clear(staging)
        if purpose == "learn":
            refuse_unlearnable(corpus)
        if private:
            told = [pair for pair in zip(wanted, decoded, strict=True) if not pair[1].category]
            keep_people(corpus, folder, told, recipe.data.patient_ids)
        progress.say(f"Read {_in_words(corpus)}.")
        _tell(corpus, progress)
        progress.say(text_in_words(corpus, asked, origin))
        return corpus


def origin_of(folder: Path) -> Origin:
    """Whether images were drawn here: those in the cache's own folder of phantoms, and no others, whatever they say."""
    return "drawn" if folder.resolve().is_relative_to((cache_root() / BUILT_IN).resolve()) else "files"


def _fitting(corpus: Corpus | None, asked: DataRecipe) -> Corpus | None:
    """The corpus, where its classes are those that are asked for; all that are there, where none are named."""
    if corpus is None:
        return None
    here = set(corpus.labels.tolist())
    fits = corpus.class_names == asked.classes if asked.classes else len(here) == len(corpus.class_names)
    return corpus if fits else None


def _tables_unused(files: Sequence[str]) -> list[str]:
    if not any(file.lower().endswith(".csv") for file in files):
        return []
    return ["A CSV file lies in the folder and was not read: a table of labels and patients is named with --labels."]


def _source(
    digests: Sequence[str],
    files: Sequence[str],
    table: Path | None,
    recipe: DataRecipe,
    seed: int,
    check: TextCheck | None,
) -> str:
    """SHA-256 over what decides a corpus without decoding the images: names, contents, table, settings, versions."""
    digest = hashlib.sha256()
    reading = recipe.model_dump(mode="json", exclude={"zca", "zca_regularisation"})
    settings = [READER, reading, seed, {name: version(name) for name in DECISIVE}]
    digest.update(json.dumps(settings, sort_keys=True).encode())
    if check is not None:
        digest.update(f"{check.by}, rules {RULES}".encode())
    digest.update(b"" if table is None else table.read_bytes())
    digest.update(json.dumps([files, digests]).encode())
    return digest.hexdigest()


def known_digests(folder: Path) -> Path:
    """Where the cache remembers what the files of a folder hold."""
    place = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()
    return private_folder(cache_root() / "sources") / f"{place}.digests"


@contextmanager
def sole_reader(source: str, progress: Progress) -> Iterator[Path]:
    """Be the only process that reads the files that ``source`` stands for; give its entry in the cache."""
    known = private_folder(cache_root() / "sources") / f"{source}.json"
    with exclusive_lock(
        known.with_suffix(".lock"),
        when_taken=lambda: progress.say("Another process reads the same files: this one waits for it."),
        keep=True,
    ):
        yield known


def remember_corpus(known: Path, corpus: Corpus) -> None:
    """Write down in the cache which corpus came of the files that ``known`` stands for."""
    entry = {"content": corpus.content, "files": {name: sha256_file(corpus.path / name) for name in CHECKED}}
    keep_json(known, entry, private=True)


def cached_corpus(known: Path, progress: Progress) -> Corpus | None:
    """The corpus that came of the same files before, if every byte of it is as it was written."""
    if not known.is_file():
        return None
    try:
        entry = read_checked_json(known, "cache entry")
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
    listed: Sequence[FileEntry],
    wanted: Sequence[FileEntry],
    decoded: Sequence[Decoded],
    notes: tuple[Sequence[str], Sequence[str]],
    recipe: Recipe,
    check: TextCheck | None,
    staging: Path,
    purpose: Purpose,
) -> Corpus:
    """Make the corpus; ``notes`` are those on what the recipe took, and on how folders or table were read."""
    (chosen, read_as), numbers = notes, [n for n, image in enumerate(decoded) if not image.category]
    accepted = [(wanted[n], decoded[n]) for n in numbers]
    manifest = file_fates(listed, wanted, decoded)
    if not accepted:
        raise nothing_usable(manifest)
    class_names = recipe.data.classes or tuple(sorted({one.label for one, _ in accepted}))
    site_names = tuple(sorted({one.site for one, _ in accepted}))
    labels = np.array([class_names.index(one.label) for one, _ in accepted], np.int64)
    sites = np.array([site_names.index(one.site) for one, _ in accepted], np.int64)
    grouping = group(accepted, recipe.data.patient_ids)
    draw = np.random.default_rng([recipe.seed, DRAW])
    given, said = [one.split for one, _ in accepted], _absent(labels, class_names)
    if purpose == "test" and (unusable := _why_unusable(given, grouping.groups.tolist(), grouping.unit)):
        given, said = [None] * len(given), [*said, f"{SPLITS_DROPPED} {unusable}"]
    splits, split_source, more = part(given, labels, grouping.groups, sites, recipe.data, draw, unit=grouping.unit)
    said += more
    sexes = [settled(sex_of(one.sex), image.sex) for one, image in accepted]
    ages = [settled(age_band(one.age), image.age) for one, image in accepted]
    size = recipe.data.image_size
    return save_corpus(
        private_folder(cache_root() / "corpora"),
        collect(staging, numbers, (recipe.data.channels, size, size)),
        Columns(
            labels=labels.tolist(),
            groups=grouping.groups.tolist(),
            sites=sites.tolist(),
            splits=splits.tolist(),
            views=[view_words(one.view) or image.view for one, image in accepted],
            sexes=[sex or "" for sex in sexes],
            ages=[age or "" for age in ages],
            group_units=grouping.units,
            studies=grouping.studies.tolist(),
        ),
        CorpusFacts(
            class_names=class_names,
            site_names=tuple(name or NOT_STATED for name in site_names),
            split_unit=grouping.unit,
            split_source=split_source,
            synthetic=all(image.synthetic for _, image in accepted),
            notes=(
                *chosen,
                *grouping.notes,
                *said,
                *unread("Sexes", sexes),
                *unread("Ages", ages),
                *told_of(image.flags for _, image in accepted),
                *told_of_examinations(image.flags for _, image in accepted),
                *told_of_views(wanted, decoded),
                *read_as,
                *counted_remarks(image.remarks for _, image in accepted),
            ),
            text_check=check,
        ),
        manifest,
    )


def _absent(labels: np.ndarray, class_names: Sequence[str]) -> list[str]:
    """A note where classes that the recipe names are not there."""
    absent = [name for c, name in enumerate(class_names) if not (labels == c).any()]
    return [f"There is no image of {' or '.join(absent)} here."] if absent else []


def _why_unusable(given: Sequence[Split | None], groups: Sequence[int], unit: Unit) -> str:
    """Why splits that are given cannot be used; empty where they can, or where none is given."""
    if None in given and any(given):
        return f"{sum(split is None for split in given)} of {len(given)} images have none."
    try:
        refuse_shared_patients(given, groups, unit=unit)
    except DataError as error:
        return f"{error.seen}."
    return ""


def _tell(corpus: Corpus, progress: Progress) -> None:
    """Say what was refused, and every note: they are as true of a corpus that is in the cache already."""
    if corpus.refused:
        told = ", ".join(f"{count} {category}" for category, count in corpus.refused.items())
        progress.say(f"Not taken: {told}. Each file with its reason: {corpus.path / 'manifest.csv'}")
    for note in corpus.notes:
        progress.say(note)


def text_in_words(corpus: Corpus, asked: DataRecipe, origin: Origin) -> str:
    """Whether burnt-in text was looked for, what was done about it, or what it means that nothing looked."""
    if corpus.text_check is None:
        return why_unchecked(asked, origin)
    done = f"images in which some was masked: {corpus.text_masked}"
    if corpus.text_check.policy == "quarantine":
        done = f"files refused for it: {corpus.refused.get('burnt-in text', 0)}"
    shown = " `medistill prepare --preview` shows what was masked." if corpus.text_masked else ""
    return f"Text burnt into the pixels was looked for; {done}.{shown}"


def _in_words(corpus: Corpus) -> str:
    shares = ", ".join(f"{len(corpus.rows(split))} {split}" for split in SPLITS)
    return f"{len(corpus.labels)} of {corpus.found} files, {len(corpus.class_names)} classes ({shares})"
