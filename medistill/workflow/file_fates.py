"""File fates: what became of every file of a corpus, and what to do where none could be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from medistill.artifacts.corpus import TEXT_MASKED, ManifestRow
from medistill.data.decoded import Decoded
from medistill.data.image import FORMATS
from medistill.data.listing import FileEntry
from medistill.data.remark import Remark
from medistill.data.selection import why_frontal
from medistill.errors import DataError

INSTEAD = {
    "unknown view": "--set data.view_policy=keep takes DICOM files that do not say their view",
    "lateral view": "--set data.view_policy=keep takes every view",
    "not a radiograph": "--set data.not_chest=tell takes DICOM files that say that they are no chest radiographs",
    "other body part": "--set data.not_chest=tell takes DICOM files that say that they are no chest radiographs",
    "link out of the folder": "copy the files that the links lead to into the folder; links out of it are not followed",
    "no label": "check the column of labels (data.label_column), or the names of the folders",
    "several findings": "--set data.several_findings=priority takes the first of --classes that an image has",
    "uncertain finding": "--set data.several_findings=priority takes the first of --classes that an image has",
}
"""What to do where most files were refused for a category."""


def file_fates(
    listed: Sequence[FileEntry], wanted: Sequence[FileEntry], decoded: Sequence[Decoded]
) -> list[ManifestRow]:
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
            rows.append(ManifestRow(name, number, *_told_of(one, image)))
            number += 1
    return rows


def _told_of(one: FileEntry, image: Decoded) -> tuple[str, str]:
    """Category and reason of a file that was taken: the first of what was done to it, and all of that, with what its
    view is from, in a sentence."""
    remarks = list(image.remarks)
    if image.masked:
        remarks.insert(0, Remark(TEXT_MASKED, f"text was masked in {image.masked} place{'s' * (image.masked > 1)}"))
    told = "; ".join(filter(None, (*(remark.reason for remark in remarks), why_frontal(one, image))))
    return (remarks[0].category if remarks else "", told)


def nothing_usable(manifest: Sequence[ManifestRow]) -> DataError:
    most = max((row.category for row in manifest), key=[row.category for row in manifest].count, default="")
    return DataError(
        f"none of {len(manifest)} files could be used{refusals(manifest)}",
        expected=f"frontal radiographs as {FORMATS}",
        do=INSTEAD.get(most, "check --data, and the table if one is named"),
    )


def refusals(manifest: Sequence[ManifestRow]) -> str:
    """The reasons with their counts, most frequent first, as the end of a sentence."""
    counts = Counter(row.category for row in manifest if row.row < 0)
    told = ", ".join(f"{count} {category}" for category, count in counts.most_common(6))
    return f"; refused: {told}" if told else ""
