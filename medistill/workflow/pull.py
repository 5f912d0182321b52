"""Pull: fetch the images that a table names from a PACS into the private cache, where a folder of them is made."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medistill.artifacts.atomic import private_folder, unwritable, write_bytes, write_text
from medistill.artifacts.cache import cache_root
from medistill.data.dicomweb import Address, DicomwebService, Instance
from medistill.data.study_list import StudyList, Wanted, file_of, read_study_list
from medistill.errors import DataError
from medistill.progress import Progress, Silent

PULLED = "pulled"
"""The part of the cache that the files lie in."""


@dataclass(frozen=True)
class Pulled:
    """What `prepare` can read in place of the PACS.

    Attributes:
        folder: the DICOM files, named by one-way hashes.
        labels: the table, with those names in place of UIDs.
    """

    folder: Path
    labels: Path


def pull(
    address: str,
    labels: str | Path,
    *,
    pause: float = 1.0,
    progress: Progress = Silent(),
) -> Pulled:
    """Fetch the images that a table names by their UIDs; those that an earlier pull fetched are not fetched again.

    Args:
        address: of the DICOMweb service, if wanted with a query that narrows the search (see `Address.of`).
        labels: table with a column StudyInstanceUID or SOPInstanceUID, or both, and one for the class.
        pause: seconds before the first repetition of a question that failed.

    Raises:
        UsageError: the address is none, or what speaks to a PACS is not installed.
        DataError: the table names nothing that the PACS has, or the PACS fails; what was fetched is kept.
        ArtifactError: the cache cannot be written.
    """
    place, wanted = Address.of(address), read_study_list(Path(labels))
    service = DicomwebService(place, pause=pause)
    root = private_folder(private_folder(cache_root() / PULLED) / f"dicomweb-{_short(place.url)}")
    found = _listed(service, wanted, progress)
    instances = list({one.instance: one for several in found.values() for one in several}.values())
    absent = sum(not found[one] for one in wanted.wanted)
    if not instances:
        raise DataError(
            f"none of the {len(wanted.wanted)} rows of {labels} names an image that the PACS has",
            expected="UIDs of studies or images in it, which the query of the address lets through",
            do="check the address, its query, and the UIDs",
        )
    if absent:
        progress.say(f"{absent} of {len(wanted.wanted)} rows of the table name nothing that the PACS has.")
    _fetch(service, instances, private_folder(root / "instances"), progress)
    uids = {one: [instance.instance for instance in several] for one, several in found.items()}
    return _folder_of(root, instances, wanted.by_files(uids))


def _listed(service: DicomwebService, wanted: StudyList, progress: Progress) -> dict[Wanted, Sequence[Instance]]:
    """Which images there are of what the rows name; each study is asked for once."""
    studies: dict[str, list[Instance]] = {}
    found: dict[Wanted, Sequence[Instance]] = {}
    names = list(dict.fromkeys(wanted.wanted))
    with progress.task("Asking the PACS which images it has", len(names)) as task:
        for one in names:
            if not one.study:
                alone = service.find(one.instance)
                found[one] = [] if alone is None else [alone]
            else:
                if one.study not in studies:
                    studies[one.study] = service.of_study(one.study)
                found[one] = [image for image in studies[one.study] if one.instance in ("", image.instance)]
            task.advance()
    return found


def _fetch(service: DicomwebService, instances: Sequence[Instance], store: Path, progress: Progress) -> None:
    missing = [one for one in instances if not (store / file_of(one.instance)).is_file()]
    gone = 0
    with progress.task("Fetching images", len(instances), done=len(instances) - len(missing)) as task:
        for one in missing:
            content = service.fetch(one)
            if content is None:
                gone += 1
            else:
                write_bytes(store / file_of(one.instance), content, private=True)
            task.advance()
    if gone:
        progress.say(f"{gone} images that the PACS listed are not in it any more; the list of files says which.")


def _folder_of(root: Path, instances: Sequence[Instance], table: str) -> Pulled:
    """A folder of the images that this table names, and no others: links to the files that were fetched."""
    files = sorted(file_of(one.instance) for one in instances if (root / "instances" / file_of(one.instance)).is_file())
    whole = private_folder(root / _short(json.dumps([table, files])))
    pulled = Pulled(private_folder(whole / "images"), whole / "labels.csv")
    for file in files:
        place = pulled.folder / file
        try:
            os.link(root / "instances" / file, place)
        except FileExistsError:
            continue
        except OSError as error:
            raise unwritable(place, error) from error
    if not pulled.labels.is_file():
        write_text(pulled.labels, table, private=True)
    return pulled


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
