"""Corpus: decoded images with labels, patients, sites and splits, and what became of every file."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medistill.artifacts.atomic import private_folder, read_json, write_atomically, write_json, write_text
from medistill.artifacts.corpus_columns import Columns, CorpusFacts
from medistill.artifacts.csv_file import csv_rows, csv_text
from medistill.artifacts.text_check import TextCheck
from medistill.errors import ArtifactError
from medistill.recipe import Unit

CORPUS_SCHEMA = 1
Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
PIECE = 256
"""Images that are read at once where a corpus is written."""
LEFT_OUT = len(SPLITS)
"""Number of the split of images that take no part; no corpus on disk has it."""
TABLE = ("labels", "groups", "sites", "splits", "views", "class_names", "site_names")
"""What the index holds of the images, and the content's hash covers."""
STATED = ("sexes", "ages", "text_check", "group_units", "studies")
"""The same, but held and covered only where any is known, so that other corpora keep their address."""
TEXT_MASKED = "text masked"
"""Category in the manifest of a file that was taken, and in which text was masked."""
MANIFEST_COLUMNS = ("file", "row", "category", "reason")
NOT_STATED = "not stated"
"""Name of the site of images whose site nothing says."""
Trait = Literal["site", "view", "sex", "age"]
"""What subgroups of images are formed by."""


@dataclass(frozen=True)
class ManifestRow:
    """What became of one file. It names the file, so it stays in the private cache.

    Attributes:
        file: path relative to the data folder.
        row: index in the corpus, or -1 where the file was refused.
        reason: why it was refused, what was changed, or which element its view is from, in words without a patient's
            identifier; else empty.
        category: short machine name of the reason, counted in reports ("truncated", "lateral view", ...); of an
            accepted file what was done to it, `TEXT_MASKED` or one of `remark.COUNTED`; else empty.
    """

    file: str
    row: int
    category: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Corpus:
    """A corpus on disk.

    Attributes:
        path: its folder, mode 0700.
        content: SHA-256 over the pixels' SHA-256, labels, groups, sites, splits, views, sexes, ages, names, text check.
        pixels: SHA-256 of ``images``, which is the same whatever their labels and splits are.
        images: uint8 memory map (N, C, H, W), 0 black, 255 white.
        labels: int64 (N,), index into `class_names`.
        groups: int64 (N,), patients, numbered from 0 without their identifiers; where no patient is known a group is a
            study, and where that is not known either an image.
        sites: int64 (N,), index into `site_names`.
        splits: int64 (N,), index into `SPLITS`.
        views: N short texts such as "PA", "AP", "" where not stated.
        sexes: N texts, "female", "male", "other", "" where not stated.
        ages: N bands of years such as "18 to 39", "" where not stated.
        split_unit: what a group is, "patient", "study" or "image": the weakest, where some are this and some that.
        split_source: "given" by the user, or "drawn" here.
        synthetic: every file says that it is synthetic.
        found: how many files were found.
        refused: category -> how many files were refused for it.
        notes: facts about the reading that the report must state.
        text_check: how burnt-in text was looked for; None where it was not.
        text_masked: images in which some was masked.
        group_units: N words, what the group of each image is, where they differ; else empty.
        studies: int64 (N,), the study of each image, -1 where none is known; held only where groups differ, else empty.
    """

    path: Path
    content: str
    pixels: str
    images: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    sites: np.ndarray
    splits: np.ndarray
    views: tuple[str, ...]
    sexes: tuple[str, ...]
    ages: tuple[str, ...]
    class_names: tuple[str, ...]
    site_names: tuple[str, ...]
    split_unit: Unit
    split_source: Literal["given", "drawn"]
    synthetic: bool
    found: int
    refused: dict[str, int]
    notes: tuple[str, ...]
    text_check: TextCheck | None
    text_masked: int
    group_units: tuple[Unit, ...] = ()
    studies: tuple[int, ...] = ()

    def rows(self, split: Split) -> np.ndarray:
        """Indices (int64) of the images of a split, ascending."""
        return np.flatnonzero(self.splits == SPLITS.index(split))

    def traits(self, split: Split) -> dict[Trait, tuple[str, ...]]:
        """What is known of each image of a split, "" where nothing is.

        A trait that is known of none is left out, and so is the site where there is only one.
        """
        rows = self.rows(split)
        sites = tuple(self.site_names[s] for s in self.sites[rows])
        told: dict[Trait, tuple[str, ...]] = {
            "site": tuple("" if name == NOT_STATED else name for name in sites) if len(set(sites)) > 1 else (),
            "view": tuple(self.views[row] for row in rows),
            "sex": tuple(self.sexes[row] for row in rows),
            "age": tuple(self.ages[row] for row in rows),
        }
        return {trait: texts for trait, texts in told.items() if any(texts)}

    def units(self, split: Split, unit: Unit) -> np.ndarray:
        """Int64: the unit of each image of a split (see `units_of`)."""
        return self.units_of(self.rows(split), unit)

    def units_of(self, rows: np.ndarray, unit: Unit) -> np.ndarray:
        """Int64: the unit of each of some images, as a number; -1 where it is not known.

        Patients are not divided into studies where all groups are patients: then no study is known.
        """
        if unit == "image":
            return rows
        if unit == "study" and self.studies:
            return np.array(self.studies, np.int64)[rows]
        kinds = np.array(self.group_units or [self.split_unit] * len(self.groups))[rows]
        return np.where(kinds == unit, self.groups[rows], -1)

    def counts(self) -> dict[Split, dict[str, int]]:
        """Images of each class in each split."""
        return {
            split: {
                name: int(np.sum((self.splits == s) & (self.labels == c))) for c, name in enumerate(self.class_names)
            }
            for s, split in enumerate(SPLITS)
        }

    def counts_by_site(self) -> dict[str, dict[str, int]]:
        """Images of each class from each site, all splits together."""
        return {
            site: {name: int(np.sum((self.sites == s) & (self.labels == c))) for c, name in enumerate(self.class_names)}
            for s, site in enumerate(self.site_names)
        }

    @property
    def columns(self) -> Columns:
        """What is known of each image."""
        return Columns(**{field.name: getattr(self, field.name) for field in fields(Columns)})

    @property
    def facts(self) -> CorpusFacts:
        """What is known of all."""
        return CorpusFacts(**{name: getattr(self, name) for name in CorpusFacts.model_fields})

    @cached_property
    def manifest(self) -> list[ManifestRow]:
        """What became of every file."""
        with (self.path / "manifest.csv").open(newline="", encoding="utf-8") as file:
            rows = csv_rows(file.read())
            return [ManifestRow(r["file"], int(r["row"]), r["category"], r["reason"]) for r in rows]


