"""Record: what came of an exchange over an engine, for programs, and what must be read with its figures."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medistill.artifacts.classifier import Classifier
from medistill.artifacts.record import Record
from medistill.federation.figures import HomeFigures
from medistill.recipe import Recipe
from medistill.report.wording import counted, listed
from medistill.visible import visible
from medistill.workflow.environment import versions


class SiteOutcome(Record):
    """What came of one site."""

    name: str
    connected: bool = True
    """It is there, and runs this version of medistill."""
    reason: str = ""
    """Why no set of it was used, as the end of "gives no set, because ..."; empty where one was."""
    images: int = 0
    """Images of its set, as they are shown to a network."""
    set_sha256: str = ""
    signer: str = ""
    """Fingerprint of the key that signed its bundle."""
    audit: str = ""
    """Verdict of its own audit, as it declares."""
    acknowledged_risk: str = ""
    """Why it left without a passing audit, in the site's own words; empty where it passed."""
    guarantee: str = ""
    """What its set promises formally, in a sentence; empty where it promises nothing."""
    figures: HomeFigures | None = None
    figures_reason: str = ""
    """Why it tells no figures, likewise."""


class FederatedRound(Record):
    """An exchange of one round."""

    schema_number: Literal[1] = Field(default=1, alias="schema")
    kind: Literal["medistill federated exchange"] = "medistill federated exchange"
    recipe: str
    """Its name."""
    recipe_sha256: str
    """Of its text, to which every site agreed."""
    classes: tuple[str, ...]
    sites: tuple[SiteOutcome, ...]
    network: str
    images: int = 0
    """Images that the classifier learnt from; 0 where there is none."""
    failure: str = ""
    """Why there is no classifier; empty where there is one."""
    versions: dict[str, str]

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        sha256: str,
        sites: tuple[SiteOutcome, ...],
        classifier: Classifier | None,
        failure: str,
    ) -> FederatedRound:
        """The record of a round."""
        return cls(
            recipe=recipe.name,
            recipe_sha256=sha256,
            classes=recipe.data.classes,
            sites=sites,
            network=recipe.network.name,
            images=0 if classifier is None else classifier.images,
            failure=failure,
            versions=versions(),
        )

    @property
    def givers(self) -> tuple[SiteOutcome, ...]:
        """Sites whose set was used."""
        return tuple(site for site in self.sites if site.images)


def headline(found: FederatedRound) -> str:
    """What came of it, in a sentence or two."""
    if found.failure:
        return f"There is no classifier, because {found.failure}."
    names = [site.name for site in found.givers]
    told = [site for site in found.sites if site.figures is not None]
    return (
        f"A classifier was trained on {counted(found.images, 'image')} of {counted(len(names), 'site')} "
        f"({listed(names)}), of {len(found.sites)} that were asked; {counted(len(told), 'site')} tested it at home."
    )


def statements(found: FederatedRound) -> tuple[str, ...]:
    """What must be read beside the figures, a sentence or two each."""
    said = [f"{site.name} gave no set, because {site.reason}." for site in found.sites if site.reason]
    said += [
        f"{site.name} told no figures, because {site.figures_reason}." for site in found.sites if site.figures_reason
    ]
    said += [
        f"Figures at {site.name} are hidden: a class has few test patients there, who might be recognised."
        for site in found.sites
        if site.figures is not None and site.figures.hidden
    ]
    if len(found.givers) == 1:
        said.append("One set arrived: nothing was united, and the classifier learnt from one site alone.")
    said += [
        f"The set of {site.name} left without a passing audit ({site.audit or 'none'}), for the reason: "
        f"“{visible(site.acknowledged_risk)}”."
        for site in found.givers
        if site.acknowledged_risk
    ]
    promised = [site for site in found.givers if site.guarantee]
    said += [f"{site.name}: {site.guarantee}" for site in promised]
    if found.givers and not promised:
        said.append("No set promises anything formal for privacy.")
    said.append(
        "Figures are told by the sites, on their own test patients. The server cannot check them, and they are not "
        "covered by any guarantee of a set. Intervals are of the test patients of one site."
    )
    said.append("The figures are research results, not clinical evidence.")
    return tuple(said)
