"""Merge: unite the sets of several hospitals into one, on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.new_folder import new_folder, refuse_taken
from medistill.errors import UsageError
from medistill.sharing.merge_source import MergeSource
from medistill.sharing.merging import merge_sets
from medistill.workflow.received import receive


def merge(
    sources: Sequence[str | Path],
    *,
    out: str | Path,
    label_maps: Mapping[str, Mapping[str, str]] | None = None,
    image_size: int | None = None,
) -> DistilledSet:
    """Read sets, unite them, and write the united set to ``out``. See `merge_sets` for how differences are settled.

    Args:
        sources: bundles, folders of sets or of runs; their order decides that of the images and the classes.
        label_maps: source, written as in ``sources`` -> class there -> class of the united set.
        image_size: size to which images of another size are resized, in pixels; None refuses other sizes.

    Raises:
        UsageError: ``out`` holds something already, or a label map is for none of the sources.
        ArtifactError: a source is damaged.
        DataError: the sets do not fit together.
    """
    refuse_taken(Path(out))
    maps, names = dict(label_maps or {}), [str(source) for source in sources]
    stray = [name for name in maps if name not in names]
    if stray:
        raise UsageError(
            f"there is a label map for {stray[0]}, which is not among the sets",
            expected=f"one of {', '.join(names)}",
            do="write the set as it stands in the command",
        )
    received = [receive(source) for source in sources]
    united = merge_sets(
        [
            MergeSource(name, one.distilled, one.set_digest, one.sender, maps.get(name, {}))
            for name, one in zip(names, received, strict=True)
        ],
        image_size=image_size,
    )
    with new_folder(Path(out)) as folder:
        united.save(folder)
    return united