def save_corpus(
    folder: Path,
    images: np.ndarray,
    columns: Columns,
    facts: CorpusFacts,
    manifest: Iterable[ManifestRow],
    taken: np.ndarray | None = None,
) -> Corpus:
    """Write a corpus to ``folder/<content>`` (content-addressed; an equal corpus is left as it is) and load it.

    Args:
        folder: where corpora lie.
        images: uint8 (N, C, H, W), 0 black, 255 white; read in pieces, so that a map need not fit into memory.
        columns: what is known of each image.
        facts: what is known of all.
        manifest: what became of every file.
        taken: which of the images are written, in which order; None is all. The others are as if they were not there.
    """
    taken = np.arange(len(images)) if taken is None else taken
    told = facts.sparse_json()
    covered = {name: told.pop(name) for name in (*TABLE, *STATED) if name in told}
    table: dict[str, Any] = {**columns.table(facts.split_unit), **covered}
    pixels = hashlib.sha256()
    for piece in _pieces(images, taken):
        pixels.update(piece.data)
    content = _content((len(taken), *images.shape[1:]), pixels.hexdigest(), table)
    rows = list(manifest)
    path = private_folder(folder) / content
    private_folder(path)
    write_atomically(path / "images.npy", lambda file: _save_npy(file, images, taken), private=True)
    lines = csv_text(MANIFEST_COLUMNS, ([row.file, str(row.row), row.category, row.reason] for row in rows))
    write_text(path / "manifest.csv", lines, private=True)
    index: dict[str, Any] = {
        "schema": CORPUS_SCHEMA,
        "content": content,
        "pixels": pixels.hexdigest(),
        **table,
        **told,
        "found": len(rows),
        "refused": dict(sorted(Counter(row.category for row in rows if row.row < 0).items())),
        "text_masked": sum(row.row >= 0 and row.category == TEXT_MASKED for row in rows),
    }
    write_json(path / "index.json", index, private=True)  # last: a folder without it is not a corpus
    return load_corpus(path)


