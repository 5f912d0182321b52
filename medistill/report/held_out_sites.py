"""Held-out sites: the record ``RUN/sites/sites.json``, and what was found at each site that had no part in a set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from medistill.artifacts.kept import read_result
from medistill.artifacts.record import Record
from medistill.evaluate.evaluation import load_evaluation
from medistill.report.record import HeldOutSite


def _number(folder: str) -> str:
    if not folder.isdigit():
        raise ValueError("a folder in it is not a number")
    return folder


class SitePlan(Record):
    """What leaving one site out comes to; an entry of ``sites.json``."""

    site: str
    """Its name."""
    folder: Annotated[str, AfterValidator(_number)]
    """Of its results below ``RUN/sites``; a number, since names of sites may be anything."""
    classes: tuple[str, ...]
    """Classes that the other sites can teach; those that are missing are told of in ``note``."""
    images: int
    """Images of the site that are of these classes."""
    patients: int
    """Their patients."""
    reason: str
    """Why nothing can be estimated, as the end of "cannot be estimated, because ..."; else empty."""
    note: str
    """Which classes take no part and why; else empty."""


class SitePlans(Record):
    """``sites.json``: the sites that are finished, and of what run."""

    EXPECTED: ClassVar[str] = "the record as `medistill leave-site-out` writes it"
    DO: ClassVar[str] = "remove it and run `medistill leave-site-out` again; trained networks are taken up"

    schema_number: Literal[1] = Field(default=1, alias="schema")
    corpus: str
    """Content hash of the run's corpus."""
    recipe_digest: str
    """Of the run's recipe."""
    sites: tuple[SitePlan, ...]
    """In the order of their folders."""


def load_sites(run: Path) -> tuple[HeldOutSite, ...]:
    """What sets distilled without a site were found to be worth there, for every finished site of a run.

    Raises:
        ArtifactError: the record or an evaluation is missing, damaged, or of another schema.
    """
    path = run / "sites" / "sites.json"
    if not path.is_file():
        return ()
    found = []
    for plan in SitePlans.from_json(read_result(path, "record of the sites"), str(path)).sites:
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
