"""Corpora of several sites: drawn cell by cell, or phantoms sorted into sites by a table."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from pydicom import dcmread

from medistill.artifacts.corpus import Corpus, ManifestRow
from medistill.data.phantom import write_phantom
from tests.factories.flat_corpus import save_flat

ODD = '../süd "clinic"'
"""A site whose name is no name for a folder; it has one class alone."""


def corpus_of(
    folder: Path, *cells: tuple[str, str, str, int], splits: tuple[str, ...] = ("train", "val", "test")
) -> Corpus:
    """A corpus of as many images of (site, class, split) as each cell says, a patient each."""
    rows = [cell[:3] for cell in cells for _ in range(cell[3])]
    sites, classes = sorted({row[0] for row in rows}), sorted({row[1] for row in rows})
    return save_flat(
        folder,
        images=np.arange(len(rows) * 64).astype(np.uint8).reshape(len(rows), 1, 8, 8),
        labels=[classes.index(row[1]) for row in rows],
        groups=list(range(len(rows))),
        sites=[sites.index(row[0]) for row in rows],
        splits=[splits.index(row[2]) for row in rows],
        class_names=classes,
        site_names=sites,
        split_source="given",
        manifest=[ManifestRow(f"{k}.png", k) for k in range(len(rows))],
    )


def write_sites(place: Path) -> None:
    """Write phantoms to ``place/xray``, and ``place/labels.csv``, which gives COVID images of south to `ODD`."""
    write_phantom(place / "xray", patients=18, size=32)
    seen: dict[tuple[str, str], list[str]] = {}  # patients of each site and class
    with (place / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "label", "site", "split"])
        for path in sorted((place / "xray").rglob("*.dcm")):
            where, label, _ = path.relative_to(place / "xray").parts
            site = ODD if (where, label) == ("south", "COVID") else where
            patients = seen.setdefault((where, label), [])
            patient = str(dcmread(path, stop_before_pixels=True).PatientID)
            patients += [] if patient in patients else [patient]
            split = ("train", "val", "test")[patients.index(patient)]
            rows.writerow([path.relative_to(place / "xray"), label, site, split])
