"""Lineage: where each image of a united set comes from, and what was promised for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from medistill.errors import ArtifactError
from medistill.privacy.accounting import Guarantee
from medistill.sharing.joint_privacy import joint_privacy
from medistill.sharing.manifest import QuantisationRecord, Source
from medistill.sharing.merge_source import MergeSource
from medistill.visible import visible

SHARED = ("method", "network", "starts_from", "split_unit", "text_check")
"""What the provenance of the united set says where all sources say the same."""


def united_provenance(
    sources: Sequence[MergeSource], class_names: tuple[str, ...], size: int, stages: int, *, soft: bool
) -> dict[str, Any]:
    """What a united set says of its making, as plain values.

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
    same = {
        key: known[0][key] for key in SHARED if known[0].get(key) and all(k.get(key) == known[0][key] for k in known)
    }
    synthetic = [one.get("synthetic_source") for one in known]
    corpora = [str(one["corpus"]) for one in known if "corpus" in one and not one.get("differential_privacy")]
    counts = _training_images(sources)
    return {
        **same,
        **_quantisation(known),
        **_recipe(sources, class_names, size),
        **({} if None in synthetic else {"synthetic_source": all(synthetic)}),
        **({"corpus": hashlib.sha256(json.dumps(sorted(corpora)).encode()).hexdigest()} if corpora else {}),
        **({"training_images": counts} if counts else {}),
        "stages": stages,
        "soft_labels": soft,
        "sources": listed,
        "privacy": joint_privacy(listed),
        "label_maps": [dict(source.label_map) for source in sources],
        "resized_from": [
            source.distilled.images.shape[2] if source.distilled.images.shape[2] != size else None for source in sources
        ],
        "source_normalisations": [source.distilled.normalisation.as_json() for source in sources],
        "source_learning_rates": [source.distilled.student_lr for source in sources],
    }


def _quantisation(known: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of how few patients an image is the mean, and what all sources say alike; empty where one does not tell."""
    try:
        parts = [QuantisationRecord.model_validate(one["quantisation"]) for one in known]
    except (ValidationError, KeyError):
        return {}
    told = [part.model_dump(exclude_none=True) for part in parts]
    alike = {name: value for name, value in told[0].items() if all(other.get(name) == value for other in told)}
    fewest = {name: min(one[name] for one in told) for name in ("min_cluster_size", "smallest_cluster")}
    return {"quantisation": {**alike, **fewest}}


def _training_images(sources: Sequence[MergeSource]) -> dict[str, int]:
    """Real images of each class that all sets were distilled from; empty where one does not tell."""
    counts: dict[str, int] = {}
    for source in sources:
        found = source.distilled.provenance.get("training_images")
        if not isinstance(found, Mapping) or not all(isinstance(count, int) for count in found.values()):
            return {}
        for name, count in found.items():
            new = source.label_map.get(name, name)
            counts[new] = counts.get(new, 0) + count
    return counts


def _listed(sources: Sequence[MergeSource]) -> list[dict[str, Any]]:
    """Where the images of each source are, and what was promised for them; a united set gives its own sources."""
    listed: list[dict[str, Any]] = []
    first = 0
    for source in sources:
        for part in source_parts(source):
            placed = {"first": first + part.first, "sender": part.sender or source.sender, "signer": source.signer}
            listed.append(part.model_copy(update=placed).as_json())
        first += len(source.distilled.labels)
    return listed


def source_parts(source: MergeSource) -> list[Source]:
    """What a set is united from; itself where it is not.

    Raises:
        ArtifactError: what it says of that, or of its privacy, cannot be.
    """
    known, images = source.distilled.provenance, len(source.distilled.labels)
    if not known.get("sources"):
        stated = known.get("differential_privacy")
        promised = Guarantee.from_json(stated) if stated is not None else None
        return [
            Source(
                sender=source.sender,
                signer=source.signer,
                set_digest=source.set_digest,
                first=0,
                images=images,
                privacy=visible(" ".join(str(known.get("privacy", "")).split()), most=2000),
                epsilon=None if promised is None else promised.epsilon,
                delta=None if promised is None else promised.delta,
                unit=None if promised is None else visible(promised.unit, most=2000),
            )
        ]
    try:
        parts = [Source(**{key: part.get(key) for key in Source.model_fields}) for part in known["sources"]]
    except (ValidationError, TypeError, AttributeError):
        parts = []
    ends = [0, *(part.first + part.images for part in parts)]
    bounds = [value for part in parts for value in (part.epsilon, part.delta) if value is not None]
    if [*(part.first for part in parts), images] != ends or not all(value > 0 for value in bounds):
        raise ArtifactError(
            f"what {source.name} says of the sets that it was united from cannot be",
            expected="the sources as `medistill merge` wrote them",
            do="have the set sent again, or merge those sets themselves",
        )
    return parts


def _recipe(sources: Sequence[MergeSource], class_names: tuple[str, ...], size: int) -> dict[str, Any]:
    """How to train on the united set: the recipe of the first source that has one, without its sites and its budget."""
    for source in sources:
        stated = source.distilled.provenance.get("recipe")
        if isinstance(stated, Mapping) and isinstance(stated.get("data", {}), Mapping):
            data = {
                **stated.get("data", {}),
                "classes": list(class_names),
                "image_size": size,
                "sites": [],
                "class_map": {},
            }
            kept = {key: value for key, value in stated.items() if key != "privacy"}
            return {"recipe": {**kept, "data": {**data, "prefer_sites": []}}}
    return {}
