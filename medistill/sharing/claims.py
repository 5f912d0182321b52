"""Claims of a manifest that can be tested here: epsilon, and what is said of images as means of patients' images."""

from __future__ import annotations

import math

import numpy as np

from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.encoder_summary import SHORT
from medistill.artifacts.provenance import SharedProvenance
from medistill.artifacts.quantised_summary import QuantisedSummary
from medistill.errors import ArtifactError, RecipeError
from medistill.method_names import method_names
from medistill.privacy.accounting import Guarantee
from medistill.privacy.spent import Spent
from medistill.recipe import PatchesRecipe
from medistill.recipe.former import as_written_now, upgrade
from medistill.recipe.method import settings_kind
from medistill.sharing.claimed_epsilon import least_epsilon
from medistill.sharing.manifest import BundleManifest
from medistill.sharing.outgoing import DATA, SECTIONS, outgoing_recipe
from medistill.sharing.promise import check_promise, check_recipe_keeps
from medistill.sharing.statistics_claims import check_statistics

OFF = 1e-3
"""By how much a mean of weights may be off 1, or equal weights apart, by rounding."""


def check_claims(manifest: BundleManifest, distilled: DistilledSet) -> None:
    """Refuse what contradicts itself: a guarantee that its own noise, rate and steps do not give, that its recipe
    did not ask for, or that would not hold under it, or beside what else is said; a total without this set; an
    encoder, a teacher or tiles that its recipe does not name; target vectors without a teacher, or a teacher without
    them; class statistics with less noise than their guarantee needs; a beginning that is not its recipe's; and a
    statement on means that the set does not bear out.

    Raises:
        ArtifactError: one of these.
    """
    if manifest.privacy is not None:
        claim = Guarantee.from_json(manifest.provenance.differential_privacy or {})
        least = least_epsilon(claim)
        if least is not None and least > claim.epsilon:
            raise ArtifactError(
                f"the bundle states epsilon {claim.epsilon:.3g}; its own noise, rate and steps give {least:.3g} or "
                "more",
                expected="an epsilon that follows from them",
                do="do not rely on the guarantee; ask the sender how it was accounted",
            )
        _check_spent(manifest, claim)
        _check_budget(manifest.provenance, claim)
        check_recipe_keeps(manifest.provenance)
        _check_corpus(manifest.provenance)
    check_promise(manifest.provenance, distilled)
    _check_encoder(manifest.provenance)
    _check_teacher(manifest.provenance, distilled)
    _check_tiles(manifest.provenance, distilled)
    _check_selection(manifest.provenance)
    _check_patches(manifest.provenance)
    check_statistics(manifest.provenance, distilled)
    known = manifest.provenance.quantisation
    seen = "" if known is None else _unlike(manifest.provenance, known, distilled)
    if seen:
        raise ArtifactError(
            f"what the bundle says of its images as means of patients' images cannot be: {seen}",
            expected="a set as medistill quantises it",
            do="do not rely on it; ask the sender for the set as it was made",
        )


def check_recipe_is_one(provenance: SharedProvenance) -> None:
    """Refuse a recipe that this version does not read, or with settings that stay at home when a set is shared.

    Settings of any kind could hold a patient's name. What stands there is not quoted.

    Raises:
        ArtifactError: one of these.
    """
    stated = provenance.recipe
    if stated is None:
        return
    try:
        now, _ = upgrade(stated, "the recipe inside the bundle")
        read = outgoing_recipe(now) is not None
    except RecipeError:
        read = False
    if not read:
        seen = "is none that this version of medistill reads"
    elif not set(now) <= {"seed", "data", *SECTIONS} or not set(now.get("data", {})) <= set(DATA):
        seen = "holds settings that medistill does not share, such as names, descriptions or columns of a table"
    else:
        return
    raise ArtifactError(
        f"the recipe inside the bundle (manifest.json, provenance.recipe) {seen}; words in it could name somebody",
        expected="a recipe as `medistill share` writes it",
        do="if a newer medistill made the bundle, use that one; else ask the sender for the set as it was made",
    )


