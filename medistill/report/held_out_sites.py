"""Held-out sites: the record ``RUN/sites/sites.json``, and what was found at each site that had no part in a set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from medistill.artifacts.kept import read_result
from medistill.errors import ArtifactError, first_complaint
from medistill.evaluate.evaluation import load_evaluation
from medistill.report.record import HeldOutSite

SITES_SCHEMA = 1


@dataclass(frozen=True)
class SitePlan:
    """What leaving one site out comes to; an entry of ``sites.json``.

    Attributes:
        site: its name.
        folder: of its results below ``RUN/sites``; a number, since names of sites may be anything.
        classes: classes that the other sites can teach; those that are missing are told of in ``note``.
        images: images of the site that are of these classes.
        patients: their patients.
        reason: why nothing can be estimated, as the end of "cannot be estimated, because ..."; else empty.
        note: which classes take no part and why; else empty.
    """

    site: str
    folder: str
    classes: tuple[str, ...]
    images: int
    patients: int
    reason: str
    note: str


def load_sites(run: Path) -> tuple[HeldOutSite, ...]:
    """What sets distilled without a site were found to be worth there, for every finished site of a run.

    Raises:
        ArtifactError: the record or an evaluation is missing, damaged, or of another schema.
    """
    path = run / "sites" / "sites.json"
    if not path.is_file():
        return ()
    found = []
    for plan in read_plans(read_result(path, "record of the sites"), path):
        evaluation = run / "sites" / plan.folder / "evaluation" / "evaluation.json"
        found.append(
            HeldOutSite(
                site=plan.site,
                evaluation=None if plan.reason else load_evaluation(evaluation),
                reason=plan.reason,
                note=plan.note,
            )
        )
    return tuple(found)


def read_plans(record: Mapping[str, Any], path: Path) -> list[SitePlan]:
    """Return the entries of a record of the sites.

    Raises:
        ArtifactError: it is of another schema, or not as the study writes it; ``path`` names it in the message.
    """
    try:
        if record["schema"] != SITES_SCHEMA:
            raise ValueError(f"its schema is {record['schema']!r}, not {SITES_SCHEMA}")
        plans = TypeAdapter(list[SitePlan]).validate_python(record["sites"])
        if any(not plan.folder.isdigit() for plan in plans):
            raise ValueError("a folder in it is not a number")
    except (KeyError, ValueError) as error:
        why = first_complaint(error) if isinstance(error, ValidationError) else str(error)
        raise ArtifactError(
            f"{path} cannot be used ({why})",
            expected="the record as `medistill leave-site-out` writes it",
            do="remove it and run `medistill leave-site-out` again; trained networks are taken up",
        ) from None
    return plans
