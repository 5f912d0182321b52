"""Guarantee: what a bundle states of differential privacy in figures, and that its words promise no more."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from medistill.artifacts.provenance import SharedProvenance
from medistill.errors import ArtifactError
from medistill.privacy.accounting import Guarantee
from medistill.sharing.manifest import MANIFEST, BundleManifest, PrivacyRecord, refusal

EPSILON = re.compile(r"epsilon *= *([0-9]+(?:\.[0-9]+)?(?:e[-+]?[0-9]+)?)", re.IGNORECASE)
"""How medistill tells one in a sentence."""


def privacy_record(provenance: SharedProvenance) -> PrivacyRecord | None:
    """What the manifest says of the set's differential privacy; None where it has none."""
    stated = provenance.differential_privacy
    if stated is None:
        return None
    known = Guarantee.from_json(stated)
    return PrivacyRecord(
        epsilon=known.epsilon,
        delta=known.delta,
        unit=known.unit,
        mechanism=known.mechanism,
        accountant=known.accountant,
    )


def check_guarantee(manifest: BundleManifest) -> None:
    """Refuse a manifest that states two guarantees, a total without one, or words that promise more than its figures.

    Raises:
        ArtifactError: one of these.
    """
    try:
        stated = privacy_record(manifest.provenance)
    except (ArtifactError, ValueError) as error:
        raise refusal(MANIFEST, f"its differential privacy: {getattr(error, 'seen', 'out of range')}") from None
    spent = manifest.provenance.privacy_spent
    if spent is not None and stated is None:
        raise refusal(MANIFEST, "it tells what was spent in all, and states no guarantee of privacy for the set")
    if stated != manifest.privacy:
        raise refusal(MANIFEST, "it states one guarantee of privacy for the bundle and another for the set")
    sources = manifest.provenance.sources or ()
    ends = [0, *(source.first + source.images for source in sources)]
    if not sources and manifest.provenance.united_images is not None:
        raise refusal(MANIFEST, "it counts the images of sets that it was united from, and names none")
    before = manifest.provenance.united_images or manifest.set.shape[0]
    if before < manifest.set.shape[0] or (sources and [*(source.first for source in sources), before] != ends):
        raise refusal(MANIFEST, "the sets that it was united from do not make up its images")
    promised = [source.epsilon for source in sources] or [None if stated is None else stated.epsilon]
    told = [(manifest.provenance.privacy or "", promised), *((source.privacy, [source.epsilon]) for source in sources)]
    if any(not _keeps(text, epsilons) for text, epsilons in told):
        raise refusal(MANIFEST, "its words on privacy tell a smaller epsilon than its figures")


def _keeps(text: str, promised: Sequence[float | None]) -> bool:
    """Whether no epsilon that a text tells is smaller than the largest that was promised, if all were."""
    least = math.inf if None in promised else 0.99 * max(one for one in promised if one is not None)
    return all(float(told) >= least for told in EPSILON.findall(text))