def _check_encoder(provenance: SharedProvenance) -> None:
    """Refuse a set that tells of one encoder while its recipe names another."""
    network = (provenance.recipe or {}).get("network")
    named = network.get("encoder") if isinstance(network, dict) else None
    stated = "" if provenance.encoder is None else provenance.encoder.sha256
    if provenance.recipe is not None and (named or "") != stated:
        raise ArtifactError(
            f"the bundle states the encoder {stated[:SHORT] or 'none'}, and its recipe names "
            f"{str(named or 'none')[:SHORT]}",
            expected="one encoder",
            do="do not rely on it; ask the sender for the set as it was made",
        )


def _check_teacher(provenance: SharedProvenance, distilled: DistilledSet) -> None:
    """Refuse a set that tells of one teacher while its recipe names another, or that has target vectors and tells of no
    teacher, or the other way round: whose features they give away would not be known."""
    method = as_written_now(provenance.recipe or {}).get("method")
    stated = "" if provenance.teacher is None else provenance.teacher.sha256
    named = (method.get("teacher") if isinstance(method, dict) else None) or ""
    if provenance.recipe is not None and named != stated:
        seen = f"states the teacher {stated[:SHORT] or 'none'}, and its recipe names {str(named)[:SHORT] or 'none'}"
    elif distilled.by_targets and not stated and provenance.sources is None:
        seen = "has target vectors, and does not say whose features they come from"
    elif stated and not distilled.by_targets:
        seen = f"states the teacher {stated[:SHORT]}, and has no target vectors"
    else:
        return
    raise ArtifactError(
        f"the bundle {seen}",
        expected="target vectors of one teacher, or neither",
        do="do not rely on it; ask the sender for the set as it was made",
    )


def _check_tiles(provenance: SharedProvenance, distilled: DistilledSet) -> None:
    """Refuse a set that is cut otherwise than its recipe says: networks would learn from other images than its
    maker's."""
    method = as_written_now(provenance.recipe or {}).get("method")
    named = method.get("tiles", 1) if isinstance(method, dict) else distilled.tiles
    if provenance.recipe is not None and named != distilled.tiles:
        raise ArtifactError(
            f"the images of the bundle are cut into {distilled.tiles} x {distilled.tiles} tiles, and its recipe names "
            f"{str(named)[:SHORT]}",
            expected="one number of tiles",
            do="do not rely on it; ask the sender for the set as it was made",
        )


def _check_selection(provenance: SharedProvenance) -> None:
    """Refuse a set that began as real images by its recipe, and otherwise as it says."""
    method = as_written_now(provenance.recipe or {}).get("method")
    init = method.get("init") if isinstance(method, dict) else None
    if provenance.starts_from in ("noise", "quantised") and init in ("real", "leverage", "distance"):
        raise ArtifactError(
            f"the bundle says that its images began as {provenance.starts_from}, and its recipe that they began as "
            f"real images (method.init = {init})",
            expected="the beginning that its recipe has",
            do="take its images for real ones that were changed; ask the sender for the set as it was made",
        )


def _check_patches(provenance: SharedProvenance) -> None:
    """Refuse a set that says it began as anything else than patches of originals, beside a recipe whose method pastes
    these, or a statement of how many there are."""
    method = as_written_now(provenance.recipe or {}).get("method")
    named = method.get("name") if isinstance(method, dict) else None
    pasted = named in method_names() and issubclass(settings_kind(str(named)), PatchesRecipe)
    if provenance.starts_from != "patches" and (pasted or provenance.patched is not None):
        raise ArtifactError(
            f"the bundle says that its images began as {provenance.starts_from or 'it does not say what'}, and also "
            "that they are pasted together from patches of originals",
            expected="the beginning that its method has",
            do="take its images for parts of real ones; ask the sender for the set as it was made",
        )


