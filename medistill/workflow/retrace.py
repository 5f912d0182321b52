"""Retrace: whether a set is the one that a run here made, as its sealed record says, made again as far as is cheap."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.local_key import find_local_key
from medistill.artifacts.making import load_making
from medistill.errors import MedistillError
from medistill.methods.optimising.start import start_digest
from medistill.methods.patching.patches import patched_images
from medistill.methods.quantising.quantise import quantise
from medistill.methods.registry import method_of, recipe_facts
from medistill.recipe import PatchesRecipe, Recipe, recipe_differences
from medistill.training.context import Context
from medistill.workflow.pruning import pruned

OFF = 1e-4
"""By how much of full scale a centroid that is made again may differ: other processors and numbers of threads round
sums otherwise. A step of an 8-bit image is forty times that."""
NO_RUN = "the folder of the run that made it was not given; audit that, with `medistill audit RUN`"
NO_RECORD = (
    "the folder holds no record of it (making.json): the set came from elsewhere, or from an earlier version; "
    "distil it again here, in a new folder, and audit that"
)
NOT_OURS = (
    "the record of it (making.json) is not sealed by this installation, or was changed; audit the set where it was made"
)
ANOTHER = (
    "the record of it (making.json) is of another set: images, labels or what the set says of itself were changed "
    "after the run; distil it again"
)
GAP = "its run went on from a state that this installation did not write; distil it again, in a new folder"
ANOTHER_CORPUS = "the run made it from another corpus"
OTHERS_PRUNED = (
    "other originals are pruned here than when it was made, since the losses were worked out anew and round otherwise; "
    "audit it on the machine that made it, before its cache is purged"
)


def making_flaw(distilled: DistilledSet, context: Context, run: Path | None) -> tuple[str, str]:
    """Why the making of a set is not known here, and what was made again to see that it is.

    Args:
        distilled: the set.
        context: of the audit, with its recipe; in its folder, a private one, is put what is made again, and nothing
            is left there.
        run: folder of the run that made the set; None where it is not given.

    Returns:
        The first is empty where its making is known; the second is a sentence.
    """
    flaw = _record_flaw(distilled, context.corpus, context.recipe, run)
    if flaw or run is None:
        return flaw, ""
    made_with = distilled.provenance.made_with("the set")
    try:
        return _made_again(distilled, replace(context, recipe=made_with), run)
    except MedistillError as error:
        return f"what it began from cannot be made again ({error.seen})", ""


def _record_flaw(distilled: DistilledSet, corpus: Corpus, recipe: Recipe, run: Path | None) -> str:
    if run is None:
        return NO_RUN
    known = load_making(run)
    if known is None:
        return NO_RECORD
    if not known.sealed_by(find_local_key()):
        return NOT_OURS
    if not known.is_of(distilled):
        return ANOTHER
    if known.corpus != corpus.content:
        return ANOTHER_CORPUS
    if not known.whole:
        return GAP
    mine = distilled.provenance.made_with("the set")
    apart = [one for one in recipe_differences(recipe, mine) if not one.startswith(("audit.", "compute."))]
    if apart:
        return f"the audit was made under other settings than the set ({'; '.join(apart)}); leave them as they are"
    return ""


def _made_again(distilled: DistilledSet, context: Context, run: Path) -> tuple[str, str]:
    """As `making_flaw`, under the recipe that the set was made with: begin again as the run did, and compare."""
    made_with = context.recipe
    seen = pruned(context.corpus, made_with, context.spec, context.device, context.progress)
    if distilled.provenance.pruned_to not in (None, seen.content):
        return OTHERS_PRUNED, ""
    context = replace(context, corpus=seen)
    same_machine = distilled.provenance.device == context.device.type
    class_ids = [int(c) for c in np.unique(distilled.labels)]
    means = made_with.method.starts_from == "quantised"
    if means and made_with.method.trained_autoencoder is not None:
        return "", "Its record is sealed here; its autoencoder was not trained again"
    scored_by = made_with.method.scored_by
    if scored_by is not None and scored_by.source == "corpus":
        return "", "Its record is sealed here; its denoiser was not trained again"
    context.progress.say("Making again what the run began with, to see whether this set came of it.")
    with tempfile.TemporaryDirectory(dir=private_folder(context.out)) as scratch:
        if isinstance(made_with.method, PatchesRecipe):
            return _patches_again(distilled, replace(context, out=Path(scratch)), class_ids, made_with.method)
        if recipe_facts(made_with).centroids:
            return _centroids_again(distilled, replace(context, out=Path(scratch)), class_ids)
        again = replace(context, out=Path(scratch))
        pixels = method_of(made_with).start(again, class_ids, len(distilled.labels), distilled.normalisation)
    known = load_making(run)
    if known is not None and start_digest(pixels) == known.start:
        return "", "Its record is sealed here; its starting images, made again, are the same bits"
    if same_machine and not means:
        return "the images that it began as, drawn again from its seed, are others than the run began with", ""
    return "", "Its record is sealed here; its starting images were not compared, since other hardware rounds otherwise"


def _centroids_again(distilled: DistilledSet, context: Context, class_ids: list[int]) -> tuple[str, str]:
    again = quantise(context, class_ids)
    images = again.images(distilled.normalisation)
    same = images.shape == distilled.images.shape and np.array_equal(again.labels, distilled.labels)
    std = np.array(distilled.normalisation.std)[:, None, None]
    off = float(np.abs((images - distilled.images) * std).max()) if same else np.inf
    if not same or off > OFF or not np.allclose(again.weights, distilled.weights, atol=OFF):
        return "its images, made again from the corpus and its recipe, are others", ""
    bits = "the same bits" if np.array_equal(images, distilled.images) else f"the same within {OFF:g} of full scale"
    return "", f"Its record is sealed here; its images, made again, are {bits}"


def _patches_again(
    distilled: DistilledSet, context: Context, class_ids: list[int], settings: PatchesRecipe
) -> tuple[str, str]:
    again = patched_images(context, class_ids, settings)
    images = distilled.normalisation.apply(again.images)
    if np.array_equal(images, distilled.images) and np.array_equal(again.labels, distilled.labels):
        return "", "Its record is sealed here; its images, made again, are the same bits"
    if distilled.provenance.device == context.device.type:
        return "its images, made again from the corpus and its recipe, are others", ""
    return "", "Its record is sealed here; its images were not compared, since other hardware scores otherwise"
