"""Corpora with text drawn into the pixels, and headers that say neither that it is there nor that the images are drawn.

python -m tests.factories.burnt_in_corpus FOLDER [--what names|banner] [--patients 240] [--size 256]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import FileDataset

from medistill.data.phantom import write_phantom
from medistill.data.phantom_dicom import BITS
from tests.factories.burnt_in import strokes

BANNER = "St. Alpha Hospital"
SILENCED = ("SyntheticData", "BurnedInAnnotation", "ImageComments", "SeriesDescription", "StudyDescription")


def write_names(folder: Path, *, patients: int = 240, size: int = 256, seed: int = 0) -> list[Path]:
    """Phantoms with the name and number of their (invented) patient, at one place, as a machine stamps them.

    Returns:
        The files.
    """

    def lines(header: FileDataset) -> list[str]:
        return [str(header.PatientName).replace("^", " ").upper(), str(header.PatientID)]

    return _write(folder, lines, patients=patients, size=size, seed=seed)


def write_banner(folder: Path, *, patients: int = 240, size: int = 256, seed: int = 0) -> list[Path]:
    """Phantoms that all carry the same name of an invented hospital."""
    return _write(folder, lambda header: [BANNER], patients=patients, size=size, seed=seed)


def _write(
    folder: Path, lines: Callable[[FileDataset], list[str]], *, patients: int, size: int, seed: int
) -> list[Path]:
    write_phantom(folder, patients=patients, size=size, seed=seed)
    files = sorted(folder.rglob("*.dcm"))
    for file in files:
        header = dcmread(file)
        inverted = header.PhotometricInterpretation == "MONOCHROME1"
        grey = header.pixel_array.astype(np.float32)
        drawn = np.zeros((size, size), np.float32)
        for number, line in enumerate(lines(header)):
            high = max(8, size * 9 // 128)
            drawn = np.maximum(
                drawn, strokes(size, size, line, high, (size // 32, size // 32 + number * high * 5 // 4))
            )
        top = 2**BITS - 1
        grey = grey * (1 - drawn) + drawn * (0 if inverted else top)
        header.PixelData = np.rint(grey).astype("<u2").tobytes()
        for name in SILENCED:
            if name in header:
                delattr(header, name)
        header.Manufacturer = "ACME"
        header.save_as(file, enforce_file_format=True)
    return files


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--what", choices=("names", "banner"), default="names")
    parser.add_argument("--patients", type=int, default=240)
    parser.add_argument("--size", type=int, default=256)
    chosen = parser.parse_args()
    write = write_names if chosen.what == "names" else write_banner
    write(chosen.folder, patients=chosen.patients, size=chosen.size)
