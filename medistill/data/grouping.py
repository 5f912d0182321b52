"""Grouping: which images are one patient's, and where nobody can tell, one study's or nobody's but their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from medistill.data.decoded import Decoded
from medistill.data.listing import FileEntry
from medistill.errors import DataError
from medistill.recipe import UNITS, PatientIds, Unit

FREQUENT, LEAST_IMAGES = 0.1, 20
"""Share of the images, and number of them, from which on one patient with several studies is told of."""


@dataclass(frozen=True)
class Grouping:
    """Who is whose.

    Attributes:
        groups: int64 (N,) the patient of each image, or its study where no patient is known, or the image itself.
        units: N words, what the group of each image is.
        studies: int64 (N,) the study of each image, -1 where none is known.
        unit: the weakest of the units, which is all that can be said of all images.
        notes: what the report has to say of it.
    """

    groups: np.ndarray
    units: tuple[Unit, ...]
    studies: np.ndarray
    unit: Unit
    notes: tuple[str, ...]


def group(accepted: Sequence[tuple[FileEntry, Decoded]], ids: PatientIds = "site") -> Grouping:
    """Number the patients of images, without their identifiers.

    A table goes before what a file says. An image without a patient is of the patient of its study, where another image
    of that study names one. A study is of one person: patients whose numbers share a study are one.

    Args:
        accepted: what is known of each image before and after it was opened.
        ids: "site" where hospitals number their patients each by itself, "global" where one number is one person.

    Raises:
        DataError: all images name one and the same patient, or study.
    """
    told = _at_several_sites(accepted) if ids == "site" else []
    sites = [one.site for one, _ in accepted]
    by_table = within_sites(sites, [one.patient for one, _ in accepted], ids)
    by_file = within_sites(sites, [image.patient for _, image in accepted], ids)
    accepted = [
        (replace(one, patient=patient), replace(image, patient=own))
        for (one, image), patient, own in zip(accepted, by_table, by_file, strict=True)
    ]
    keys = _named(accepted)
    same, contradicted = _one_study_one_patient(accepted, keys)
    keys = [(kind, same.get((kind, key), key)) for kind, key in keys]
    of_study: dict[str, set[Key]] = {}
    for key, (_, image) in zip(keys, accepted, strict=True):
        if image.study and key[0] in ("table", "file"):
            of_study.setdefault(image.study, set()).add(key)
    keys = [
        next(iter(of_study[name])) if kind == "study" and len(of_study.get(name, ())) == 1 else (kind, name)
        for kind, name in keys
    ]
    units: tuple[Unit, ...] = tuple("patient" if kind in ("table", "file") else _unit(kind) for kind, _ in keys)
    unit = max(units, key=list(UNITS).index)
    groups = _numbered(keys)
    if len(set(groups)) == 1 and len(groups) > 1:
        raise DataError(
            f"all {len(groups)} images name one and the same {unit}",
            expected="images of many patients; an export may have replaced their identifiers by one",
            do="name a table that tells the patients apart with --labels table.csv",
        )
    studies = _numbered([("study", image.study or str(n)) for n, (_, image) in enumerate(accepted)])
    return Grouping(
        groups=np.array(groups, np.int64),
        units=units,
        studies=np.where([bool(image.study) for _, image in accepted], studies, -1),
        unit=unit,
        notes=(*_of_units(units, unit), *contradicted, *_frequent(groups, units, accepted), *told),
    )


def within_sites(sites: Sequence[str], patients: Sequence[str], ids: PatientIds) -> list[str]:
    """The name of each patient with the site that it is a name at, "" where there is none.

    A patient of whom one image says no site is the one of that name at the only site that has it.
    """
    if ids == "global":
        return list(patients)
    known: dict[str, set[str]] = {}
    for site, patient in zip(sites, patients, strict=True):
        known.setdefault(patient, set()).update({site} - {""})
    return [
        repr((site or (next(iter(known[patient])) if len(known[patient]) == 1 else ""), patient)) if patient else ""
        for site, patient in zip(sites, patients, strict=True)
    ]


def _at_several_sites(accepted: Sequence[tuple[FileEntry, Decoded]]) -> list[str]:
    """That patients' numbers stand at several sites, which are taken for those of different people."""
    sites: dict[Key, set[str]] = {}
    for one, image in accepted:
        key = ("table", one.patient) if one.patient else ("file", image.patient)
        if key[1] and one.site:
            sites.setdefault(key, set()).add(one.site)
    count = sum(len(at) > 1 for at in sites.values())
    return [
        f"Patient numbers that stand at more than one site and count as other people at each: {count}. If they are of "
        "the same people, set data.patient_ids=global: else one person may be in two splits."
    ][: min(count, 1)]


