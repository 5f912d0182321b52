"""Run summaries: what a report says of a run's set, corpus and making, from what the run says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medistill.artifacts.atomic import read_json
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.provenance import Provenance
from medistill.errors import ArtifactError, RecipeError
from medistill.privacy.accounting import Guarantee
from medistill.privacy.spent import Spent
from medistill.recipe import load_recipe, validate_recipe
from medistill.recipe.load import sections_of
from medistill.report.record import Making
from medistill.report.summaries import CorpusSummary, PartSummary, SetSummary

SUMMARISED = (
    "chosen_step", "training_images", "training_groups", "split_unit", "synthetic_source", "quantisation", "encoder",
    "pruned", "sources", "teacher", "patched",
)  # fmt: skip
"""What a set says of its making that a report repeats, and so does not pass over where it cannot be read."""


def set_summary(folder: Path, distilled: DistilledSet) -> SetSummary:
    """What a report says of the set in ``folder``.

    Raises:
        ArtifactError: the set says something of itself that is of another kind.
    """
    known, per_class = distilled.provenance, np.bincount(distilled.labels)
    manifest = folder / "set" / "manifest.json"
    known.refuse_malformed(str(manifest), *SUMMARISED)
    summary = SetSummary(
        images=len(distilled.labels),
        ipc=distilled.ipc,
        shape=tuple(int(side) for side in distilled.images.shape[1:]),
        student_lr=distilled.student_lr,
        method=known.method or "",
        starts_from=known.starts_from or "",
        chosen_step=known.chosen_step,
        training_images=known.training_images or {},
        training_groups=known.training_groups,
        split_unit=known.split_unit or "",
        synthetic_source=known.synthetic_source,
        privacy=known.privacy or "",
        files=dict(read_json(manifest, "distilled set")["files"]),
        guarantee=Guarantee.of_set(known),
        spent=Spent.of_set(known),
        uneven=bool((per_class[per_class > 0] < distilled.ipc).any()),
        quantised=known.quantisation,
        patched=known.patched,
        encoder=known.encoder,
        teacher=known.teacher,
        tiles=distilled.tiles,
        pruned=known.pruned or {},
        parts=tuple(
            PartSummary(part.first, part.images, part.drawn or "", part.pruned or 0.0, part.thinned or 0.0)
            for part in known.sources or ()
        ),
    )
    try:
        return summary.checked()
    except ValueError as error:
        raise ArtifactError(
            f"{manifest} cannot be used: {error}",
            expected="a set that medistill distilled",
            do="repeat the run's command with another --out",
        ) from None


def corpus_summary(known: Mapping[str, Any]) -> CorpusSummary:
    """What a report says of a corpus, from what a run's record says of it.

    Raises:
        KeyError: something is missing.
        ValueError: something is of another kind.
    """
    return CorpusSummary(
        sites=tuple(known["site_names"]),
        counts={split: dict(of_split) for split, of_split in known["counts"].items()},
        counts_by_site={site: dict(of_site) for site, of_site in known["counts_by_site"].items()},
        patients=dict(known["patients"]),
        found=int(known["found"]),
        refused=dict(known["refused"]),
        split_unit=known["split_unit"],
        split_source=known["split_source"],
        synthetic=bool(known["synthetic"]),
        notes=tuple(known["notes"]),
        text_by=str((known.get("text_check") or {}).get("by", "")),
        text_policy=str((known.get("text_check") or {}).get("policy", "")),
        text_masked=int(known.get("text_masked", 0)),
    ).checked()


def making_of(folder: Path, record: Mapping[str, Any], distilled: DistilledSet | None) -> Making:
    """What the run says of itself; where it says nothing, what the set says of its own making."""
    of_set = distilled.provenance if distilled is not None else Provenance()
    settings = _settings(folder, of_set.recipe or {})
    hashes = {
        "recipe": record.get("recipe_digest") or of_set.recipe_digest,
        "corpus": record.get("corpus", {}).get("content") or of_set.corpus,
        "experts": of_set.trajectories,
    }
    if distilled is not None:
        hashes |= {
            f"set/{name}": digest
            for name, digest in read_json(folder / "set" / "manifest.json", "distilled set")["files"].items()
        }
    command = record.get("command")
    return Making(
        seed=record.get("seed", settings.get("", {}).get("seed")),
        recipe=str(record.get("recipe") or settings.get("", {}).get("name") or ""),
        settings={section: values for section, values in settings.items() if section},
        versions=dict(record.get("versions") or of_set.versions or {}),
        device=str(record.get("device") or of_set.device or ""),
        hardware=str(record.get("hardware", "")),
        commands=(command, f"medistill report {folder.resolve().name}") if command else (),
        stages={stage: float(entry["seconds"]) for stage, entry in record.get("stages", {}).items()},
        hashes={name: digest for name, digest in hashes.items() if digest},
    )


def _settings(folder: Path, of_set: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """Every setting, defaults too, section by section; none where the set's recipe is of a version that had others."""
    if (folder / "recipe.toml").is_file():
        return sections_of(load_recipe(folder / "recipe.toml"))
    try:
        return sections_of(validate_recipe(of_set, "the recipe inside the set")) if of_set else {}
    except RecipeError:
        return {}
