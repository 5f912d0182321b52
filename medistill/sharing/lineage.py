"""Lineage: where each image of a united set comes from, and what was promised for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.provenance import MergedPart, Provenance
from medistill.artifacts.quantised_summary import QuantisedSummary
from medistill.errors import ArtifactError
from medistill.privacy.accounting import Guarantee
from medistill.sharing.joint_privacy import joint_privacy
from medistill.sharing.merge_source import MergeSource
from medistill.sharing.selection import drawn_by, pruned_share, thinned_share
from medistill.visible import visible

SHARED = ("method", "network", "encoder", "teacher", "starts_from", "split_unit", "text_check")
"""What the provenance of the united set says where all sources say the same."""


def united_provenance(
    sources: Sequence[MergeSource], class_names: tuple[str, ...], size: int, stages: int, *, soft: bool
) -> Provenance:
    """Return what a united set says of its making.

    Args:
        sources: the sets, in the order of their images.
        class_names: of the united set.
        size: height and width of its images, in pixels.
        stages: how many it has.
        soft: it has soft labels.

    Raises:
        ArtifactError: what a source says of its own sources, or of its privacy, cannot be.
    """
    known = [source.distilled.provenance for source in sources]
    listed = _listed(sources)
    synthetic = [one.synthetic_source for one in known]
    corpora = [one.corpus for one in known if one.corpus is not None and not one.states("differential_privacy")]
    return Provenance(
        **_shared(known),
        quantisation=_quantisation([one.quantisation for one in known]),
        recipe=_recipe(sources, listed, class_names, size),
        synthetic_source=None if None in synthetic else all(synthetic),
        corpus=hashlib.sha256(json.dumps(sorted(corpora)).encode()).hexdigest() if corpora else None,
        training_images=_training_images(sources),
        stages=stages,
        soft_labels=soft,
        sources=listed,
        united_images=_before(sources),
        privacy=joint_privacy(listed),
        label_maps=tuple(dict(source.label_map) for source in sources),
        resized_from=tuple(
            source.distilled.images.shape[2] if source.distilled.images.shape[2] != size else None for source in sources
        ),
        source_normalisations=tuple(source.distilled.normalisation.as_json() for source in sources),
        source_learning_rates=tuple(source.distilled.student_lr for source in sources),
    )


def _shared(known: Sequence[Provenance]) -> dict[str, Any]:
    """What all sources say alike of what may be said of all together."""
    first = {name: getattr(known[0], name) for name in SHARED}
    return {name: value for name, value in first.items() if value and all(getattr(one, name) == value for one in known)}


def _quantisation(parts: Sequence[QuantisedSummary | None]) -> QuantisedSummary | None:
    """Of how few patients an image is the mean, and what all sources say alike; None where one does not tell."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    first = known[0].sparse_json()
    alike = {name: value for name, value in first.items() if all(getattr(part, name) == value for part in known)}
    return QuantisedSummary(
        **alike
        | {
            "min_cluster_size": min(part.min_cluster_size for part in known),
            "smallest_cluster": min(part.smallest_cluster for part in known),
        }
    )


def _training_images(sources: Sequence[MergeSource]) -> dict[str, int] | None:
    """Real images of each class that all sets were distilled from; None where one does not tell."""
    counts: dict[str, int] = {}
    for source in sources:
        found = source.distilled.provenance.training_images
        if found is None:
            return None
        for name, count in found.items():
            new = source.label_map.get(name, name)
            counts[new] = counts.get(new, 0) + count
    return counts


def _listed(sources: Sequence[MergeSource]) -> tuple[MergedPart, ...]:
    """Where the images of each source are, and what was promised for them; a united set gives its own sources."""
    listed: list[MergedPart] = []
    first = 0
    for source in sources:
        for part in source_parts(source):
            sender = part.sender or source.sender
            listed.append(part.replaced(first=first + part.first, sender=sender, signer=source.signer))
        first += united_images(source.distilled)
    return tuple(listed)


def united_images(distilled: DistilledSet) -> int:
    """Images that the sources of a set have together: its own, unless these are means of them."""
    return distilled.provenance.united_images or len(distilled.labels)


def _before(sources: Sequence[MergeSource]) -> int | None:
    """Images that all sources of the united set have together; None where they are its images."""
    before = sum(united_images(source.distilled) for source in sources)
    return before if before != sum(len(source.distilled.labels) for source in sources) else None


def source_parts(source: MergeSource) -> tuple[MergedPart, ...]:
    """Return what a set is united from; itself where it is not.

    Raises:
        ArtifactError: what it says of that, or of its privacy, cannot be.
    """
    known, images = source.distilled.provenance, united_images(source.distilled)
    if not known.states("sources") and known.united_images is None:
        return (_itself(source),)
    parts = known.sources or ()
    ends = [0, *(part.first + part.images for part in parts)]
    bounds = [value for part in parts for value in (part.epsilon, part.delta) if value is not None]
    if [*(part.first for part in parts), images] != ends or not all(value > 0 for value in bounds):
        raise ArtifactError(
            f"what {source.name} says of the sets that it was united from cannot be",
            expected="the sources as `medistill merge` wrote them",
            do="have the set sent again, or merge those sets themselves",
        )
    return parts


def _itself(source: MergeSource) -> MergedPart:
    known = source.distilled.provenance
    promised = Guarantee.of_set(known)
    return MergedPart(
        sender=source.sender,
        signer=source.signer,
        set_digest=source.set_digest,
        first=0,
        images=len(source.distilled.labels),
        privacy=visible(" ".join((known.privacy or "").split()), most=2000),
        epsilon=None if promised is None else promised.epsilon,
        delta=None if promised is None else promised.delta,
        unit=None if promised is None else visible(promised.unit, most=2000),
        statistics=known.statistics,
        drawn=drawn_by(known.recipe),
        pruned=pruned_share(known.recipe),
        thinned=thinned_share(known.recipe),
        audit=source.audit,  # type: ignore[arg-type]  # checked by the record
    )


def _recipe(
    sources: Sequence[MergeSource], parts: Sequence[MergedPart], class_names: tuple[str, ...], size: int
) -> dict[str, Any] | None:
    """How to train on the united set: the recipe of the first source that has one, without its sites, its budget, and
    what of its selection of originals is not so of all sources; the parts say that of each."""
    for source in sources:
        stated = source.distilled.provenance.recipe
        if stated is not None and isinstance(stated.get("data", {}), Mapping):
            changed: dict[str, Any] = {"classes": list(class_names), "image_size": size, "class_map": {}, "sites": []}
            kept = {key: value for key, value in stated.items() if key not in ("privacy", "prune")}
            if drawn_by(stated) is not None and len({part.drawn for part in parts}) > 1:
                kept["method"] = {**stated["method"], "init": "real"}
            return {**kept, "data": {**stated.get("data", {}), **changed, "prefer_sites": []}}
    return None