Key = tuple[str, str]
"""Who says it ("table", "file", "study" or "image"), and what: a name that stays in memory."""


def _named(accepted: Sequence[tuple[FileEntry, Decoded]]) -> list[Key]:
    """The strongest name of each image's group."""
    by_file: dict[str, set[str]] = {}  # what the table calls the patient of a file, in whichever rows it does
    for one, image in accepted:
        for said in (image.patient, image.study):
            if one.patient and said:
                by_file.setdefault(said, set()).add(one.patient)
    keys: list[Key] = []
    for n, (one, image) in enumerate(accepted):
        names = {one.patient} if one.patient else by_file.get(image.patient or image.study, set())
        if len(names) == 1:
            keys.append(("table", next(iter(names))))
        elif image.patient:
            keys.append(("file", image.patient))
        else:
            keys.append(("study", image.study) if image.study else ("image", str(n)))
    return keys


def _one_study_one_patient(
    accepted: Sequence[tuple[FileEntry, Decoded]], keys: Sequence[Key]
) -> tuple[dict[Key, str], list[str]]:
    """Patients, by the files' word, that share a study, each with the name of all of them; and what to say of it.

    A study that more than half of the images share is a number that an export gave to all of them, and unites nobody.
    """
    of_study: dict[str, dict[Key, None]] = {}
    for key, (_, image) in zip(keys, accepted, strict=True):
        if key[0] == "file" and image.study:
            of_study.setdefault(image.study, {})[key] = None
    sizes = Counter(image.study for _, image in accepted)
    shared = {study: list(patients) for study, patients in of_study.items() if len(patients) > 1}
    common = [study for study in shared if 2 * sizes[study] > len(accepted)]
    if common:
        return {}, [
            f"One StudyInstanceUID stands on {sizes[common[0]]} of {len(accepted)} images, of several patients. It was "
            "not taken for a study."
        ]
    root: dict[Key, Key] = {}

    def found(key: Key) -> Key:
        while (above := root.get(key, key)) != key:
            key = above
        return key

    for first, *others in shared.values():
        for other in others:
            root[found(other)] = found(first)
    united = {key for patients in shared.values() for key in patients}
    if not united:
        return {}, []
    several = "study holds" if len(shared) == 1 else "studies hold"
    return {key: found(key)[1] for key in united}, [
        f"{len(shared)} {several} images under more than one patient number, as where each image was given its own; "
        f"a study is of one person, so these {len(united)} numbers count as {len({found(key) for key in united})}. "
        "Other patients may stand under several numbers too."
    ]


def _unit(kind: str) -> Unit:
    return "study" if kind == "study" else "image"


def _numbered(keys: Sequence[Key]) -> list[int]:
    numbers: dict[Key, int] = {}
    return [numbers.setdefault(key, len(numbers)) for key in keys]


def _of_units(units: Sequence[Unit], unit: Unit) -> list[str]:
    """What is known of how many images, where it is not the patient of all."""
    if unit == "patient":
        return []
    counts = Counter(units)
    if len(counts) == 1 and unit == "image":
        return [
            "No patient is known, so the splits are by image: two images of one patient may lie in different splits, "
            "and then the figures are too good."
        ]
    if len(counts) == 1:
        return [
            "No patient is known, only studies, so the splits are by study: two studies of one patient may lie in "
            "different splits, and then the figures are too good."
        ]
    stated: dict[Unit, str] = {
        "patient": f"the patient is known of {counts['patient']}",
        "study": f"only the study of {counts['study']}, each of which counts as a patient of its own",
        "image": f"neither of {counts['image']}, which count as patients each by itself",
    }
    known = "; ".join(words for name, words in stated.items() if counts[name])
    return [f"Of {len(units)} images {known}. The split can be called one by {unit} only."]


def _frequent(groups: Sequence[int], units: Sequence[Unit], accepted: Sequence[tuple[FileEntry, Decoded]]) -> list[str]:
    """A patient with so many images of several studies that the number may stand for many people."""
    patients = Counter(n for n, unit in zip(groups, units, strict=True) if unit == "patient")
    if not patients:
        return []
    most, images = patients.most_common(1)[0]
    studies = {image.study for n, (_, image) in zip(groups, accepted, strict=True) if n == most and image.study}
    if images < LEAST_IMAGES or images <= FREQUENT * len(groups) or len(studies) < 2:
        return []
    return [
        f"{images} of {len(groups)} images, of {len(studies)} studies, stand under one patient number. If an export "
        "wrote it in place of many, counts of patients are wrong: name a table that tells them apart."
    ]
