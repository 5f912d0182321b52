"""The built-in corpus: chest phantoms of invented patients at two sites, written as real DICOM files."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from medistill.artifacts.atomic import unwritable
from medistill.artifacts.new_folder import refuse_unwritable
from medistill.data.phantom_dicom import SITES, PhantomImage, PhantomPatient, phantom_dataset
from medistill.data.phantom_drawing import FINDINGS, Exposure, Finding, Habitus, draw_phantom
from medistill.errors import UsageError
from medistill.progress import Progress, Silent

MEAN_IMAGES = 3
"""Images a patient: one fewer, this many or one more, in turn."""
LEAST_PATIENTS = 2 * len(FINDINGS) * len(SITES)
"""Two patients of each class at each site."""
LEAST_SIZE, LARGEST_SIZE = 32, 4096
"""Height and width in pixels; below the least, no opacity can be told from a rib."""


def write_phantom(
    out: Path, *, patients: int = 240, size: int = 256, seed: int = 0, progress: Progress = Silent()
) -> int:
    """Draw a corpus into ``out/SITE/CLASS/image_00001.dcm`` and so on; the same arguments give the same bytes.

    Classes and sites take turns, so that neither tells the other. File names carry no invented identity. Everything
    appears at once, when the last image is drawn.

    Args:
        out: a folder that is new or empty; its parents are made.
        patients: invented patients, at least 12: two of each class at each site.
        size: height and width of an image in pixels.
        seed: decides everything that is drawn.
        progress: told of every image.

    Returns:
        The number of files.

    Raises:
        UsageError: too few patients, an impossible size, or ``out`` holds something.
        ArtifactError: the disk is full or the folder cannot be written.
    """
    if patients < LEAST_PATIENTS or not LEAST_SIZE <= size <= LARGEST_SIZE:
        raise UsageError(
            f"a phantom corpus of {patients} patients at {size} pixels",
            expected=f"at least {LEAST_PATIENTS} patients, and {LEAST_SIZE} to {LARGEST_SIZE} pixels",
            do="choose other figures",
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(
            f"{out} exists and is not empty", expected="a new or empty folder", do="choose another one, or empty it"
        )
    counts = [_image_count(patient) for patient in range(patients)]
    refuse_unwritable(out)
    out = out.absolute()
    neighbour = written = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        with progress.task("Drawing phantoms", sum(counts)) as task:
            number = 0
            for patient in range(patients):
                for finding, image, grey in _patient_images(patient, counts[patient], size, seed):
                    number += 1
                    folder = neighbour / image.site.name / finding
                    folder.mkdir(parents=True, exist_ok=True)
                    written = folder / f"image_{number:05d}.dcm"
                    content = io.BytesIO()  # written by ourselves: pydicom does not say why where the disk is full
                    phantom_dataset(grey, image).save_as(content, enforce_file_format=True)
                    written.write_bytes(content.getvalue())
                    task.advance()
        out.mkdir(exist_ok=True)
        for site in sorted(neighbour.iterdir()):
            shutil.move(site, out / site.name)  # an empty folder that is a mount point or the current one stays so
    except OSError as error:
        raise unwritable(out / written.relative_to(neighbour), error) from error
    finally:
        shutil.rmtree(neighbour, ignore_errors=True)
    return number


def _image_count(patient: int) -> int:
    return MEAN_IMAGES + (0, -1, 1)[(patient // (len(FINDINGS) * len(SITES))) % 3]


def _patient_images(
    patient: int, count: int, size: int, seed: int
) -> Iterator[tuple[Finding, PhantomImage, np.ndarray]]:
    """One patient's class, headers and drawings (size, size) float32."""
    finding = FINDINGS[patient % len(FINDINGS)]
    site = SITES[(patient // len(FINDINGS)) % len(SITES)]
    rng = np.random.default_rng([seed, patient, 0])
    person = PhantomPatient.draw(rng)
    habitus = Habitus.draw(rng, sex=person.sex)
    severity = float(rng.uniform(0.4, 1.0))
    year, month = int(rng.integers(2015, 2024)), int(rng.integers(1, 13))
    for number in range(count):
        own = np.random.default_rng([seed, patient, 1, number])
        supine = bool(own.random() < site.supine)
        view: Literal["PA", "AP"] = "AP" if supine else "PA"
        exposure = Exposure.draw(own, supine=supine)
        changed = float(np.clip(severity * own.uniform(0.8, 1.2), 0.35, 1.1))
        disease = np.random.default_rng([seed, patient, 2])
        grey = draw_phantom(habitus, exposure, finding, changed, size, disease, own)
        key = f"phantom {seed} {patient} {number}"
        image = PhantomImage(
            patient=person,
            site=site,
            view=view,
            inverted=bool(own.random() < site.inverted),
            study_date=f"{year}{month:02d}{1 + (9 * number) % 28:02d}",
            accession=f"ACC{int(own.integers(10**9, 10**10))}",
            key=key,
            study_key=key,
        )
        yield finding, image, grey
