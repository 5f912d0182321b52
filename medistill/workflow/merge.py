"""Merge: unite the sets of several hospitals into one, on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.new_folder import new_folder, refuse_taken
from medistill.errors import UsageError
from medistill.nearest_names import did_you_mean
from medistill.recipe.limits import LargeRecipe, refuse_large
from medistill.sharing.merge_source import MergeSource
from medistill.sharing.merging import merge_sets
from medistill.sharing.requantising import requantised
from medistill.workflow.received import ReceivedSet, receive


def merge(
    sources: Sequence[str | Path | ReceivedSet],
    *,
    out: str | Path,
    label_maps: Mapping[str, Mapping[str, str]] | None = None,
    image_size: int | None = None,
    statistics: Literal["add", "leave out"] = "add",
    ipc: int | None = None,
    trust: Sequence[str] = (),
    large_recipe: LargeRecipe = "refuse",
) -> DistilledSet:
    """Read sets, unite them, and write the united set to ``out``. See `merge_sets` for how differences are settled.

    Args:
        sources: bundles, folders of sets or of runs, or what `receive` made of them; their order decides that of the
            images and the classes.
        label_maps: source, written as in ``sources`` -> class there -> class of the united set.
        image_size: size to which images of another size are resized, in pixels; None refuses other sizes.
        statistics: what to do about class statistics that every source carries.
        ipc: images a class to which centroids are united by their masses (`requantised`); None keeps all images.
        trust: keys of which one must have signed each source (see `receive`).
        large_recipe: what to do about a recipe in a source that asks for more than a received one may.

    Raises:
        UsageError: ``out`` holds something already, a label map is for none of the sources, or a recipe asks for more.
        ArtifactError: a source is refused.
        DataError: the sets do not fit together, or their images are no centroids that masses unite.
    """
    refuse_taken(Path(out))
    received = [one if isinstance(one, ReceivedSet) else receive(one, trust=trust) for one in sources]
    maps, names = dict(label_maps or {}), [one.name for one in received]
    stray = [name for name in maps if name not in names]
    if stray:
        raise UsageError(
            f"there is a label map for {stray[0]}, which is not among the sets{did_you_mean(stray[0], names)}",
            expected=f"one of {', '.join(names)}",
            do="write the set as it stands in the command",
        )
    for one in received:
        refuse_large(one.distilled.provenance.recipe, f"the recipe inside {one.name}", large_recipe)
    united = merge_sets(
        [
            MergeSource(
                one.name,
                one.distilled,
                one.set_digest,
                one.sender,
                one.signer,
                maps.get(one.name, {}),
                one.verdict or "none",
            )
            for one in received
        ],
        image_size=image_size,
        statistics=statistics,
    )
    if ipc is not None:
        united = requantised(united, ipc)
    with new_folder(Path(out)) as folder:
        united.save(folder)
    return united
