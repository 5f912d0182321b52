"""Promise: what a set under differential privacy says of its making, held to what a private run is held to.

A run under differential privacy is refused where its settings break the guarantee (`Recipe`). A set that states one may
come without its recipe, or beside a recipe that is not what it was made by. So everything else that it says of its
making is held to the same: what images began as, by which method they were made, which originals were left out, how
they are normalised. A united set is held to it for each of its sources.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.provenance import MergedPart, Provenance, SharedProvenance
from medistill.errors import ArtifactError, RecipeError
from medistill.method_names import method_names
from medistill.recipe import validate_recipe
from medistill.recipe.former import as_written_now, upgrade
from medistill.recipe.method import settings_kind

BEGINNINGS = {"real": "real images", "quantised": "means of real images", "patches": "parts of real images"}
"""What images of a private set cannot have begun as."""
DO = "do not rely on the guarantee; ask the sender how it was accounted"


def check_promise(provenance: SharedProvenance, distilled: DistilledSet) -> None:
    """Refuse a guarantee beside words, or an array, that a private run cannot have.

    Args:
        provenance: what is said of the set.
        distilled: the set.

    Raises:
        ArtifactError: it is stated for the set and its images began as real ones, or as means of real ones; they were
            made by a method that sees patients without noise, with labels that are values, or from a choice of the
            originals; their normalisation was measured, or fitted; or it is united. Of a united set, the same of a
            source for which one is stated.
    """
    parts = provenance.sources or ()
    if provenance.differential_privacy is not None:
        problem = next(_of_set(provenance, distilled), "")
        if problem:
            raise _broken("the set promises differential privacy", problem)
    for number, part in enumerate(parts, 1):
        problem = "" if part.epsilon is None else next(_of_part(part, provenance), "")
        if problem:
            raise _broken(f"differential privacy is promised for source {number} of the united set", problem)


def check_recipe_keeps(provenance: SharedProvenance) -> None:
    """Refuse a guarantee beside a recipe under which it would not hold, or which cannot be read.

    The recipe is held to what a run under differential privacy is, whether or not it says that it was one.

    Raises:
        ArtifactError: with what breaks it.
    """
    if provenance.recipe is None:
        return
    try:
        stated, _ = upgrade(provenance.recipe, "the recipe inside the bundle")
        privacy = stated.get("privacy", {})
        kept = {**privacy, "mode": "dp"} if isinstance(privacy, dict) else privacy
        validate_recipe({**stated, "privacy": kept}, "the recipe inside the bundle")
    except RecipeError as error:
        raise ArtifactError(
            f"the bundle promises differential privacy, and its recipe does not bear that out: {error.seen}",
            expected="a recipe that keeps the promise",
            do=DO,
        ) from None


def _of_set(provenance: SharedProvenance, distilled: DistilledSet) -> Iterator[str]:
    """What of a set a private run cannot have, each as the end of "it says that ..."."""
    if provenance.sources:
        yield "it is united from several sets, and one guarantee is stated for all"
    yield from _of_words(provenance)
    if isinstance(provenance, Provenance) and (provenance.pruned or provenance.pruned_to):
        yield "originals were left out for their losses or effects, which see patients without noise"
    if distilled.label_kind == "values":
        yield "its labels are values that were solved from patients' images without noise"
    yield from _of_normalisation(provenance, distilled)


def _of_part(part: MergedPart, provenance: SharedProvenance) -> Iterator[str]:
    """The same of a source of a united set, by what is said of it, and of all sources alike."""
    if part.drawn is not None:
        yield f"its images began as {BEGINNINGS['real']}, drawn by {part.drawn}"
    if part.pruned is not None or part.thinned is not None:
        yield "originals were left out for their losses or effects, which see patients without noise"
    yield from _of_words(provenance)


def _of_words(provenance: SharedProvenance) -> Iterator[str]:
    if provenance.starts_from in BEGINNINGS:
        yield f"its images began as {BEGINNINGS[provenance.starts_from]}"
    if provenance.quantisation is not None:
        yield f"its images are, or began as, {BEGINNINGS['quantised']}"
    name = (provenance.method or "").lower()
    if name in method_names() and not settings_kind(name).MAY_PROMISE:
        yield f"it was made by {provenance.method}, which sees patients' images without noise"


def _of_normalisation(provenance: SharedProvenance, distilled: DistilledSet) -> Iterator[str]:
    """A private run takes constants that its recipe declares, the same for every channel."""
    known = distilled.normalisation
    if known.whitening is not None:
        yield "it carries a whitening, which is fitted to patients' images without noise"
    asked = as_written_now(provenance.recipe or {}).get("privacy")
    declared: Mapping[str, Any] = asked if isinstance(asked, dict) else {}
    for values, name in ((known.mean, "mean"), (known.std, "std")):
        if any(value != declared.get(name, values[0]) for value in values):
            yield (
                f"its normalisation has another {name} than the one constant that its recipe declares "
                f"(privacy.{name}), so that it may have been measured on patients"
            )


def _broken(promise: str, problem: str) -> ArtifactError:
    return ArtifactError(
        f"{promise}, and what it says of itself does not bear that out: {problem}",
        expected="what a run under differential privacy can say",
        do=DO,
    )