def _check_corpus(provenance: SharedProvenance) -> None:
    """Refuse the hash of a corpus beside a guarantee, which does not cover it: it follows from patients without
    noise."""
    if provenance.corpus is not None:
        raise ArtifactError(
            "the bundle promises differential privacy, and tells the hash of its corpus, by which guesses of who is in "
            "it can be tried",
            expected="no such hash beside a guarantee",
            do="do not rely on the guarantee; ask the sender for the set as medistill shares it",
        )


def _check_budget(provenance: SharedProvenance, claim: Guarantee) -> None:
    """Refuse a guarantee that is another than the one that the recipe beside it asked for."""
    asked = as_written_now(provenance.recipe or {}).get("privacy")
    if not isinstance(asked, dict):
        return
    told = {name: getattr(claim, name) for name in ("delta", "unit", "clip") if name in asked}
    other = [name for name, value in told.items() if asked[name] != value]
    if asked.get("mode", "dp") != "dp":
        other.append("mode")
    budget = asked.get("epsilon", math.inf)
    if type(budget) not in (int, float) or not claim.epsilon <= budget * (1 + OFF):
        other.append("epsilon")
    if other:
        raise ArtifactError(
            f"the guarantee of the bundle and its recipe differ in privacy.{other[0]}",
            expected="the guarantee that a run of the recipe has",
            do="do not rely on the guarantee; ask the sender how it was accounted",
        )


def _check_spent(manifest: BundleManifest, claim: Guarantee) -> None:
    """Refuse a total that does not hold this set's own share."""
    record = manifest.provenance.privacy_spent
    if record is None:
        return
    spent = Spent.from_json(record.as_json())
    alone = spent.releases == 1 and (spent.epsilon, spent.delta) == (claim.epsilon, claim.delta)
    together = spent.releases > 1 and spent.delta >= (spent.others_delta + claim.delta) * (1 - OFF)
    if not alone and not together:
        raise ArtifactError(
            "what the bundle says was spent in all does not fit to what it says of this set and of those before it",
            expected="the epsilon and delta of this set, or a delta that is their sum",
            do="do not rely on the guarantee; ask the sender how it was accounted",
        )


def _unlike(provenance: SharedProvenance, known: QuantisedSummary, distilled: DistilledSet) -> str:
    """What of a statement on quantised images the set itself contradicts; empty where nothing does."""
    if provenance.starts_from != "quantised":
        return f"the images began as {provenance.starts_from or 'it does not say what'}"
    if known.smallest_cluster < known.min_cluster_size:
        return f"a mean of {known.smallest_cluster}, where {known.min_cluster_size} were the fewest"
    if known.labels and (known.labels == "soft") != (distilled.soft_labels is not None):
        return f"labels are said to be {known.labels}"
    method = as_written_now(provenance.recipe or {}).get("method")
    settings = method.get("quantise") if isinstance(method, dict) else None
    asked = settings if isinstance(settings, dict) and provenance.sources is None else {}
    for name in ("encoder", "min_cluster_size", "weights", "temperature", "teachers", "decoder"):
        stated = getattr(known, name)
        if stated and name in asked and asked[name] != stated:
            return f"{name} is said to be {stated}, and {str(asked[name])[:64]} in the recipe"
    if not known.weights or provenance.sources is not None:
        return ""
    of_class = [distilled.weights[distilled.labels == label] for label in np.unique(distilled.labels)]
    if known.weights == "uniform" and any(np.ptp(weights) > OFF for weights in of_class):
        return "weights are said to be uniform, and differ within a class"
    if abs(float(distilled.weights.mean(dtype=np.float64)) - 1) > OFF:
        return "the mean of the weights is not 1"
    if asked.get("priors") == "equal" and np.ptp([weights.sum(dtype=np.float64) for weights in of_class]) > OFF * len(
        distilled.weights
    ):
        return "classes are said to weigh alike, and do not"
    return ""
