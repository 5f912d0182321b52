"""Report: everything that a run's report states, as plain numbers and words; no patient's identifier, no path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from medistill.artifacts.record import plain
from medistill.evaluate.evaluation import Evaluation
from medistill.evaluate.published import BenchmarkResult
from medistill.methods.base import Facts
from medistill.methods.registry import facts_of, sections_facts
from medistill.privacy.audit import Audit
from medistill.quantisation.record import Quantisation
from medistill.report.caveat import Caveat
from medistill.report.summaries import CorpusSummary, SetSummary
from medistill.report.verdict import Verdict

REPORT_SCHEMA = 2


@dataclass(frozen=True)
class Course:
    """The course of the distillation.

    Attributes:
        loss: of every outer step.
        student_lr: after every outer step; empty where the method learns none.
        importance_names: groups of the network's parameters.
        importance: W of each group at each look; empty where there was none, or it was not kept.
        looks: outer steps after which the validation split was looked at.
        accuracy: mean accuracy there.
        auc: mean macro AUC there.
        chosen_step: the look whose images were kept.
        skipped: outer steps, from 1, that were not taken since the loss or a gradient was not finite.
    """

    loss: tuple[float, ...]
    student_lr: tuple[float, ...]
    importance_names: tuple[str, ...]
    importance: tuple[tuple[float, ...], ...]
    looks: tuple[int, ...]
    accuracy: tuple[float, ...]
    auc: tuple[float, ...]
    chosen_step: int
    skipped: tuple[int, ...] = ()


@dataclass(frozen=True)
class HeldOutSite:
    """What a set that was distilled without a site is worth there.

    Attributes:
        site: name of the site.
        evaluation: arms trained on the other sites, tested on this one; None where it could not be made.
        reason: why not; else empty.
        note: which classes take no part there and why, in a sentence; else empty.
    """

    site: str
    evaluation: Evaluation | None
    reason: str
    note: str = ""


@dataclass(frozen=True)
class ChecklistRow:
    """One item of a reporting checklist.

    Attributes:
        checklist: its name.
        item: the item's number there.
        topic: what it asks for, in our words.
        answer: what the run knows; "not available" where it knows nothing.
        available: whether the run knows anything.
    """

    checklist: str
    item: str
    topic: str
    answer: str
    available: bool


@dataclass(frozen=True)
class Making:
    """What the run was made with, where the run says so.

    Attributes:
        seed: from which every random number comes.
        recipe: the recipe's name.
        settings: every setting, section -> name -> value; a section within another by both names, as "method.experts".
        versions: package -> version.
        device: "cpu" or "cuda".
        hardware: processor and GPU.
        commands: what to type to make the run again.
        stages: stage -> seconds.
        hashes: what -> SHA-256.
    """

    seed: int | None
    recipe: str
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    device: str
    hardware: str
    commands: tuple[str, ...]
    stages: Mapping[str, float]
    hashes: Mapping[str, str]

    def section(self, name: str) -> Mapping[str, Any]:
        """A section of the settings; empty where they are not known."""
        found: Mapping[str, Any] = self.settings.get(name, {})
        return found


@dataclass(frozen=True)
class Report:
    """The report of a run.

    Attributes:
        title: what was distilled from what, in one line.
        synthetic: the source is synthetic; None where not known.
        shows_real: real images are in the HTML file, which then must not be shared.
        verdict: the result in words.
        not_promised: what the report does not say.
        evaluation: the numbers.
        across: the same arms on other networks.
        sites: what sets distilled without a site are worth there.
        audit: what was tried on the set and whether it passes the gate, or None.
        benchmark: beside published figures, where the corpus is a benchmark of the field; else None.
        methods: text for a paper's methods section, one entry a paragraph.
        checklist: rows of TRIPOD+AI and CLAIM.
        distilled: the set, or None.
        corpus: the corpus, or None.
        quantisation: how the corpus was quantised into what the images are, or began as; None where it was not.
        course: the course of the distillation, or None.
        making: what it was made with.
        missing: what -> why it is not available.
    """

    title: str
    synthetic: bool | None
    shows_real: bool
    verdict: Verdict
    not_promised: tuple[Caveat, ...]
    evaluation: Evaluation
    across: tuple[Evaluation, ...]
    sites: tuple[HeldOutSite, ...]
    audit: Audit | None
    benchmark: BenchmarkResult | None
    methods: tuple[str, ...]
    checklist: tuple[ChecklistRow, ...]
    distilled: SetSummary | None
    corpus: CorpusSummary | None
    quantisation: Quantisation | None
    course: Course | None
    making: Making
    missing: Mapping[str, str]

    @property
    def split_unit(self) -> str:
        """ "patient", "study" or "image", at whose level the splits are apart; empty where not known."""
        if self.corpus is not None:
            return self.corpus.split_unit
        return self.distilled.split_unit if self.distilled is not None else ""

    @property
    def somebody(self) -> str:
        """Whom an image is of: "a patient" where all patients are known, else "a person"."""
        return "a patient" if self.split_unit == "patient" else "a person"

    @property
    def shows_people(self) -> bool:
        """The originals are images of people who may want to be protected, for all that is known."""
        return not self.synthetic and self.benchmark is None

    @property
    def facts(self) -> Facts:
        """What is said of the method, by the run's settings where they are known; of no known one where there is no
        set, or it does not say."""
        if self.distilled is None:
            return facts_of("")
        of_run, of_set = sections_facts(self.making.settings), self.distilled.facts
        return of_run if of_run.display_name == of_set.display_name else of_set

    @property
    def of_classifier(self) -> bool:
        """A classifier was tested as it was received; nothing was trained."""
        return "training" in self.missing

    def as_json(self) -> dict[str, Any]:
        """Plain values: lists, texts, finite numbers, null for what is not available."""
        numbered = {  # each with its own schema number, as `from_json` reads it
            "evaluation": self.evaluation.as_json(),
            "across": [evaluation.as_json() for evaluation in self.across],
            "sites": [
                {**asdict(site), "evaluation": site.evaluation.as_json() if site.evaluation is not None else None}
                for site in self.sites
            ],
            "audit": self.audit.as_json() if self.audit is not None else None,
            "quantisation": self.quantisation.as_json() if self.quantisation is not None else None,
        }
        content: dict[str, Any] = plain({**asdict(self), **numbered})
        return {"schema": REPORT_SCHEMA, "kind": "medistill report", **content}