def save_without_site(folder: Path, corpus: Corpus, site: str, class_names: Sequence[str]) -> Corpus:
    """Write a corpus like another one in which a site's images are the test split and the other sites train for it.

    The other sites keep their train and val splits; their test images take no part, nor do images whose site is not
    stated, since they may be of that site, nor other images of patients who were imaged there too.

    Args:
        folder: where corpora lie.
        corpus: the other one.
        site: one of its site names.
        class_names: the classes to take, of those that it has.
    """
    rows, splits = rows_without_site(corpus, site)
    taken = np.isin(corpus.labels[rows], [corpus.class_names.index(name) for name in class_names])
    rows, splits = rows[taken], splits[taken]
    place = {int(row): n for n, row in enumerate(rows)}
    reason = "it takes no part where a site is left out"
    manifest = [
        row
        if row.row < 0
        else replace(row, row=place[row.row])
        if row.row in place
        else ManifestRow(row.file, -1, "left out with a site", reason)
        for row in corpus.manifest
    ]
    labels = [class_names.index(corpus.class_names[label]) for label in corpus.labels[rows]]
    columns = replace(corpus.columns.of_rows(rows.tolist()), labels=labels, splits=splits.tolist())
    note = f"Site {site} is the test split; the other sites' test images take no part."
    facts = corpus.facts.replaced(class_names=tuple(class_names), notes=(*corpus.notes, note))
    return save_corpus(folder, corpus.images, columns, facts, manifest, rows)


def rows_without_site(corpus: Corpus, site: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a corpus, ascending, and their splits (index into `SPLITS`) where a site is the test split."""
    test = SPLITS.index("test")
    here = corpus.sites == corpus.site_names.index(site)
    splits = np.where(here, test, corpus.splits)
    unknown = np.array([name == NOT_STATED for name in corpus.site_names])[corpus.sites]
    elsewhere = (corpus.splits != test) & ~unknown & ~np.isin(corpus.groups, corpus.groups[here])
    rows = np.flatnonzero(here | elsewhere)
    return rows, splits[rows]


def _content(shape: Sequence[int], pixels: str, table: dict[str, Any]) -> str:
    """SHA-256 of a corpus. That text was looked for is part of it, but not by which version: a reader that is newer and
    leaves the same pixels makes the same corpus, with which a run can go on."""
    check = {"text_check": table["text_check"]["policy"]} if "text_check" in table else {}
    return hashlib.sha256(json.dumps([list(shape), pixels, {**table, **check}], sort_keys=True).encode()).hexdigest()


def _save_npy(file: Path, images: np.ndarray, taken: np.ndarray) -> None:
    """Write .npy; ``np.save`` would not say why where the disk is full."""
    header = np.lib.format.header_data_from_array_1_0(images[:0]) | {"shape": (len(taken), *images.shape[1:])}
    with file.open("wb") as handle:
        np.lib.format.write_array_header_1_0(handle, header)
        for piece in _pieces(images, taken):
            handle.write(piece.data)


def _pieces(images: np.ndarray, taken: np.ndarray) -> Iterator[np.ndarray]:
    """Some images, a few at a time, each piece in one run of memory."""
    return (np.ascontiguousarray(images[taken[at : at + PIECE]]) for at in range(0, len(taken), PIECE))


def load_corpus(path: Path) -> Corpus:
    """Open a corpus; the pixels stay on disk until they are used.

    Raises:
        ArtifactError: missing, damaged, or written by another version.
    """
    index = read_json(path / "index.json", "corpus")
    if index.get("schema") != CORPUS_SCHEMA:
        raise ArtifactError(
            f"corpus {path} has schema {index.get('schema')!r}",
            expected=f"schema {CORPUS_SCHEMA}, which this version of medistill writes",
            do="run `medistill purge`, then the same command again",
        )
    try:
        images = np.load(path / "images.npy", mmap_mode="r", allow_pickle=False)
        table = {name: index[name] for name in (*TABLE, *(name for name in STATED if name in index))}
        if _content(images.shape, index["pixels"], table) != index["content"]:
            raise ValueError("its index was altered")
        arrays = {name: np.array(index[name], np.int64) for name in ("labels", "groups", "sites", "splits")}
        if images.dtype != np.uint8 or images.ndim != 4 or any(len(a) != len(images) for a in arrays.values()):
            raise ValueError("the pixels and the index do not fit together")
        known = {name: index[name] for name in CorpusFacts.model_fields if name in index}
        facts = CorpusFacts.from_json(known, "its index")
        described: dict[str, Any] = {**arrays, **{name: getattr(facts, name) for name in CorpusFacts.model_fields}}
        return Corpus(
            path=path,
            content=index["content"],
            pixels=index["pixels"],
            images=images,
            **described,
            views=tuple(index["views"]),
            sexes=tuple(index.get("sexes", [""] * len(images))),
            ages=tuple(index.get("ages", [""] * len(images))),
            found=index["found"],
            refused=dict(index["refused"]),
            text_masked=int(index.get("text_masked", 0)),
            group_units=tuple(index.get("group_units", ())),
            studies=tuple(index.get("studies", ())),
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise ArtifactError(
            f"corpus {path} is damaged ({error})",
            expected="an intact cache",
            do="run `medistill purge`, then the same command again",
        ) from None
